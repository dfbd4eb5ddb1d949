//! What is sent to each kind of channel. Pure: a payload and a channel to a request.
//!
//! Names and messages are foreign text. Each kind either shows it as plain text or escapes what its
//! service would act upon, and keeps it within the service's limits.

pub mod discord;
pub mod email;
pub mod ntfy;
pub mod slack;
pub mod teams;
pub mod telegram;
pub mod webhook;

use lettre::message::Mailbox;
use url::Url;

use super::channels::Headers;
use super::snapshot::Snapshot;

/// What a channel speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Webhook,
    Discord,
    Slack,
    Teams,
    Ntfy,
    Telegram,
    Email,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Webhook,
        Self::Discord,
        Self::Slack,
        Self::Teams,
        Self::Ntfy,
        Self::Telegram,
        Self::Email,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Discord => "discord",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Ntfy => "ntfy",
            Self::Telegram => "telegram",
            Self::Email => "email",
        }
    }

    /// The kind of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What goes out.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A JSON body posted with further headers.
    Http { url: Url, headers: Headers, body: String },
    Mail {
        to: Vec<Mailbox>,
        subject: String,
        text: String,
        /// Where its receiver ends what it is part of, by opening it or by a POST.
        unsubscribe: Option<String>,
    },
}

/// The request that tells `payload`; an error says why there can be none.
pub fn render(kind: Kind, url: &str, headers: &Headers, payload: &str) -> Result<Request, String> {
    let read = || serde_json::from_str::<Snapshot>(payload).map_err(|error| error.to_string());
    let parsed = || Url::parse(url).map_err(|error| format!("the url is no address: {error}"));
    let (url, body) = match kind {
        Kind::Webhook => (parsed()?, webhook::body(payload)),
        Kind::Discord => (parsed()?, discord::body(&read()?)),
        Kind::Slack => (parsed()?, slack::body(&read()?)),
        Kind::Teams => (parsed()?, teams::body(&read()?)),
        Kind::Ntfy => ntfy::request(&parsed()?, &read()?)?,
        Kind::Telegram => telegram::request(url, &read()?)?,
        Kind::Email => return email::request(url, &read()?),
    };
    Ok(Request::Http { url, headers: headers.clone(), body })
}

/// At most `limit` bytes of foreign text, each character as `escape` writes it (`None`: as it is).
/// Control characters become spaces, those of direction are dropped. Bytes are what no service
/// counts more than.
fn fit(text: &str, limit: usize, escape: impl Fn(char) -> Option<&'static str>) -> String {
    const CUT: char = '…';
    let mut out = String::new();
    let mut buffer = [0; 4];
    // Where it is cut if the rest does not fit.
    let mut last_fit = 0;
    for c in text.trim().chars() {
        let piece: &str = match c {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => continue,
            '\n' => "\n",
            c if c.is_control() => " ",
            c => escape(c).unwrap_or_else(|| c.encode_utf8(&mut buffer)),
        };
        if out.len() + piece.len() > limit {
            out.truncate(last_fit);
            out.push(CUT);
            return out;
        }
        out.push_str(piece);
        if out.len() + CUT.len_utf8() <= limit {
            last_fit = out.len();
        }
    }
    out
}

/// For what shows text as it is.
fn plain(text: &str, limit: usize) -> String {
    fit(text, limit, |_| None)
}

/// As [`plain`], on one line.
fn line(text: &str, limit: usize) -> String {
    fit(text, limit, |c| (c == '\n').then_some(" ")).replace('\n', " ")
}
