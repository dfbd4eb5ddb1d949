//! The Atom feed of incidents (RFC 4287).

use jiff::Timestamp;
use maintenant_api::status::Incident;
use maud::{Markup, PreEscaped, html};

use super::incidents::Voice;
use super::subscribers::{said_words, status_words};

/// The document. Incidents come with what was said of them, newest first.
pub fn render(incidents: &[&Incident], voice: &Voice, now: Timestamp) -> String {
    let page = format!("{}/status/", voice.base_url);
    let feed = format!("{page}feed.atom");
    let updated = incidents.iter().map(|incident| incident.updated_at).max().unwrap_or(now);
    let markup: Markup = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"))
        feed xmlns="http://www.w3.org/2005/Atom" {
            title { (clean(&voice.organisation)) " status" }
            id { (feed) }
            link rel="self" type="application/atom+xml" href=(feed) {}
            link rel="alternate" type="text/html" href=(page) {}
            updated { (updated.to_string()) }
            author { name { (clean(&voice.organisation)) } }
            @for incident in incidents {
                entry {
                    id { (format!("{page}incidents/{}", incident.id)) }
                    title { (clean(&format!("{}: {}", status_words(incident), incident.title))) }
                    link rel="alternate" type="text/html" href=(voice.incident_url(incident.id)) {}
                    published { (incident.created_at.to_string()) }
                    updated { (incident.updated_at.to_string()) }
                    content type="text" { (clean(&content(incident))) }
                }
            }
        }
    };
    markup.into_string()
}

fn content(incident: &Incident) -> String {
    let names: Vec<_> = incident.components.iter().map(|one| one.name.as_str()).collect();
    let mut lines = Vec::new();
    if !names.is_empty() {
        lines.push(format!("Affects: {}", names.join(", ")));
    }
    for update in &incident.updates {
        let status = said_words(update.status);
        lines.push(format!("{} {status}: {}", update.created_at, update.message));
    }
    lines.join("\n\n")
}

/// Without characters that XML 1.0 does not allow (§2.2), which no escape makes valid.
fn clean(text: &str) -> String {
    let is_allowed = |one: &char| {
        matches!(one, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
            || *one >= '\u{10000}'
    };
    text.chars().filter(is_allowed).collect()
}
