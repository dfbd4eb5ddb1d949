//! Reading what users write: one line, several lines, a moment.

use jiff::Timestamp;
use maintenant_serve::logging::foreign;

/// What is wrong, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub String);

/// One line of at least a character.
pub fn line(field: &str, given: Option<String>, most: usize) -> Result<String, Invalid> {
    let text = given.unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        return Err(Invalid(format!("{field} is missing; give 1 to {most} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid(format!("{field} has control characters; give one line of text")));
    }
    bounded(field, text, most)
}

/// Any number of lines, none included.
pub fn text(field: &str, given: Option<String>, most: usize) -> Result<String, Invalid> {
    let text = given.unwrap_or_default().replace("\r\n", "\n");
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t')) {
        return Err(Invalid(format!("{field} has control characters; give plain text")));
    }
    bounded(field, text.trim(), most)
}

fn bounded(field: &str, text: &str, most: usize) -> Result<String, Invalid> {
    match text.chars().count() {
        count if count > most => {
            Err(Invalid(format!("{field} has {count} characters; give at most {most}")))
        }
        _ => Ok(text.to_owned()),
    }
}

/// A moment as RFC 3339 says.
pub fn moment(field: &str, given: Option<&str>) -> Result<Option<Timestamp>, Invalid> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    given.parse().map(Some).map_err(|_| {
        let given = foreign(given);
        Invalid(format!("{field} is `{given}`; use RFC 3339 such as 2026-05-05T10:00:00Z"))
    })
}

/// One of a few words.
pub fn word<T>(
    field: &str,
    given: &str,
    parse: fn(&str) -> Option<T>,
    accepted: &str,
) -> Result<T, Invalid> {
    parse(given).ok_or_else(|| Invalid(format!("{field} is `{}`; use {accepted}", foreign(given))))
}
