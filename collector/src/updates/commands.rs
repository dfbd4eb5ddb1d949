//! The shell commands that would make an update, and those that go back. They are text: nothing here
//! runs them.
//!
//! Of a Compose service the file is edited, since Compose would otherwise bring back what it says. A
//! service of a swarm is given another image. A container of its own is created anew from what the
//! engine knows of it: options that came from the image come from the new one. Neither environment nor
//! mounts are known to this program; the command reads them where it is run.

use super::reference::Reference;

/// What holds a container, as commands need it. All of it is foreign text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Target {
    /// A service of Compose.
    Compose(Project),
    /// A service of a swarm, by its name.
    Swarm(String),
    /// A container of its own, by its name.
    Own(String),
    /// Removed as soon as it stops, so that there is nothing to go back to; or not known.
    #[default]
    Transient,
}

/// Where Compose has a service from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    pub service: String,
    pub working_dir: String,
    /// Comma list of files; empty for the usual ones.
    pub config_files: String,
    /// Comma list of files of variables; empty for the usual one.
    pub env_files: String,
}

/// Commands to update, and to go back to what runs now where its digest is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    pub update: String,
    pub rollback: Option<String>,
}

/// `written` is the image as the container was asked for, `image` the same as it is read, and `digest`
/// what runs. `None` where there is no safe command, or a name cannot be put into one.
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
    let from_to = |from: &str, to: &str| match target {
        Target::Compose(project) => compose(project, from, to),
        Target::Swarm(service) => swarm(service, to),
        Target::Own(name) => standalone(name, to),
        Target::Transient => None,
    };
    Some(Commands {
        update: from_to(written, &new)?,
        rollback: old.and_then(|old| from_to(&new, &old)),
    })
}

/// A word with a dash would be read as an option.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-')
}

/// Edits the service's image where it changes, and brings the service up with it.
fn compose(project: &Project, from: &str, to: &str) -> Option<String> {
    if !is_plain(&project.name) || !is_plain(&project.service) {
        return None;
    }
    let list = |files: &str| -> Vec<String> {
        files.split(',').filter(|file| is_plain(file)).map(quoted).collect()
    };
    let files = list(&project.config_files);
    let mut compose = format!("docker compose -p {}", quoted(&project.name));
    let mut steps = Vec::new();
    if is_plain(&project.working_dir) {
        let folder = quoted(&project.working_dir);
        steps.push(format!("cd -- {folder}"));
        compose = format!("{compose} --project-directory {folder}");
    }
    for (option, files) in [("-f", &files), ("--env-file", &list(&project.env_files))] {
        compose.extend(files.iter().map(|file| format!(" {option} {file}")));
    }
    let mut remark = "";
    if from != to {
        remark = "# Edits every service of this image, and brings up one of them.\n";
        let files = if files.is_empty() { "compose.yaml".to_owned() } else { files.join(" ") };
        let before = "^([[:space:]]*image:[[:space:]]*[\"']?)";
        let after = "([\"']?[[:space:]]*(\\#.*)?)$";
        let line = format!("{before}{}{after}", escaped(from));
        let script = format!("s#{line}#\\1{}\\2#", to.replace('\\', "\\\\").replace('&', "\\&"));
        // `sed` is content with having changed nothing.
        steps.push(format!(
            "{{ grep -Eq -e {} {files} ||\n  {{ echo 'no such image is written there: edit the file \
             by hand' >&2; false; }}; }}",
            quoted(&line.replace("\\#", "#"))
        ));
        steps.push(format!("sed -i -E {} {files}", quoted(&script)));
    }
    let service = quoted(&project.service);
    steps.push(format!("{compose} pull {service}"));
    steps.push(format!("{compose} up -d --no-deps {service}"));
    Some(format!("{remark}{}", steps.join(" &&\n")))
}

/// The swarm replaces the tasks by itself.
fn swarm(service: &str, image: &str) -> Option<String> {
    let to = quoted(image);
    is_plain(service).then(|| {
        format!("docker service update --with-registry-auth --image {to} {}", quoted(service))
    })
}

/// Creates the container anew with its own options and another image. The one before is kept under
/// another name until the new one has started, and is brought back where that fails. Volumes without a
/// name are handed on: the engine would make new ones.
fn standalone(name: &str, image: &str) -> Option<String> {
    // As the engine allows; the name becomes part of an address.
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !is_plain(name) || !name.bytes().all(fine) {
        return None;
    }
    let (before, name, image) = (quoted(&format!("{name}-before")), quoted(name), quoted(image));
    let jq = concat!(
        r#".[0] as $c | ($c.Config | with_entries(select(.value != $old[.key]))"#,
        r#" | .Env = (($c.Config.Env // []) - ($old.Env // []))"#,
        r#" | .Labels = (($c.Config.Labels // {}) | with_entries(select(.value != ($old.Labels // {})[.key])))"#,
        r#" | if .Hostname == $c.Id[0:12] then del(.Hostname) else . end)"#,
        r#" + {Image: $image, NetworkingConfig: {EndpointsConfig:"#,
        r#" ($c.NetworkSettings.Networks | map_values({IPAMConfig, Links, Aliases: ((.Aliases // []) - [$c.Id[0:12]])}))},"#,
        r#" HostConfig: ($c.HostConfig | ((.Binds // []) | map(select(contains(":")))) as $binds"#,
        r#" | ([$binds[] | split(":")[1]] + [(.Mounts // [])[].Target] | map(rtrimstr("/"))) as $known"#,
        r#" | .Binds = $binds + [($c.Mounts // [])[] | select(.Type == "volume")"#,
        r#" | select(.Destination as $to | $known | index($to) | not)"#,
        r#" | "\(.Name):\(.Destination)" + (if .RW then "" else ":ro" end)])}"#,
    );
    Some(format!(
        "( docker pull {image} &&\n\
         new=$(docker inspect {name} | jq --arg image {image} --argjson old \"$(docker image inspect \
         --format '{{{{json .Config}}}}' \"$(docker inspect --format '{{{{.Image}}}}' {name})\")\" \
         {}) &&\n\
         docker rename {name} {before} &&\n\
         {{ {{ docker stop {before} && printf %s \"$new\" |\n\
         curl -sS --fail --unix-socket /var/run/docker.sock -H 'Content-Type: application/json' \
         --data @- 'http://localhost/containers/create?name={name}' && docker start {name}; }} ||\n\
         {{ docker rm -f {name}; docker rename {before} {name}; docker start {name}; false; }}; }} &&\n\
         docker rm {before} )",
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
