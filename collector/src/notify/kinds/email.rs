//! E-mail: plain text. The channel's address is one or more mailboxes, comma list.

use lettre::message::Mailbox;

use super::{Request, line, plain};
use crate::notify::snapshot::Snapshot;

/// Recipients of one message.
const MOST: usize = 20;

/// The mailboxes an address names.
pub fn recipients(address: &str) -> Result<Vec<Mailbox>, String> {
    let list = address.strip_prefix("mailto:").unwrap_or(address);
    let parsed: Result<Vec<Mailbox>, _> =
        list.split(',').map(|one| one.trim().parse::<Mailbox>()).collect();
    match parsed {
        Ok(all) if all.len() <= MOST && !list.chars().any(char::is_control) => Ok(all),
        _ => Err(format!("use up to {MOST} addresses such as ops@example.org, comma list")),
    }
}

pub fn request(address: &str, told: &Snapshot) -> Result<Request, String> {
    let facts: String =
        told.facts().map(|(name, value)| format!("{name}: {}\n", line(&value, 500))).concat();
    Ok(Request::Mail {
        to: recipients(address)?,
        // One line: nothing in it can begin another header.
        subject: line(&told.title(), 200),
        text: format!("{}\n\n{facts}", plain(&told.alert.message, 8000)),
        unsubscribe: None,
    })
}
