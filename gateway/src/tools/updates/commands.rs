//! What a person would run to make an update, or to go back. Nothing here runs anything.

use maintenant_api::updates::{Update, UpdateDetail};
use schemars::JsonSchema;
use serde::Serialize;

use crate::collector::Collector;
use crate::error::explain;
use crate::untrusted::{self, name};

/// A command that is longer is not shown: a part of one does something else.
const LONGEST: usize = 2000;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Commands {
    /// Who is to run them.
    note: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roll_back: Option<String>,
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
    let (update, too_long) = command(detail.update_command.as_deref());
    let (roll_back, also) = command(detail.rollback_command.as_deref());
    if update.is_none() && roll_back.is_none() {
        let why = "The commands of this update are too long to be shown whole.".to_owned();
        return Err((too_long || also).then_some(why));
    }
    let label = |said: &Option<String>| said.as_deref().filter(|label| !label.is_empty()).map(name);
    Ok(Commands {
        note: NOTE,
        update,
        roll_back,
        tag_include: label(&detail.tag_include),
        tag_exclude: label(&detail.tag_exclude),
    })
}

/// Line by line, made safe; and whether it was left out for its length.
fn command(said: Option<&str>) -> (Option<String>, bool) {
    let Some(said) = said.filter(|said| !said.trim().is_empty()) else { return (None, false) };
    if said.chars().count() > LONGEST {
        return (None, true);
    }
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    (Some(untrusted::lines(&lines).0.join("\n")), false)
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
        assert_eq!(command(None), (None, false));
        assert_eq!(command(Some(" \n")), (None, false));
        let two = "cd '/srv/shop' \\\n  && docker\u{202e} compose up";
        let shown = "cd '/srv/shop' \\\n  && docker\\u{202e} compose up";
        assert_eq!(command(Some(two)), (Some(shown.to_owned()), false));
        assert_eq!(command(Some(&"x".repeat(2001))), (None, true));
    }

    /// Redaction must not take apart what is to be run.
    #[test]
    fn commands_as_collectors_write_them_stay_as_they_are() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let compose = format!(
            "cd -- /srv/shop &&\n\
             sed -i -E 's#^([[:space:]]*image:[[:space:]]*[\"'\\'']?)ghcr\\.io/a/b:1\\.2\
             ([\"'\\'']?[[:space:]]*(\\#.*)?)$#\\1ghcr.io/a/b:1.2@{digest}\\2#' compose.yaml &&\n\
             docker compose -p shop pull api &&\ndocker compose -p shop up -d --no-deps api"
        );
        let standalone = format!(
            "docker pull nginx:1.27@{digest} &&\n\
             docker inspect web | jq --arg image nginx:1.28 --argjson old \"$(docker image inspect \
             --format '{{{{json .Config}}}}' \"$(docker inspect --format '{{{{.Image}}}}' web)\")\" \
             '.[0] as $c | ($c.Config | with_entries(select(.value != $old[.key])) \
             | .Env = (($c.Config.Env // []) - ($old.Env // [])))' >container.json &&\n\
             docker stop web && docker rename web web-before &&\n\
             curl -sS --fail --unix-socket /var/run/docker.sock -H 'Content-Type: \
             application/json' --data @container.json \
             'http://localhost/containers/create?name=web' &&\n\
             docker start web && docker rm web-before"
        );
        for said in [compose, standalone] {
            assert_eq!(command(Some(&said)), (Some(said.clone()), false));
        }
    }
}
