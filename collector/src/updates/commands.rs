//! The shell commands that would make an update, and those that go back. They are text: nothing here
//! runs them.
//!
//! Of a Compose service the file is edited, since Compose would otherwise bring back what it says. A
//! container of its own is created anew from what the engine knows of it: options that came from the
//! image come from the new one. Neither environment nor mounts are known to this program; the command
//! reads them where it is run.

use super::reference::Reference;

/// A container as commands need it. All of it is foreign text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub compose: Option<Project>,
}

/// Where Compose has a service from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    pub service: String,
    pub working_dir: String,
    /// Comma list of files; empty for the usual ones.
    pub config_files: String,
}

/// Commands to update, and to go back to what runs now where its digest is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    pub update: String,
    pub rollback: Option<String>,
}

/// `written` is the image as the container was asked for, `image` the same as it is read, and `digest`
/// what runs. `None` where a name cannot be put into a command.
pub fn commands(
    target: &Target,
    written: &str,
    image: &Reference,
    latest_tag: &str,
    latest_digest: &str,
    digest: Option<&str>,
) -> Option<Commands> {
    let base = Reference::name_in(written);
    let new = match image.digest {
        Some(_) if latest_digest.is_empty() => return None,
        Some(_) => format!("{base}:{latest_tag}@{latest_digest}"),
        None if image.effective_tag() == Some(latest_tag) => written.to_owned(),
        None => format!("{base}:{latest_tag}"),
    };
    let old = digest.map(|digest| match image.effective_tag() {
        Some(tag) => format!("{base}:{tag}@{digest}"),
        None => format!("{base}@{digest}"),
    });
    Some(match &target.compose {
        Some(project) => Commands {
            update: compose(project, written, &new)?,
            rollback: old.and_then(|old| compose(project, &new, &old)),
        },
        None => Commands {
            update: standalone(&target.name, &new)?,
            rollback: old.and_then(|old| standalone(&target.name, &old)),
        },
    })
}

/// Edits the service's image where it changes, and brings the service up with it.
fn compose(project: &Project, from: &str, to: &str) -> Option<String> {
    // A word with a dash would be read as an option.
    let is_plain = |word: &str| !word.is_empty() && !word.starts_with('-');
    if ![&project.name, &project.service].into_iter().all(|word| is_plain(word)) {
        return None;
    }
    let files: Vec<&str> = project.config_files.split(',').filter(|file| is_plain(file)).collect();
    let mut steps = Vec::new();
    if !project.working_dir.is_empty() {
        steps.push(format!("cd -- {}", quoted(&project.working_dir)));
    }
    if from != to {
        let quoted_files: Vec<_> = files.iter().map(|file| quoted(file)).collect();
        let files = match quoted_files.as_slice() {
            [] => "compose.yaml".to_owned(),
            files => files.join(" "),
        };
        let script = format!(
            "s#^([[:space:]]*image:[[:space:]]*[\"']?){}([\"']?[[:space:]]*(\\#.*)?)$#\\1{}\\2#",
            escaped(from),
            to.replace('\\', "\\\\").replace('&', "\\&")
        );
        steps.push(format!("sed -i -E {} {files}", quoted(&script)));
    }
    let mut compose = format!("docker compose -p {}", quoted(&project.name));
    for file in files {
        compose = format!("{compose} -f {}", quoted(file));
    }
    let service = quoted(&project.service);
    steps.push(format!("{compose} pull {service}"));
    steps.push(format!("{compose} up -d --no-deps {service}"));
    Some(steps.join(" &&\n"))
}

/// Creates the container anew with its own options and another image; the one before is kept under
/// another name until the new one has started.
fn standalone(name: &str, image: &str) -> Option<String> {
    // As the engine allows; the name becomes part of an address.
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(fine) {
        return None;
    }
    let (before, name, image) = (quoted(&format!("{name}-before")), quoted(name), quoted(image));
    let jq = concat!(
        r#".[0] as $c | ($c.Config | with_entries(select(.value != $old[.key]))"#,
        r#" | .Env = (($c.Config.Env // []) - ($old.Env // []))"#,
        r#" | .Labels = (($c.Config.Labels // {}) | with_entries(select(.value != ($old.Labels // {})[.key])))"#,
        r#" | if .Hostname == $c.Id[0:12] then del(.Hostname) else . end)"#,
        r#" + {Image: $image, HostConfig: $c.HostConfig, NetworkingConfig: {EndpointsConfig:"#,
        r#" ($c.NetworkSettings.Networks | map_values({IPAMConfig, Links, Aliases: ((.Aliases // []) - [$c.Id[0:12]])}))}}"#,
    );
    Some(format!(
        "docker pull {image} &&\n\
         docker inspect {name} | jq --arg image {image} --argjson old \"$(docker image inspect \
         --format '{{{{json .Config}}}}' \"$(docker inspect --format '{{{{.Image}}}}' {name})\")\" \
         {} >container.json &&\n\
         docker stop {name} && docker rename {name} {before} &&\n\
         curl -sS --fail --unix-socket /var/run/docker.sock -H 'Content-Type: application/json' \
         --data @container.json 'http://localhost/containers/create?name={name}' &&\n\
         docker start {name} && docker rm {before}",
        quoted(jq)
    ))
}

/// One word of a POSIX shell, whatever it holds.
pub fn quoted(text: &str) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b'@')
    };
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text that matches itself in an extended regular expression.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if matches!(
            letter,
            '.' | '[' | ']' | '(' | ')' | '*' | '+' | '?' | '{' | '}' | '^' | '$' | '|' | '\\'
        ) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}
