//! What the tools that list things have in common: the worst first, counts over all of them, pages
//! that fit, and a cursor that continues.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{counted, hint};
use crate::budget;
use crate::collectors::Source;
use crate::cursor;
use crate::error::ToolError;

const DEFAULT_LIMIT: usize = 20;
const MOST: i64 = 100;

/// Reads the argument `limit`. Without one, a page is short.
pub(super) fn limit(limit: Option<i64>) -> Result<Option<usize>, ToolError> {
    let Some(limit) = limit else { return Ok(None) };
    usize::try_from(limit)
        .ok()
        .filter(|_| (1..=MOST).contains(&limit))
        .map(Some)
        .ok_or_else(|| ToolError::out_of_range("limit", limit, 1..=MOST))
}

/// Reads a word out of a fixed set, in any case.
pub(super) fn word<T>(
    argument: &str,
    given: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    accepted: &[&str],
) -> Result<Option<T>, ToolError> {
    let Some(given) = given.map(|given| given.trim().to_lowercase()) else { return Ok(None) };
    if !accepted.contains(&given.as_str()) {
        return Err(ToolError::unknown_word(argument, &given, accepted));
    }
    Ok(parse(&given))
}

/// Where an item stands in its list; the smaller, the earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    /// How much it needs attention; 0 most.
    pub(super) rank: u8,
    /// A moment that orders those of one rank, or 0.
    pub(super) moment: i64,
    /// As it is shown.
    pub(super) name: String,
    pub(super) collector: String,
    pub(super) id: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Ranked<T> {
    pub(super) key: Key,
    pub(super) item: T,
}

/// Counts over all pages; what does not occur is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Counts {
    /// Whatever the filters.
    total: usize,
    /// With the filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    matching: Option<usize>,
    #[serde(flatten)]
    by: BTreeMap<String, usize>,
}

impl Counts {
    pub(super) fn add(&mut self, word: &str) {
        let count = self.by.entry(word.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn set(&mut self, word: String, count: usize) {
        self.by.insert(word, count);
    }

    pub(super) fn of(&self, word: &str) -> usize {
        self.by.get(word).copied().unwrap_or_default()
    }
}

/// All items that match, and where the page begins.
pub(super) struct Listing<T> {
    noun: &'static str,
    pub(super) total: usize,
    pub(super) matching: Vec<Ranked<T>>,
    start: usize,
    /// Servers left out what does not match, so that nobody knows how many there are without.
    is_part: bool,
}

/// The items shown, and what is said of the others.
pub(super) struct Page<R> {
    pub(super) rows: Vec<R>,
    pub(super) next_cursor: Option<String>,
    pub(super) rest: Option<String>,
}

impl<T> Listing<T> {
    /// `noun`: what one item is called.
    pub(super) fn new(
        noun: &'static str,
        items: Vec<Ranked<T>>,
        matches: impl Fn(&Ranked<T>) -> bool,
        after: Option<&Key>,
    ) -> Self {
        let total = items.len();
        let mut matching: Vec<Ranked<T>> = items.into_iter().filter(matches).collect();
        matching.sort_by(|a, b| a.key.cmp(&b.key));
        let start = after.map_or(0, |after| matching.partition_point(|item| item.key <= *after));
        Self { noun, total, matching, start, is_part: false }
    }

    /// What was read is not all there is without filters.
    pub(super) fn of_a_part(self, is_part: bool) -> Self {
        Self { is_part, ..self }
    }

    /// Counts those that match, each under all `words` of it. `open`: nothing was filtered.
    pub(super) fn counts<'a>(
        &'a self,
        open: bool,
        words: impl Fn(&'a T) -> Vec<&'static str>,
    ) -> Counts {
        let matching = (!open).then_some(self.matching.len());
        let mut counts = Counts { total: self.total, matching, by: BTreeMap::new() };
        for word in self.matching.iter().flat_map(|ranked| words(&ranked.item)) {
            counts.add(word);
        }
        counts
    }

    /// Those that a page of `limit` may show.
    pub(super) fn candidates(&mut self, limit: Option<usize>) -> &mut [Ranked<T>] {
        let unseen = self.matching.get_mut(self.start..).unwrap_or_default();
        let end = unseen.len().min(limit.unwrap_or(DEFAULT_LIMIT));
        unseen.get_mut(..end).unwrap_or_default()
    }

    /// As many rows as were asked for and fit beside `sources`.
    pub(super) fn page<R: Serialize>(
        &self,
        limit: Option<usize>,
        filter: &impl Serialize,
        sources: Option<&[Source]>,
        row: impl Fn(&Ranked<T>) -> R,
    ) -> Page<R> {
        let unseen = self.matching.get(self.start..).unwrap_or_default();
        let rows: Vec<R> = unseen.iter().take(limit.unwrap_or(DEFAULT_LIMIT)).map(row).collect();
        let room = budget::ITEMS.saturating_sub(budget::size(&sources));
        let room = if limit.is_some() { room } else { room.min(budget::TARGET) };
        let (rows, _) = budget::fit(rows, room);
        let more = unseen.len().saturating_sub(rows.len());
        let next_cursor = rows
            .len()
            .checked_sub(1)
            .filter(|_| more > 0)
            .and_then(|last| unseen.get(last))
            .and_then(|last| cursor::encode(&last.key, filter));
        let more = (more > 0).then(|| match next_cursor {
            Some(_) => format!("{more} more: repeat the call with cursor = next_cursor."),
            None => format!("{more} more: narrow the filters to see them."),
        });
        let nothing = (self.matching.is_empty() && self.total > 0 && !self.is_part).then(|| {
            let noun = self.noun;
            let all = counted(self.total, noun);
            format!("No {noun} matches; without filters there are {all}.")
        });
        Page { rows, next_cursor, rest: hint([more, nothing]) }
    }
}
