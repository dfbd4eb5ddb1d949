//! What keeps alerts quiet: silences, and whatever else provides a [`Mute`].

use jiff::Timestamp;
use rusqlite::Connection;

use super::model::Key;
use super::silences;

/// For as long as it lasts, matching alerts are stored and nobody is told. What is `None` matches
/// everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mute {
    pub source: Option<String>,
    pub entity_type: Option<String>,
    pub entity_id: Option<i64>,
    /// It ends then.
    pub until: Timestamp,
}

impl Mute {
    pub fn covers(&self, (source, _, kind, id): Key<'_>, now: Timestamp) -> bool {
        now < self.until
            && self.source.as_ref().is_none_or(|wanted| wanted == source)
            && self.entity_type.as_ref().is_none_or(|wanted| wanted == kind)
            && self.entity_id.is_none_or(|wanted| wanted == id)
    }
}

/// Says which mutes hold at a moment.
pub type Provider = fn(&Connection, now: Timestamp) -> rusqlite::Result<Vec<Mute>>;

/// All kinds there are.
const PROVIDERS: &[Provider] = &[silences::mutes, crate::status::maintenance::mutes];

/// Everything that keeps alerts quiet now.
pub fn in_force(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Mute>> {
    let mut mutes = Vec::new();
    for provider in PROVIDERS {
        mutes.extend(provider(db, now)?);
    }
    Ok(mutes)
}
