//! The page itself: one document with everything in it, escaped by `maud`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maintenant_api::status::{ComponentRef, ComponentStatus, Incident, IncidentSeverity};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::incidents::Voice;
use super::maintenance::Window;
use super::model::{DAY_MS, DAYS, Day, day};
use super::overview::{Overview, PAST_DAYS, Shown};
use super::subscribers::{said_words, status_words};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing is loaded from anywhere, and nothing runs but what is compiled in.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The status page.
pub fn render(overview: &Overview, voice: &Voice) -> String {
    let title = format!("{} – {} status", overview.message, voice.organisation);
    let is_calm = overview.incidents.is_empty();
    document(
        &title,
        true,
        voice,
        &html! {
            main #main .wrap tabindex="-1" {
                (banner(overview))
                @if !is_calm {
                    section aria-labelledby="incidents" {
                        h2 #incidents { "Now" }
                        @for incident in &overview.incidents { (open_incident(incident, overview)) }
                    }
                }
                @if !overview.upcoming.is_empty() {
                    section aria-labelledby="upcoming" {
                        h2 #upcoming { "Scheduled maintenance" }
                        @for window in &overview.upcoming { (upcoming(window)) }
                    }
                }
                section aria-labelledby="components" {
                    h2 #components { "Components" }
                    @if overview.components.is_empty() {
                        p .card .soft { "No components are shown yet." }
                    } @else {
                        ul .card .list {
                            @for shown in &overview.components { (component(shown, overview.now)) }
                        }
                    }
                }
                section aria-labelledby="past" {
                    h2 #past { "Past incidents" }
                    @if overview.past.is_empty() {
                        p .card .soft { "None in the last " (PAST_DAYS) " days." }
                    }
                    @for incident in &overview.past {
                        article .card .case .s-unknown id=(format!("incident-{}", incident.id)) {
                            (maintenance_anchor(incident))
                            (case(incident, None))
                        }
                    }
                }
            }
            @if voice.has_mail {
                section .wrap aria-labelledby="subscribe" {
                    h2 #subscribe { "Be told by mail" }
                    form .card method="post" action="subscribe" {
                        label { "Your address"
                            input type="email" name="email" required autocomplete="email" maxlength="254";
                        }
                        button type="submit" { "Subscribe" }
                    }
                }
            }
        },
    )
}

/// A page with one message and perhaps a button, for what is opened from a mail.
pub fn notice(heading: &str, text: &str, button: Option<&str>, voice: &Voice) -> String {
    let title = format!("{heading} – {} status", voice.organisation);
    document(
        &title,
        false,
        voice,
        &html! {
            main #main .wrap tabindex="-1" {
                section .card {
                    h2 { (heading) }
                    p { (text) }
                    // It goes to the address of this very page, which holds the token.
                    @if let Some(button) = button {
                        form method="post" { button type="submit" { (button) } }
                    }
                    p { a href="./" { "To the status page" } }
                }
            }
        },
    )
}

fn document(title: &str, is_live: bool, voice: &Voice, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="alternate" type="application/atom+xml" title="Incidents" href="feed.atom";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#main" { "To the content" }
                header .wrap { h1 { (voice.organisation) " " span { "Status" } } }
                (body)
                p #live .live aria-live="polite" {}
                footer .wrap {
                    p { span #zone { "Times are in UTC." } " · " a href="feed.atom" { "Atom feed" } }
                }
                @if is_live { script { (PreEscaped(SCRIPT)) } }
            }
        }
    }
    .into_string()
}

fn banner(overview: &Overview) -> Markup {
    html! {
        div .card .banner .(class(overview.status)) {
            (icon(overview.status))
            div {
                p .big { (overview.message) }
                p #as-of .small .soft { "As of " (time(overview.now)) }
            }
        }
    }
}

fn open_incident(incident: &Incident, overview: &Overview) -> Markup {
    let class = match (incident.is_maintenance, incident.severity) {
        (true, _) => class(ComponentStatus::UnderMaintenance),
        (_, IncidentSeverity::Minor) => class(ComponentStatus::Degraded),
        (_, IncidentSeverity::Major) => class(ComponentStatus::PartialOutage),
        (_, IncidentSeverity::Critical) => class(ComponentStatus::MajorOutage),
    };
    let id = incident.maintenance_window_id;
    let window = overview.maintenance.iter().find(|window| Some(window.id) == id);
    html! {
        article .card .case .(class) id=(format!("incident-{}", incident.id)) {
            (maintenance_anchor(incident))
            (case(incident, window))
        }
    }
}

/// Where links to its maintenance window lead once that has begun.
fn maintenance_anchor(incident: &Incident) -> Markup {
    html! {
        @if let Some(id) = incident.maintenance_window_id {
            span id=(format!("maintenance-{id}")) {}
        }
    }
}

fn case(incident: &Incident, window: Option<&Window>) -> Markup {
    html! {
        div .row {
            h3 { (incident.title) }
            span .tag { (status_words(incident)) }
        }
        (affects(&incident.components))
        @if let Some(window) = window {
            p .small .soft { (time(window.starts_at)) " to " (time(window.ends_at)) }
        }
        ul .updates {
            @for update in &incident.updates {
                li {
                    @if !incident.is_maintenance { strong { (said_words(update.status)) } " " }
                    span .small { (time(update.created_at)) }
                    @if !update.message.is_empty() { p .text { (update.message) } }
                }
            }
        }
    }
}

fn affects(components: &[ComponentRef]) -> Markup {
    let names: Vec<_> = components.iter().map(|component| component.name.as_str()).collect();
    html! { @if !names.is_empty() { p .small .soft { "Affects " (names.join(", ")) } } }
}

fn upcoming(window: &Window) -> Markup {
    let names = window.public.as_deref().unwrap_or_default();
    html! {
        article .card .case .s-under_maintenance id=(format!("maintenance-{}", window.id)) {
            div .row { h3 { (window.title) } span .tag { "Scheduled" } }
            @if !names.is_empty() { p .small .soft { "Affects " (names.join(", ")) } }
            p .small .soft { (time(window.starts_at)) " to " (time(window.ends_at)) }
            @if !window.description.is_empty() { p .text { (window.description) } }
        }
    }
}

fn component(shown: &Shown, now: Timestamp) -> Markup {
    let troubles = troubles(&shown.days, now);
    let uptime = shown.uptime.percent.map(|percent| format!("{percent:.2} % without outage"));
    let uptime = uptime.unwrap_or_else(|| "nothing known".to_owned());
    let known = shown.uptime.coverage;
    let known = (known < 99.0).then(|| match known {
        ..1.0 => "less than 1 % of the time known".to_owned(),
        _ => format!("{known:.0} % of the time known"),
    });
    html! {
        li {
            div .row .(class(shown.status)) {
                h3 { (shown.name) }
                span .state { (icon(shown.status)) " " (words(shown.status)) }
            }
            (bars(shown, &uptime, troubles.len(), now))
            div .scale aria-hidden="true" {
                span { (DAYS) " days ago" }
                span { b { (uptime) } @if let Some(known) = known { " · " (known) } }
                span { "Today" }
            }
            @if !troubles.is_empty() {
                details id=(format!("days-{}", shown.id)) {
                    summary { (troubles.len()) @if troubles.len() == 1 { " day" } @else { " days" } " with trouble" }
                    ul { @for trouble in &troubles { li { (trouble) } } }
                }
            }
        }
    }
}

/// One bar a day: half of one if less than half of the day is known, and a stub if nothing is. All
/// days of a shade are one path, so that a hundred components stay a small document.
fn bars(shown: &Shown, uptime: &str, troubles: usize, now: Timestamp) -> Markup {
    let mut paths: Vec<(ComponentStatus, String)> = Vec::new();
    for (place, (date, known)) in dated(&shown.days, now).enumerate() {
        let shade = known.shade();
        let slot = paths.iter().position(|(known, _)| *known == shade);
        let slot = slot.unwrap_or_else(|| {
            paths.push((shade, String::new()));
            paths.len() - 1
        });
        let from = match shade {
            ComponentStatus::Unknown => 26,
            _ if known.known() * 2 < elapsed(date, now) => 18,
            _ => 0,
        };
        if let Some((_, path)) = paths.get_mut(slot) {
            let _ = write!(path, "M{} {from}V36", place * 10 + 5);
        }
    }
    let known = shown.uptime.coverage;
    let label = format!(
        "Last {DAYS} days: {uptime}, {known:.1} % of the time known, {troubles} days with trouble"
    );
    html! {
        svg .bars viewBox="0 0 900 36" preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (shade, path) in &paths { path .(class(*shade)) d=(path) {} }
        }
    }
}

/// Days with their numbers, oldest first.
fn dated(days: &[Day], now: Timestamp) -> impl Iterator<Item = (i64, Day)> {
    (day(now) - DAYS + 1..).zip(days.iter().copied())
}

/// Milliseconds of a day that are over.
fn elapsed(day: i64, now: Timestamp) -> i64 {
    (now.as_millisecond() - day * DAY_MS).clamp(0, DAY_MS)
}

/// The days on which not all was well, newest first, in words.
fn troubles(days: &[Day], now: Timestamp) -> Vec<String> {
    let is_trouble = |shade| {
        !matches!(
            shade,
            ComponentStatus::Operational
                | ComponentStatus::Unknown
                | ComponentStatus::UnderMaintenance
        )
    };
    let worth = dated(days, now).filter(|(_, day)| is_trouble(day.shade()));
    let said = |(date, day)| format!("{}: {}", date_words(date), lasted(day, elapsed(date, now)));
    let mut said: Vec<_> = worth.map(said).collect();
    said.reverse();
    said
}

fn lasted(day: Day, elapsed: i64) -> String {
    // Seconds of restarts are not worth a word.
    let unknown = Some(elapsed - day.known()).filter(|ms| *ms >= 60_000).unwrap_or_default();
    let parts = [
        (day.major_outage, "out of service"),
        (day.partial_outage, "partly out of service"),
        (day.degraded, "degraded"),
        (day.under_maintenance, "under maintenance"),
        (unknown, "unknown"),
    ];
    let parts = parts.into_iter().filter(|(ms, _)| *ms > 0);
    let said: Vec<_> = parts.map(|(ms, words)| format!("{} {words}", length(ms))).collect();
    said.join(", ")
}

/// Such as `1 h 20 min`.
fn length(ms: i64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => "less than a minute".to_owned(),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn date_words(day: i64) -> String {
    let at = Timestamp::from_millisecond(day * DAY_MS).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string()
}

fn time(at: Timestamp) -> Markup {
    let words = at.to_zoned(TimeZone::UTC).strftime("%-d %b %Y, %H:%M UTC").to_string();
    html! { time datetime=(format!("{at:.0}")) { (words) } }
}

/// A status as people read it.
pub fn words(status: ComponentStatus) -> &'static str {
    match status {
        ComponentStatus::Operational => "Operational",
        ComponentStatus::Degraded => "Degraded",
        ComponentStatus::PartialOutage => "Partial outage",
        ComponentStatus::MajorOutage => "Outage",
        ComponentStatus::UnderMaintenance => "Maintenance",
        ComponentStatus::Unknown => "Unknown",
    }
}

fn class(status: ComponentStatus) -> &'static str {
    match status {
        ComponentStatus::Operational => "s-operational",
        ComponentStatus::Degraded => "s-degraded",
        ComponentStatus::PartialOutage => "s-partial_outage",
        ComponentStatus::MajorOutage => "s-major_outage",
        ComponentStatus::UnderMaintenance => "s-under_maintenance",
        ComponentStatus::Unknown => "s-unknown",
    }
}

/// A shape for each status, so that none is told by colour alone.
fn icon(status: ComponentStatus) -> Markup {
    let path = match status {
        ComponentStatus::Operational => {
            "M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zm3.8 6.2-4.6 4.6a.8.8 0 0 1-1.1 0L4.2 8.9a.8.8 0 0 1 1.1-1.1l1.3 1.3 4.1-4a.8.8 0 0 1 1.1 1.1z"
        }
        ComponentStatus::Degraded => {
            "M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zM4.5 7.2h7a.8.8 0 0 1 0 1.6h-7a.8.8 0 0 1 0-1.6z"
        }
        ComponentStatus::PartialOutage => {
            "M8.9.9 15.8 13.500a1 1 0 0 1-.9 1.500H1.100a1 1 0 0 1-.9-1.500L7.100.9a1 1 0 0 1 1.800 0zM8 5a.9.9 0 0 0-.9.9l.3 4a.6.6 0 0 0 1.200 0l.3-4A.9.9 0 0 0 8 5zm0 6.300a.9.9 0 1 0 0 1.800.9.9 0 0 0 0-1.800z"
        }
        ComponentStatus::MajorOutage => {
            "M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zm3 10a.8.8 0 0 1-1.100 1.100L8 9.200l-1.900 1.900A.8.8 0 0 1 5 10l1.900-2L5 6.100A.8.8 0 0 1 6.100 5L8 6.900 9.900 5A.8.8 0 0 1 11 6.100L9.200 8z"
        }
        ComponentStatus::UnderMaintenance => {
            "M15.300 3.600a4.500 4.500 0 0 1-6 5.500l-5.600 5.600a1.600 1.600 0 0 1-2.300-2.300L7 6.800A4.500 4.500 0 0 1 12.500.800L9.900 3.400l.500 2.300 2.300.500z"
        }
        ComponentStatus::Unknown => {
            "M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zm0 1.600a6.400 6.400 0 1 1 0 12.800A6.400 6.400 0 0 1 8 1.600z"
        }
    };
    html! { svg .icon viewBox="0 0 16 16" aria-hidden="true" { path d=(path) {} } }
}
