//! Containers: which are in trouble, what happened to one, what it wrote.

mod detail;
mod list;
mod logs;
mod resolve;

use maintenant_api::containers::{ExitReason, Health, State};

pub(in crate::tools) use list::Summary;
pub(crate) use resolve::{NO_SUCH_CONTAINER, NOT_ASKED};
use rmcp::handler::server::tool::ToolRouter;

use crate::listed::Listed;
use crate::server::Gateway;
use crate::untrusted;

impl Gateway {
    pub(in crate::tools) fn containers() -> ToolRouter<Self> {
        Self::list_of_containers() + Self::one_container() + Self::logs_of_a_container()
    }
}

/// How much a container needs attention; 0 most.
pub(in crate::tools) fn rank(container: &Listed) -> u8 {
    let failed = match container.exit_reason {
        Some(
            ExitReason::OomKilled
            | ExitReason::Signal
            | ExitReason::Error
            | ExitReason::CannotStart,
        ) => true,
        Some(ExitReason::Requested | ExitReason::Completed) => false,
        // Servers that send no reason call a clean end `completed`, so `exited` was none.
        None => container.exit_code != Some(0),
    };
    match container.state {
        State::Dead => 0,
        State::Exited if failed => 1,
        State::Created if container.exit_reason == Some(ExitReason::CannotStart) => 1,
        State::Running if container.health_status == Some(Health::Unhealthy) => 2,
        State::Restarting => 3,
        State::Unknown => 4,
        State::Running if container.health_status == Some(Health::Starting) => 5,
        State::Paused => 6,
        State::Exited => 7,
        State::Created => 8,
        State::Running => 9,
        State::Completed => 10,
    }
}

/// The name of the group a container is shown in, if it is in one.
fn group_of(container: &Listed) -> Option<&str> {
    [&container.custom_group, &container.orchestration_group]
        .into_iter()
        .map(String::as_str)
        .find(|group| !group.is_empty())
}

/// A name is accepted as it is and as answers show it.
fn is_shown_as(real: &str, given: &str) -> bool {
    real == given || untrusted::name(real) == given
}

#[cfg(test)]
mod tests {
    use super::rank;
    use crate::listed::Listed;

    fn container(rest: &str) -> Listed {
        let json = format!(
            r#"{{"id":1,"external_id":"a","name":"x","image":"i",
                "first_seen_at":"2026-01-01T00:00:00Z","last_state_change_at":"2026-01-01T00:00:00Z",
                {rest}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn trouble_comes_first() {
        let worst_first = [
            r#""state":"dead""#,
            r#""state":"exited","exit_reason":"oom_killed""#,
            r#""state":"running","health_status":"unhealthy""#,
            r#""state":"restarting""#,
            r#""state":"unknown""#,
            r#""state":"running","health_status":"starting""#,
            r#""state":"paused""#,
            r#""state":"exited","exit_reason":"requested","exit_code":137"#,
            r#""state":"created""#,
            r#""state":"running","health_status":"healthy""#,
            r#""state":"completed","exit_code":0"#,
        ];
        let ranks: Vec<u8> = worst_first.iter().map(|rest| rank(&container(rest))).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }

    #[test]
    fn every_bad_end_ranks_alike_and_unheard_words_are_no_good_news() {
        for bad in [
            r#""state":"exited","exit_reason":"error","exit_code":3"#,
            r#""state":"exited","exit_reason":"signal""#,
            r#""state":"exited","exit_reason":"cannot_start""#,
            r#""state":"created","exit_reason":"cannot_start""#,
            r#""state":"exited","exit_reason":"vaporised""#,
            r#""state":"exited""#,
            r#""state":"exited","exit_code":1"#,
        ] {
            assert_eq!(rank(&container(bad)), 1, "{bad}");
        }
        assert_eq!(rank(&container(r#""state":"hibernating""#)), 4);
    }
}
