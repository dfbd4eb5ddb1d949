//! What a person would run to make an update, or to go back. Nothing here runs anything.

use maintenant_api::updates::{Update, UpdateDetail};
use schemars::JsonSchema;
use serde::Serialize;

use crate::collector::Collector;
use crate::error::explain;
use crate::untrusted::{self, name};

/// A command that is longer is not shown: a part of one does something else.
const LONGEST: usize = 4000;
const TOO_LONG: &str = "is too long to be shown whole";
const ALTERED: &str = "holds a secret or characters that are not shown; the server's own page has it \
                       whole";

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Commands {
    /// Who is to run them.
    note: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roll_back: Option<String>,
    /// Which of them is not shown, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
    /// Labels that choose among the tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_include: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_exclude: Option<String>,
}

const NOTE: &str = "For a person to read, and to run on the container's host; nothing was run.";

/// The commands for one update, or why there are none.
pub(super) async fn commands(
    collector: &Collector,
    update: &Update,
) -> Result<Commands, Option<String>> {
    if !is_id(&update.container_id) {
        return Err(None);
    }
    match collector.update(&update.container_id).await {
        Ok(detail) => shown(&detail),
        Err(error) => {
            let why = explain(&collector.name, &error);
            Err(Some(format!("The commands of this update could not be read. {why}")))
        }
    }
}

/// It is put into an address, where it must be nothing but itself; Kubernetes' ids hold slashes.
fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let part = |part: &str| !part.is_empty() && part.chars().all(plain) && part != "..";
    id.split('/').all(|one| part(one) && one != ".")
}

fn shown(detail: &UpdateDetail) -> Result<Commands, Option<String>> {
    let update = command(detail.update_command.as_deref());
    let roll_back = command(detail.rollback_command.as_deref());
    let why = [("update", &update), ("roll_back", &roll_back)].into_iter().filter_map(
        |(name, command)| Some(format!("The command {name} {}.", command.as_ref().err()?)),
    );
    let why = why.collect::<Vec<_>>().join(" ");
    let left_out = (!why.is_empty()).then_some(why);
    let (update, roll_back) = (update.ok().flatten(), roll_back.ok().flatten());
    if update.is_none() && roll_back.is_none() {
        return Err(left_out);
    }
    let label = |said: &Option<String>| said.as_deref().filter(|label| !label.is_empty()).map(name);
    Ok(Commands {
        note: NOTE,
        update,
        roll_back,
        left_out,
        tag_include: label(&detail.tag_include),
        tag_exclude: label(&detail.tag_exclude),
    })
}

/// As it was said, or why it is not shown: a command that was changed does something else.
fn command(said: Option<&str>) -> Result<Option<String>, &'static str> {
    let Some(said) = said.filter(|said| !said.trim().is_empty()) else { return Ok(None) };
    if said.chars().count() > LONGEST {
        return Err(TOO_LONG);
    }
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    if untrusted::lines(&lines).0 != lines {
        return Err(ALTERED);
    }
    Ok(Some(lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_no_way_to_another_address() {
        for good in ["0ab1", "shop/Deployment/web", "a.b_c:d"] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "/", "a/", "..", "a/../b", ".", "a?b", "a#b", "a%2e", "a b", "ä"] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_command_is_whole_or_absent() {
        assert_eq!(command(None), Ok(None));
        assert_eq!(command(Some(" \n")), Ok(None));
        let two = "cd '/srv/shop' \\\n  && docker compose up";
        assert_eq!(command(Some(two)), Ok(Some(two.to_owned())));
        assert_eq!(command(Some(&"x".repeat(4001))), Err(TOO_LONG));
        for altered in [
            "docker\u{202e} compose up",
            "docker \u{1b}[2Jcompose up",
            "cd /srv/token=abc123def && docker compose up",
            "docker run -e DB_PASSWORD=hunter2 postgres",
        ] {
            assert_eq!(command(Some(altered)), Err(ALTERED), "{altered:?}");
        }
    }

    #[test]
    fn a_command_that_is_left_out_beside_another_is_named() {
        let detail = |update: &str, roll_back: &str| UpdateDetail {
            update_command: Some(update.to_owned()),
            rollback_command: Some(roll_back.to_owned()),
            ..UpdateDetail::default()
        };
        let long = "x".repeat(4001);
        let one = shown(&detail("docker pull x", &long)).unwrap();
        assert_eq!(one.update.as_deref(), Some("docker pull x"));
        let why = "The command roll_back is too long to be shown whole.";
        assert_eq!(one.left_out.as_deref(), Some(why));
        let none = shown(&detail("docker\u{202e} pull x", &long)).unwrap_err().unwrap();
        assert!(none.starts_with("The command update holds a secret"), "{none}");
        assert!(none.ends_with(why), "{none}");
        assert!(shown(&detail("docker pull x", "")).unwrap().left_out.is_none());
    }

    /// Redaction must not take apart what is to be run.
    #[test]
    fn commands_as_collectors_write_them_stay_as_they_are() {
        for said in [include_str!("commands/compose.sh"), include_str!("commands/container.sh")] {
            let said = said.trim_end();
            assert_eq!(command(Some(said)), Ok(Some(said.to_owned())));
        }
    }
}
