//! What a tool says when it cannot do what was asked.
//!
//! The reader is a model that will act on the sentence, so each one says what was wrong, what is
//! accepted, what to call next, and whether trying again can help. "The collector is down", "there
//! is no such container" and "the token is wrong" ask for three different reactions and are three
//! different sentences. Foreign text inside is quoted and sanitised.

use maintenant_api::health::Edition;
use rmcp::model::{ContentBlock, ErrorData, IntoContents};

use crate::collector::ClientError;
use crate::reach;
use crate::untrusted::{self, quoted};

/// The text of a tool result with `isError: true`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(String);

impl ToolError {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// An argument whose value is none of the accepted words.
    pub fn unknown_word(argument: &str, given: &str, accepted: &[&str]) -> Self {
        let nearest = nearest(given, accepted.iter().copied())
            .first()
            .map(|word| format!(" Did you mean `{word}`?"))
            .unwrap_or_default();
        Self(format!(
            "`{argument}` cannot be {}; it is one of: {}.{nearest}",
            quoted(given),
            accepted.join(", ")
        ))
    }

    /// An argument outside its range.
    pub fn out_of_range(
        argument: &str,
        given: i64,
        accepted: std::ops::RangeInclusive<i64>,
    ) -> Self {
        let (least, most) = (accepted.start(), accepted.end());
        Self(format!("`{argument}` is {given}; it must be from {least} to {most}."))
    }

    /// An argument that could not be read.
    pub fn bad_argument(argument: &str, fault: &str) -> Self {
        Self(format!("`{argument}`: {fault}"))
    }

    /// What only the extended edition does, asked of a collector `name` of the `community` edition.
    pub fn needs_extended_edition(name: &str, community: &Edition) -> Self {
        Self(extended_edition_needed(name, how_to_extend(community)))
    }

    /// A call of collector `name` that failed.
    pub fn from_client(name: &str, error: &ClientError) -> Self {
        Self(explain(name, error))
    }
}

impl IntoContents for ToolError {
    fn into_contents(self) -> Vec<ContentBlock> {
        vec![ContentBlock::text(self.0)]
    }
}

/// The protocol error for a tool or prompt that does not exist.
pub fn unknown_one_of<'a>(
    kind: &str,
    given: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> ErrorData {
    let nearest = nearest(given, known.clone())
        .first()
        .map(|name| format!(" Did you mean `{name}`?"))
        .unwrap_or_default();
    let known = known.collect::<Vec<_>>().join(", ");
    let given = quoted(given);
    ErrorData::invalid_params(
        format!("unknown {kind} {given}.{nearest} The {kind}s are: {known}"),
        None,
    )
}

/// Says in one or two sentences why collector `name` did not answer and what would help.
pub fn explain(name: &str, error: &ClientError) -> String {
    let collector = format!("Collector `{name}`");
    match error {
        ClientError::Unreachable(cause) => {
            let (why, next) = reach::unreachable(cause);
            format!(
                "{collector} cannot be reached: {why}. This says nothing about what it watches. \
                 {next}"
            )
        }
        ClientError::Untrusted(cause) => {
            let (why, next) = reach::untrusted(cause);
            let when = reach::boundary(cause).map(|day| format!(" (on {day})")).unwrap_or_default();
            format!(
                "{collector} cannot be reached over TLS: {why}{when}. Trying again does not help: the \
                 operator has to {next}."
            )
        }
        ClientError::StreamsMixed => {
            format!("{collector} cannot tell the streams apart; repeat the call without stream.")
        }
        ClientError::NoLine => format!(
            "{collector} told of no log line within a few seconds: either the log is empty, or \
             its engine is slow. Try again if the container should have written something."
        ),
        ClientError::Timeout => format!(
            "{collector} did not answer in time. Try again in a few seconds, or ask for less; if \
             it stays so, the operator has to look at the collector's log and the network between."
        ),
        ClientError::Unauthorized => format!(
            "{collector} refused the gateway's credentials. Trying again does not help: the \
             operator has to set MAINTENANT_API_TOKEN of the gateway to the collector's token."
        ),
        ClientError::RouteMissing => format!(
            "{collector} does not offer this function: its version is too old, or MAINTENANT_URL \
             does not point at a collector. Trying again does not help."
        ),
        ClientError::NotFound { message, .. } => {
            format!("{collector} knows no such object: {}.", said(message))
        }
        ClientError::Refused { status: 403, code, message }
            if !WELL_SAID.contains(&code.as_str()) =>
        {
            format!(
                "{collector} does not let the gateway do this (status 403: {}). Trying again does \
                 not help: the operator has to set MAINTENANT_API_TOKEN to a token that may, or to \
                 look at what stands in front of the collector.",
                said(&untrusted::message(message, 80))
            )
        }
        ClientError::Refused { status: status @ 300..400, .. } => format!(
            "{collector} answered with status {status}, a redirect, which is not followed. Trying \
             again does not help: the operator has to write in MAINTENANT_URL where the collector \
             itself is, with https:// if it asks for that, and no login page before it."
        ),
        ClientError::Refused { status, code, message } => {
            let again = if *status >= 500 { " Trying again later may help." } else { "" };
            let code = if code.is_empty() { String::new() } else { format!(" {}", quoted(code)) };
            format!("{collector} answered with status {status}{code}: {}.{again}", said(message))
        }
        ClientError::Unreadable(cause) if cause.ends_with(NO_JSON) => format!(
            "What answers for {collector} is no maintenant: it sends no JSON. Trying again does \
             not help: MAINTENANT_URL has to point at the collector, without /api/v1 and with no \
             login page before it."
        ),
        ClientError::Unreadable(_) => format!(
            "{collector} sent an answer this gateway cannot read; the gateway's log has the \
             reason. Trying again does not help unless the collector was just restarting."
        ),
    }
}

/// Codes of refusals that say themselves what to do.
const WELL_SAID: [&str; 2] = ["PRO_REQUIRED", "HOST_NOT_ALLOWED"];
/// serde_json's words for something else from the first letter on, such as a page.
const NO_JSON: &str = "expected value at line 1 column 1";

const OUR_EDITION: &str = "start the collector with MAINTENANT_EDITION=extended";
const EITHER_EDITION: &str = "run it as its extended edition: our collector with \
                              MAINTENANT_EDITION=extended, an existing maintenant with a licence";
const THEIR_EDITION: &str = "run it as its extended edition with a licence";

fn extended_edition_needed(name: &str, next: &str) -> String {
    format!(
        "This feature requires an extended edition of maintenant, and collector `{name}` runs the \
         community edition; nothing was changed. Trying again does not help: the operator has to \
         {next}."
    )
}

/// What the operator of this community edition does to have the extended one.
pub fn how_to_extend(community: &Edition) -> &'static str {
    if is_without_quotas(community) { OUR_EDITION } else { THEIR_EDITION }
}

/// Only our collector has no quotas in its community edition, and a variable that opens more.
fn is_without_quotas(community: &Edition) -> bool {
    let quotas = &community.quotas;
    !quotas.is_empty() && quotas.values().all(|quota| quota.limit < 0)
}

/// The same of a change: also whether it may have been made, which `list` then shows.
pub fn explain_change(name: &str, error: &ClientError, list: &str) -> String {
    let uncertain = match error {
        ClientError::Unreachable(_) | ClientError::Timeout | ClientError::Unreadable(_) => true,
        ClientError::Refused { status: 403, code, .. } if code == "PRO_REQUIRED" => {
            return extended_edition_needed(name, EITHER_EDITION);
        }
        ClientError::Refused { status: 403, .. } => {
            return format!(
                "Collector `{name}` does not let this gateway change anything. Trying again does \
                 not help: the operator has to give it a token that may."
            );
        }
        ClientError::Refused { status, .. } => *status >= 500,
        _ => false,
    };
    let why = explain(name, error);
    if uncertain { format!("{why} It may have been done: see {list} first.") } else { why }
}

fn said(message: &str) -> String {
    if message.is_empty() {
        return "no reason given".to_owned();
    }
    quoted(&untrusted::message(message, 300))
}

/// The known names most like `wanted`, best first, at most three.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = untrusted::text(wanted, 128).to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let inside =
                wanted.len() > 2 && (lower.contains(wanted.as_str()) || wanted.contains(&lower));
            let score = strsim::jaro_winkler(&wanted, &lower);
            (if inside { score.max(0.9) } else { score }, name)
        })
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.truncate(3);
    scored.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_are_three_sentences() {
        let down = explain("prod", &ClientError::Unreachable("refused".to_owned()));
        let missing = ClientError::NotFound {
            code: "CONTAINER_NOT_FOUND".to_owned(),
            message: "no container 7\u{1b}[31m".to_owned(),
        };
        let missing = explain("prod", &missing);
        let unauthorized = explain("prod", &ClientError::Unauthorized);
        assert!(down.contains("cannot be reached") && down.contains("Try again"), "{down}");
        assert!(missing.contains("no such object: `no container 7`"), "{missing}");
        assert!(unauthorized.contains("MAINTENANT_API_TOKEN"), "{unauthorized}");
        let untrusted = explain("prod", &ClientError::Untrusted("unknown issuer".to_owned()));
        assert!(untrusted.contains("MAINTENANT_CA_CERT") && !untrusted.contains("few seconds"));
        assert!(!down.contains("refused\")"), "causes stay in the log: {down}");
    }

    #[test]
    fn a_sentence_is_chosen_by_its_cause_and_repeats_none_of_it() {
        let check = |cause: &str, error: fn(String) -> ClientError, part: &str| {
            let text = explain("prod", &error(format!("CANARY: {cause}: CANARY")));
            assert!(text.contains(part) && !text.contains("CANARY"), "{cause}: {text}");
            assert!(text.len() < 390, "fits into sources: {text}");
        };
        for (cause, (why, _)) in reach::UNREACHABLE {
            check(cause, ClientError::Unreachable, why);
        }
        for (cause, (_, next)) in reach::UNTRUSTED {
            check(cause, ClientError::Untrusted, next);
        }
        check("odd", ClientError::Unreachable, "Try again in a few seconds");
        check("odd", ClientError::Untrusted, "MAINTENANT_CLIENT_CERT");
    }

    #[test]
    fn the_day_of_a_certificate_is_told_and_nothing_else_of_the_cause() {
        let check = |cause: &str, part: &str| {
            let cause = format!("invalid peer certificate: {cause}");
            let text = explain("prod", &ClientError::Untrusted(cause));
            assert!(text.contains(part) && !text.contains("CANARY"), "{text}");
        };
        let expired = "certificate expired: verification time 1732189395 (UNIX), but certificate \
                       is not valid after";
        check(&format!("{expired} 1577836800 (1 seconds ago)"), "has expired (on 2020-01-01). ");
        check(&format!("{expired} CANARY"), "has expired. ");
        check(&format!("{expired} 99999999999999999999"), "has expired. ");
        let early = "certificate not valid yet: verification time 1 (UNIX), but certificate is \
                     not valid before 3976214400 (1 seconds in future)";
        check(early, "only later (on 2096-01-01). ");
        check("CaUsedAsEndEntity", "is one of a CA");
    }

    #[test]
    fn who_is_no_maintenant_or_does_not_let_us_is_told_apart() {
        let refused = |status, code: &str, message: &str| ClientError::Refused {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let check = |error: &ClientError, part: &str| {
            let text = explain("prod", error);
            assert!(text.contains(part) && text.len() < 390, "{text}");
        };
        check(&refused(403, "", ""), "MAINTENANT_API_TOKEN to a token that may");
        check(&refused(403, "PRO_REQUIRED", "pro"), "`PRO_REQUIRED`: `pro`");
        check(&refused(403, "HOST_NOT_ALLOWED", "set X"), "`set X`");
        check(&refused(302, "", ""), "login page");
        let page = serde_json::from_str::<u8>("<html>").unwrap_err().to_string();
        check(&ClientError::Unreadable(page), "is no maintenant");
        check(&ClientError::Unreadable("missing field `x`".to_owned()), "cannot read");
        check(&ClientError::RouteMissing, "does not point at a collector");
        check(&ClientError::Timeout, "the collector's log");
    }

    #[test]
    fn an_unknown_word_lists_the_known_ones_and_the_nearest() {
        let error = ToolError::unknown_word("state", "runing", &["running", "exited"]);
        assert_eq!(
            error.to_string(),
            "`state` cannot be `runing`; it is one of: running, exited. Did you mean `running`?"
        );
    }

    #[test]
    fn nearest_names_are_few_and_similar() {
        let known = ["postgres", "postgres-exporter", "web", "redis"];
        assert_eq!(nearest("postgre", known), ["postgres", "postgres-exporter"]);
        assert_eq!(nearest("zzz", known), Vec::<&str>::new());
    }
}
