//! Subscribers: who wants to be told by mail, confirms it, and ends it. What they are written.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use lettre::message::Mailbox;
use maintenant_api::status::{Incident, IncidentStatus};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use rusqlite::Connection;
use tokio::sync::Notify;

use super::incidents::Voice;
use super::input::Invalid;
use super::sql::subscribers::{self as sql, Letter, Limits, Mail, Outcome, Wanted};
use crate::notify::kinds::Request;
use crate::notify::post::{Parcel, Post};
use crate::notify::retry;
use crate::store::Store;
use crate::tasks::Job;

/// How long a wish can be confirmed.
const CONFIRM: SignedDuration = SignedDuration::from_hours(24);
/// Subscribers, and those among them who have not confirmed: what somebody can make us mail to
/// strangers, and how often to one.
const LIMITS: Limits =
    Limits { all: 10_000, asked: 200, asked_lately: 60, lately: SignedDuration::from_hours(1) };
/// Characters of an address (RFC 5321 §4.5.3.1.3, without the brackets).
const MOST_EMAIL: usize = 254;
/// Mails under way at once.
const TOGETHER: usize = 4;
const BATCH: usize = 100;
const LONGEST: Duration = Duration::from_secs(5);

/// An address to which mail can go, in lower case.
pub fn parse(given: &str) -> Result<String, Invalid> {
    let given = given.trim();
    let fault = || {
        Invalid(format!("email is `{}`; give an address such as me@example.org", foreign(given)))
    };
    if given.len() > MOST_EMAIL || given.chars().any(|one| one.is_control() || one.is_whitespace())
    {
        return Err(fault());
    }
    let address: lettre::Address = given.parse().map_err(|_| fault())?;
    if !address.domain().contains('.') {
        return Err(fault());
    }
    Ok(given.to_lowercase())
}

/// `a***@example.org`: enough to know one's own, too little to write to.
pub fn masked(email: &str) -> String {
    let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    let first = local.chars().next().map(String::from).unwrap_or_default();
    format!("{first}***@{domain}")
}

/// 256 random bits.
fn token() -> Option<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

/// A wish to subscribe, with tokens of its own. `None` if there is no randomness.
pub fn wanted(email: String, now: Timestamp) -> Option<Wanted> {
    Some(Wanted {
        email,
        confirm_token: token()?,
        confirm_until: now.saturating_add(CONFIRM).unwrap_or(now),
        unsubscribe_token: token()?,
    })
}

/// Stores a wish, and writes the mail that asks to confirm it.
pub fn subscribe(
    tx: &Connection,
    wanted: &Wanted,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<Outcome> {
    let outcome = sql::subscribe(tx, wanted, LIMITS, now)?;
    if let Outcome::Asked(id) = outcome {
        let organisation = &voice.organisation;
        let subject = format!("[{organisation}] Please confirm your subscription");
        let text = format!(
            "Somebody, probably you, asked to be told by mail of incidents and maintenance of \
             {organisation}.\n\nTo confirm, open within 24 hours and press the button:\n\
             {}/status/confirm?token={}\n\n\
             If it was not you, do nothing: you will hear no more of it.\n",
            voice.base_url, wanted.confirm_token
        );
        sql::write_to(tx, id, Letter { subject: &subject, text: &text }, now)?;
    }
    Ok(outcome)
}

/// Writes to every subscriber what was last said of an incident, in the transaction that says it.
pub fn announce(
    tx: &Connection,
    incident: &Incident,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<()> {
    if !voice.has_mail {
        return Ok(());
    }
    let (subject, text) = written(incident, voice);
    sql::write_to_all(tx, Letter { subject: &subject, text: &text }, now)
}

/// Subject and text of the mail about an incident.
fn written(incident: &Incident, voice: &Voice) -> (String, String) {
    let status = status_words(incident);
    let subject = format!("[{}] {status}: {}", voice.organisation, incident.title);
    let names: Vec<_> = incident.components.iter().map(|one| one.name.as_str()).collect();
    let concerns =
        if names.is_empty() { String::new() } else { format!("Affects: {}\n", names.join(", ")) };
    let said = incident.updates.first().map(|update| update.message.as_str()).unwrap_or_default();
    let said = if said.is_empty() { String::new() } else { format!("\n{said}\n") };
    let text = format!(
        "{}\nStatus: {status}\n{concerns}{said}\n{}\n",
        incident.title,
        voice.incident_url(incident.id)
    );
    (subject, text)
}

/// The text of a mail and, of one with news, where the subscription ends.
pub fn whole_text(
    mail: &Mail,
    Voice { base_url, organisation, .. }: &Voice,
) -> (String, Option<String>) {
    let Some(token) = &mail.unsubscribe_token else { return (mail.text.clone(), None) };
    let link = format!("{base_url}/status/unsubscribe?token={token}");
    let text = format!(
        "{}\n--\nYou are told because you subscribed to {organisation}.\nTo end that: {link}\n",
        mail.text
    );
    (text, Some(link))
}

/// The status of an incident as people read it.
pub fn status_words(incident: &Incident) -> &'static str {
    match incident.status {
        IncidentStatus::Resolved if incident.is_maintenance => "Completed",
        _ if incident.is_maintenance => "In progress",
        status => said_words(status),
    }
}

/// The status of an update as people read it.
pub fn said_words(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Investigating => "Investigating",
        IncidentStatus::Identified => "Identified",
        IncidentStatus::Monitoring => "Monitoring",
        IncidentStatus::Resolved => "Resolved",
        IncidentStatus::Unknown => "Update",
    }
}

/// The job that sends what waits.
pub struct Mailer {
    pub store: Store,
    pub post: Arc<Post>,
    pub voice: Voice,
    /// Rung when there is something to send.
    pub bell: Arc<Notify>,
}

impl Mailer {
    /// Sends what is due, and says whether there was as much as fits into one round.
    pub async fn send_due(&self, now: Timestamp) -> anyhow::Result<bool> {
        let mails = self.store.read(move |db| sql::due(db, BATCH, now)).await?;
        let is_full = mails.len() == BATCH;
        let sends = mails.into_iter().map(|mail| self.send(mail, now));
        let mut done = futures_util::stream::iter(sends).buffer_unordered(TOGETHER);
        while let Some(outcome) = done.next().await {
            outcome?;
        }
        Ok(is_full)
    }

    async fn send(&self, mail: Mail, now: Timestamp) -> anyhow::Result<()> {
        let Ok(to) = mail.to.parse::<Mailbox>() else {
            return Ok(self.store.write(move |tx| sql::remove_mail(tx, mail.id)).await?);
        };
        let (text, unsubscribe) = whole_text(&mail, &self.voice);
        let request = Request::Mail { to: vec![to], subject: mail.subject, text, unsubscribe };
        let event = "status.mail".to_owned();
        let parcel = Parcel { request, key: mail.key, event, signature: None };
        let Err(failure) = self.post.send(&parcel, now).await else {
            return Ok(self.store.write(move |tx| sql::remove_mail(tx, mail.id)).await?);
        };
        let attempts = mail.attempts + 1;
        let next = retry::next(&failure, attempts, mail.created_at, mail.id, clock::now());
        if let Some(next) = next {
            tracing::debug!(id = mail.id, attempts, "a mail was not taken: {}", failure.text);
            self.store.write(move |tx| sql::postpone(tx, mail.id, attempts, next)).await?;
        } else {
            tracing::warn!(id = mail.id, attempts, "a mail is given up: {}", failure.text);
            self.store.write(move |tx| sql::remove_mail(tx, mail.id)).await?;
        }
        Ok(())
    }
}

impl Job for Mailer {
    const NAME: &'static str = "status_mails";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        loop {
            if self.send_due(clock::now()).await? {
                continue;
            }
            tokio::select! {
                () = self.bell.notified() => {}
                () = tokio::time::sleep(LONGEST) => {}
            }
        }
    }
}
