//! The commands, and what a shell makes of them.

use std::process::Command;

use super::deciding::digest;
use crate::updates::commands::{Commands, Project, Target, commands, quoted};
use crate::updates::reference::Reference;

fn compose() -> Target {
    let compose = Project {
        name: "shop".into(),
        service: "web".into(),
        working_dir: "/srv/my shop".into(),
        config_files: "/srv/my shop/compose.yaml".into(),
    };
    Target { name: "shop-web-1".into(), compose: Some(compose) }
}

fn of(target: &Target, image: &str, latest: &str) -> Option<Commands> {
    let reference = Reference::parse(image).unwrap();
    commands(target, image, &reference, latest, &digest('b'), Some(&digest('a')))
}

#[test]
fn a_compose_service_is_edited_pulled_and_brought_up() {
    let Commands { update, rollback } = of(&compose(), "nginx:1.27", "1.29").unwrap();
    let lines: Vec<_> = update.lines().collect();
    assert_eq!(lines[0], "cd -- '/srv/my shop' &&");
    assert!(lines[1].starts_with("sed -i -E 's#"), "{update}");
    let rest = [
        "docker compose -p shop -f '/srv/my shop/compose.yaml' pull web &&",
        "docker compose -p shop -f '/srv/my shop/compose.yaml' up -d --no-deps web",
    ];
    assert_eq!(lines[2..], rest);
    let rollback = rollback.unwrap();
    assert!(rollback.contains(&format!("nginx:1.27@{}", digest('a'))), "{rollback}");
    assert_ne!(rollback, update);
}

#[test]
fn an_image_that_is_new_under_its_tag_needs_no_edit_and_goes_back_by_digest() {
    for image in ["nginx:latest", "nginx"] {
        let Commands { update, rollback } = of(&compose(), image, "latest").unwrap();
        assert!(!update.contains("sed"), "{update}");
        let rollback = rollback.unwrap();
        assert!(rollback.contains("sed") && rollback.contains(&digest('a')), "{rollback}");
    }
}

/// Runs the edit of a compose file as a shell does.
fn edited(image: &str, latest: &str, file: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's a file.yaml");
    std::fs::write(&path, file).unwrap();
    let mut target = compose();
    let project = target.compose.as_mut().unwrap();
    project.working_dir = folder.path().to_str().unwrap().to_owned();
    project.config_files = path.to_str().unwrap().to_owned();
    let Commands { update, rollback } = of(&target, image, latest).unwrap();
    let run = |command: &str| {
        let edit = command.lines().filter(|line| line.starts_with("sed")).collect::<String>();
        let edit = edit.trim_end_matches(" &&");
        assert!(Command::new("sh").args(["-c", edit]).status().unwrap().success(), "{edit}");
        std::fs::read_to_string(&path).unwrap()
    };
    let after = run(&update);
    (after, run(&rollback.unwrap()))
}

#[test]
fn the_edit_changes_that_image_alone() {
    let file = "services:\n  web:\n    image: nginx:1.27\n  a:\n    image: \"nginx:1.27\" # web\n  \
                b:\n    image: nginx:1.27-alpine\n  c:\n    image: nginx:1x27\n";
    let (after, back) = edited("nginx:1.27", "1.29", file);
    assert_eq!(
        after,
        "services:\n  web:\n    image: nginx:1.29\n  a:\n    image: \"nginx:1.29\" # web\n  b:\n    \
         image: nginx:1.27-alpine\n  c:\n    image: nginx:1x27\n"
    );
    assert!(back.contains(&format!("image: nginx:1.27@{}\n", digest('a'))), "{back}");
}

#[test]
fn a_container_of_its_own_is_made_anew_with_its_options() {
    let target = Target { name: "web".into(), compose: None };
    let Commands { update, rollback } = of(&target, "nginx:1.27", "1.29").unwrap();
    for part in ["docker pull nginx:1.29", "docker inspect web", "docker rename web web-before"] {
        assert!(update.contains(part), "{part} is missing from {update}");
    }
    assert!(rollback.unwrap().contains(&format!("docker pull nginx:1.27@{}", digest('a'))));
    assert!(Command::new("sh").args(["-n", "-c", &update]).status().unwrap().success());
}

#[test]
fn no_name_can_leave_its_word() {
    let hostile = ["$(touch x)", "a; rm -rf /", "`id`", "it's", "two\nlines", "", "\\", "*"];
    for word in hostile {
        let script = format!("printf %s {}", quoted(word));
        let said = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap(), word);
    }
    let mut target = compose();
    target.compose.as_mut().unwrap().service = "--volumes".into();
    assert_eq!(of(&target, "nginx:1.27", "1.29"), None);
    let target = Target { name: "a?b".into(), compose: None };
    assert_eq!(of(&target, "nginx:1.27", "1.29"), None);
}
