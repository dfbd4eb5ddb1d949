//! What the page is told of what is watched. Dimensions do not know the page, nor the page them: the
//! wiring hands in one [`Watched`].

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use maintenant_api::status::ComponentStatus;
use rusqlite::Connection;

/// A type of monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Container,
    Endpoint,
    Heartbeat,
    Certificate,
}

impl Kind {
    pub const ALL: [Self; 4] =
        [Self::Container, Self::Endpoint, Self::Heartbeat, Self::Certificate];

    /// The word on the wire, which is also the entity type of its alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Endpoint => "endpoint",
            Self::Heartbeat => "heartbeat",
            Self::Certificate => "certificate",
        }
    }

    /// The type of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Names one monitor.
pub type Ref = (Kind, i64);

/// A monitor that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    pub id: i64,
    /// As its owner calls it. Foreign text, and not for the public.
    pub name: String,
    /// As its own state says, without its alerts.
    pub status: ComponentStatus,
}

/// An alert of a monitor that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    pub alert_id: i64,
    pub of: Ref,
    pub severity: Severity,
    /// Neither a silence nor a maintenance window keeps it quiet.
    pub is_active: bool,
}

/// What is known of a monitor on one day (in UTC, counted from 1970-01-01), in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastDay {
    pub day: i64,
    pub up_ms: i64,
    pub down_ms: i64,
}

/// Reads what is watched.
pub trait Watched: Send + Sync {
    /// All monitors of a type.
    fn monitors(&self, db: &Connection, kind: Kind) -> rusqlite::Result<Vec<Monitor>>;

    /// Alerts of monitors that have not ended and mean that a service is affected.
    fn alarms(&self, db: &Connection) -> rusqlite::Result<Vec<Alarm>>;

    /// The last `count` days of a monitor as far as they are known, for a component made later.
    fn past(
        &self,
        db: &Connection,
        of: Ref,
        count: i64,
        now: Timestamp,
    ) -> rusqlite::Result<Vec<PastDay>>;
}
