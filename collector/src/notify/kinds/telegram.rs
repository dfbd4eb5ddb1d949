//! Telegram: `sendMessage` of the Bot API. Limit: 4,096 characters.
//!
//! The address is `https://api.telegram.org/bot<token>/sendMessage?chat_id=<chat>`, or for short
//! `telegram://<token>@<chat>`.

use serde_json::{Map, Value, json};
use url::Url;

use super::{fit, line};
use crate::notify::snapshot::Snapshot;

pub const SCHEME: &str = "telegram://";

/// Where a message is posted, and the parameters that say who gets it.
pub fn target(address: &str) -> Result<(Url, Map<String, Value>), String> {
    let fault = || {
        "use https://api.telegram.org/bot<token>/sendMessage?chat_id=<chat>, or \
         telegram://<token>@<chat>"
            .to_owned()
    };
    let is_token = |token: &str| {
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b':');
        token.contains(':') && token.len() > 2 && token.bytes().all(fits)
    };
    let (url, parameters) = if let Some(rest) = address.strip_prefix(SCHEME) {
        let (token, chat) = rest.split_once('@').ok_or_else(fault)?;
        if !is_token(token) {
            return Err(fault());
        }
        // A channel has a name, everything else a number.
        let is_number = chat.parse::<i64>().is_ok();
        let chat = if is_number { chat.to_owned() } else { format!("@{}", chat.trim_matches('@')) };
        let url = format!("https://api.telegram.org/bot{token}/sendMessage");
        (Url::parse(&url).map_err(|_| fault())?, vec![("chat_id".to_owned(), chat)])
    } else {
        let mut url = Url::parse(address).map_err(|_| fault())?;
        let pairs = url.query_pairs().into_owned().collect();
        url.set_query(None);
        (url, pairs)
    };
    let names_chat =
        |(name, value): &(String, String)| name == "chat_id" && !value.trim_matches('@').is_empty();
    let has_chat = parameters.iter().any(names_chat);
    if !has_chat || !url.path().ends_with("/sendMessage") {
        return Err(fault());
    }
    let parameters = parameters.into_iter().map(|(name, value)| (name, Value::from(value)));
    Ok((url, parameters.collect()))
}

pub fn request(address: &str, told: &Snapshot) -> Result<(Url, String), String> {
    let (url, mut body) = target(address)?;
    let facts: String =
        told.facts().map(|(name, value)| format!("\n{name}: {}", text(&value, 200))).concat();
    let title = text(&line(&told.title(), 300), 400);
    let message = format!("<b>{title}</b>\n{}\n{facts}", text(&told.alert.message, 2500));
    body.insert("text".into(), message.into());
    body.insert("parse_mode".into(), "HTML".into());
    body.insert("link_preview_options".into(), json!({ "is_disabled": true }));
    Ok((url, Value::Object(body).to_string()))
}

/// Neither tags nor mentions.
fn text(text: &str, limit: usize) -> String {
    fit(text, limit, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '@' => Some("@\u{200b}"),
        _ => None,
    })
}
