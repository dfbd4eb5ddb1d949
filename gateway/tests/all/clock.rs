//! A clock for tests on real sockets: by it a machine that halts or crawls is as quick as any.

use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{advance, pause, resume};

/// What a turn takes, at least.
pub(crate) const TURN: Duration = Duration::from_millis(10);

/// The clock goes by turns as long as this lives.
pub(crate) struct ByTurns {
    _turns: JoinSet<()>,
}

/// From here on the clock goes by `step` in each turn, in which this runtime does all that is to be
/// done. With [`TURN`] it is at most as quick as a real one.
#[must_use]
pub(crate) fn by_turns(step: Duration) -> ByTurns {
    pause();
    let mut turns = JoinSet::new();
    turns.spawn(async move {
        // A paused clock goes by itself when nothing is to be done, but not while a thread blocks.
        while spawn_blocking(|| std::thread::sleep(TURN)).await.is_ok() {
            advance(step).await;
        }
    });
    ByTurns { _turns: turns }
}

impl Drop for ByTurns {
    fn drop(&mut self) {
        resume();
    }
}
