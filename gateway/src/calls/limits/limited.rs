//! Which limit was met, and what is said of it.

use std::time::Duration;

use super::{CALLERS_OF_A_CLIENT, LISTENERS, LISTENERS_OF_ONE, RUNNING_OF_ONE};

/// Whom a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    Caller,
    /// All subjects of one OAuth client.
    Client,
}

/// Why a call has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Rate { whose: For, per_minute: u32, again: Duration },
    RunningOf(For),
    Running,
    ListenersOfOne,
    Listeners,
}

impl For {
    /// How many times as much as one caller.
    pub(super) fn share(self) -> u16 {
        match self {
            Self::Caller => 1,
            Self::Client => CALLERS_OF_A_CLIENT,
        }
    }
}

impl Limited {
    /// The label in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rate { whose: For::Caller, .. } => "rate",
            Self::Rate { whose: For::Client, .. } => "rate_of_client",
            Self::RunningOf(For::Caller) => "running_of_caller",
            Self::RunningOf(For::Client) => "running_of_client",
            Self::Running => "running",
            Self::ListenersOfOne => "listeners_of_caller",
            Self::Listeners => "listeners",
        }
    }

    /// What the caller is told.
    pub fn sentence(self) -> String {
        match self {
            Self::Rate { whose, per_minute, again } => {
                let seconds = again.as_millis().div_ceil(1000).max(1);
                let whose = match whose {
                    For::Caller => "one caller",
                    For::Client => "all users of one OAuth client",
                };
                format!(
                    "Too many calls: this gateway takes {per_minute} a minute from {whose}. \
                     Nothing was done. Try again in {seconds} s."
                )
            }
            Self::RunningOf(For::Caller) => format!(
                "{RUNNING_OF_ONE} of your calls are still running, and this gateway runs no more at \
                 once for one caller. Nothing was done. Try again when one of them has ended."
            ),
            Self::RunningOf(For::Client) => "Many calls of other users of your OAuth client are \
                                             still running, and this gateway runs no more at once \
                                             for one client. Nothing was done. Try again in 1 s."
                .to_owned(),
            Self::Running => "This gateway is busy with other calls. Nothing was done. Try again \
                              in 1 s."
                .to_owned(),
            Self::ListenersOfOne => {
                format!("you have {LISTENERS_OF_ONE} subscriptions already; end one of them first")
            }
            Self::Listeners => {
                format!("this gateway has {LISTENERS} listeners already; try again later")
            }
        }
    }
}
