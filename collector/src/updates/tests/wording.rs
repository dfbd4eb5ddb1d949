//! The commands, and what a shell makes of them.

use std::process::Command;

use super::deciding::digest;
use crate::updates::commands::{Commands, Project, Target, commands, quoted};
use crate::updates::reference::Reference;

fn project() -> Project {
    Project {
        name: "shop".into(),
        service: "web".into(),
        working_dir: "/srv/my shop".into(),
        config_files: "/srv/my shop/compose.yaml".into(),
        env_files: String::new(),
    }
}

fn of(target: &Target, image: &str, latest: &str) -> Option<Commands> {
    let reference = Reference::parse(image).unwrap();
    commands(target, image, &reference, latest, &digest('b'), Some(&digest('a')))
}

#[test]
fn a_compose_service_is_edited_pulled_and_brought_up() {
    let Commands { update, rollback } =
        of(&Target::Compose(project()), "nginx:1.27", "1.29").unwrap();
    let lines: Vec<_> = update.lines().collect();
    assert!(lines[0].starts_with("# Edits every service"), "{update}");
    assert_eq!(lines[1], "cd -- '/srv/my shop' &&");
    assert!(lines[2].starts_with("{ grep -Eq -e '^("), "{update}");
    assert!(lines[4].starts_with("sed -i -E 's#"), "{update}");
    let compose = "docker compose -p shop --project-directory '/srv/my shop' \
                   -f '/srv/my shop/compose.yaml'";
    let rest = [format!("{compose} pull web &&"), format!("{compose} up -d --no-deps web")];
    assert_eq!(lines[5..], rest);
    let rollback = rollback.unwrap();
    assert!(rollback.contains(&format!("nginx:1.27@{}", digest('a'))), "{rollback}");
    assert_ne!(rollback, update);
}

#[test]
fn an_image_that_is_new_under_its_tag_needs_no_edit_and_goes_back_by_digest() {
    for image in ["nginx:latest", "nginx"] {
        let Commands { update, rollback } =
            of(&Target::Compose(project()), image, "latest").unwrap();
        assert!(!update.contains("sed"), "{update}");
        let rollback = rollback.unwrap();
        assert!(rollback.contains("sed") && rollback.contains(&digest('a')), "{rollback}");
    }
}

/// Runs the edit of a compose file as a shell does.
fn edited(image: &str, latest: &str, file: &str) -> [(bool, String); 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's a file.yaml");
    std::fs::write(&path, file).unwrap();
    let project = Project {
        working_dir: folder.path().to_str().unwrap().to_owned(),
        config_files: path.to_str().unwrap().to_owned(),
        ..project()
    };
    let Commands { update, rollback } = of(&Target::Compose(project), image, latest).unwrap();
    // Compose itself need not be here.
    let run = |command: &str| {
        let script = format!("docker() {{ echo \"$1\"; }}\n{command}");
        let done = Command::new("sh").args(["-c", &script]).output().unwrap();
        (done.status.success(), std::fs::read_to_string(&path).unwrap())
    };
    [run(&update), run(&rollback.unwrap())]
}

#[test]
fn the_edit_changes_that_image_alone() {
    let file = "services:\n  web:\n    image: nginx:1.27\n  a:\n    image: \"nginx:1.27\" # web\n  \
                b:\n    image: nginx:1.27-alpine\n  c:\n    image: nginx:1x27\n";
    let [(done, after), (_, back)] = edited("nginx:1.27", "1.29", file);
    assert!(done);
    assert_eq!(
        after,
        "services:\n  web:\n    image: nginx:1.29\n  a:\n    image: \"nginx:1.29\" # web\n  b:\n    \
         image: nginx:1.27-alpine\n  c:\n    image: nginx:1x27\n"
    );
    assert!(back.contains(&format!("image: nginx:1.27@{}\n", digest('a'))), "{back}");
}

#[test]
fn a_file_without_the_image_is_not_passed_over() {
    let file = "services:\n  web:\n    image: nginx:${VERSION}\n";
    assert_eq!(edited("nginx:1.27", "1.29", file), [(); 2].map(|()| (false, file.to_owned())));
}

#[test]
fn files_of_variables_are_named_again() {
    let project = Project { env_files: "/etc/shop.env,/etc/my own.env".into(), ..project() };
    let update = of(&Target::Compose(project), "nginx", "latest").unwrap().update;
    assert!(
        update.contains(" --env-file /etc/shop.env --env-file '/etc/my own.env' up"),
        "{update}"
    );
}

#[test]
fn a_service_of_a_swarm_is_given_another_image() {
    let Commands { update, rollback } =
        of(&Target::Swarm("my shop_web".into()), "nginx:1.27", "1.29").unwrap();
    let begin = "docker service update --with-registry-auth --image";
    assert_eq!(update, format!("{begin} nginx:1.29 'my shop_web'"));
    let back = format!("{begin} nginx:1.27@{} 'my shop_web'", digest('a'));
    assert_eq!(rollback.unwrap(), back);
}

#[test]
fn a_container_of_its_own_is_made_anew_with_its_options() {
    let target = Target::Own("web".into());
    let Commands { update, rollback } = of(&target, "nginx:1.27", "1.29").unwrap();
    for part in [
        "docker pull nginx:1.29",
        "docker inspect web",
        "docker rename web web-before",
        "docker rename web-before web",
    ] {
        assert!(update.contains(part), "{part} is missing from {update}");
    }
    assert!(rollback.unwrap().contains(&format!("docker pull nginx:1.27@{}", digest('a'))));
    assert!(Command::new("sh").args(["-n", "-c", &update]).status().unwrap().success());
}

/// What the gateway's tests show unchanged is what is written here.
#[test]
fn commands_are_those_that_the_gateway_shows_whole() {
    let check = |target: Target, shown: &str| {
        let rollback = of(&target, "nginx:1.27", "1.29").unwrap().rollback.unwrap();
        assert_eq!(rollback, shown.trim_end());
    };
    macro_rules! shown {
        ($file:literal) => {
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../gateway/src/tools/updates/commands/",
                $file
            ))
        };
    }
    check(Target::Own("web".into()), shown!("container.sh"));
    check(Target::Compose(project()), shown!("compose.sh"));
}

#[test]
fn no_name_can_leave_its_word() {
    let hostile = ["$(touch x)", "a; rm -rf /", "`id`", "it's", "two\nlines", "", "\\", "*"];
    for word in hostile {
        let script = format!("printf %s {}", quoted(word));
        let said = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap(), word);
    }
    let option = Target::Compose(Project { service: "--volumes".into(), ..project() });
    let swarm = Target::Swarm("--force".into());
    for target in [option, swarm, Target::Own("a?b".into()), Target::Transient] {
        assert_eq!(of(&target, "nginx:1.27", "1.29"), None, "{target:?}");
    }
}
