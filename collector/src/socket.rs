//! Why the engine's socket refuses this process, and who has to be let in.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The socket as the file system shows it.
#[derive(Debug)]
struct Socket {
    mode: u32,
    owner: u32,
    group: u32,
    group_name: Option<String>,
}

/// Who this process is.
#[derive(Debug)]
struct Process {
    user: u32,
    groups: Vec<u32>,
}

/// What to do about the socket at `path`, which answered with `EACCES`.
pub(crate) fn refused(path: &str) -> String {
    let socket = std::fs::metadata(path).ok().map(|file| Socket {
        mode: file.mode() & 0o777,
        owner: file.uid(),
        group: file.gid(),
        group_name: std::fs::read_to_string("/etc/group")
            .ok()
            .and_then(|groups| name_of(file.gid(), &groups)),
    });
    let mut groups = rustix::process::getgroups().unwrap_or_default();
    groups.push(rustix::process::getegid());
    let groups = groups.into_iter().map(rustix::process::Gid::as_raw).collect();
    let process = Process { user: rustix::process::geteuid().as_raw(), groups };
    advice(Path::new(path), socket.as_ref(), &process)
}

fn advice(path: &Path, socket: Option<&Socket>, Process { user, groups }: &Process) -> String {
    let refused = format!("the Docker socket {} refuses user {user}", path.display());
    let Some(Socket { mode, owner, group, group_name }) = socket else {
        return format!("{refused}, who may not even enter its folder; let that user in");
    };
    if mode & 0o020 == 0 {
        return format!(
            "{refused}: its mode {mode:03o} keeps its group {group} out; run the collector as user \
             {owner}, or `chmod g+rw` the socket and add the collector to group {group}"
        );
    }
    if groups.contains(group) {
        return format!(
            "{refused}, who is in its group {group}, so something else forbids it: for SELinux \
             `security_opt: [\"label=disable\"]` in compose; else AppArmor or a user namespace"
        );
    }
    let name = group_name.as_deref();
    let shown = name.map(|name| format!(" ({name})")).unwrap_or_default();
    let name = name.unwrap_or("GROUP");
    format!(
        "{refused}; add the collector to group {group}{shown}: `group_add: [\"{group}\"]` in \
         compose, `--group-add {group}` with docker run, else `usermod -aG {name} USER`, and start \
         it anew"
    )
}

/// The name of a group in the words of `/etc/group` (group(5)).
fn name_of(group: u32, groups: &str) -> Option<String> {
    let group = group.to_string();
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let is_it = number == group && !name.is_empty() && name.bytes().all(plain);
        is_it.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nodd name:x:7:\ndocker:x:105:ann,bob\n\nbroken\nping:x:999:";

    #[test]
    fn a_group_has_the_name_of_its_line() {
        let check = |group: u32, expected: Option<&str>| {
            assert_eq!(name_of(group, GROUPS).as_deref(), expected, "{group}");
        };
        check(105, Some("docker"));
        check(999, Some("ping"));
        check(7, None);
        check(5, None);
    }

    #[test]
    fn who_is_to_be_let_in_follows_from_mode_and_groups() {
        let check = |socket: Option<(u32, u32, u32)>, groups: &[u32], parts: &[&str]| {
            let socket = socket.map(|(mode, owner, group)| {
                let group_name = name_of(group, GROUPS);
                Socket { mode, owner, group, group_name }
            });
            let process = Process { user: 1000, groups: groups.to_vec() };
            let text = advice(Path::new("/var/run/docker.sock"), socket.as_ref(), &process);
            assert!(text.starts_with("the Docker socket /var/run/docker.sock refuses user 1000"));
            for part in parts {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(text.len() < 290, "fits into get_health: {text}");
        };
        let compose = "`group_add: [\"105\"]` in compose";
        check(Some((0o660, 0, 105)), &[1000], &["group 105 (docker)", compose]);
        check(Some((0o660, 0, 105)), &[1000], &["--group-add 105", "usermod -aG docker USER"]);
        check(Some((0o660, 0, 4_294_967_294)), &[], &["[\"4294967294\"]", "usermod -aG GROUP"]);
        check(Some((0o660, 0, 105)), &[1000, 105], &["is in its group 105", "SELinux"]);
        check(Some((0o600, 3, 105)), &[105], &["mode 600", "as user 3", "chmod g+rw"]);
        check(None, &[], &["enter its folder"]);
    }
}
