//! `list_certificates`.

use maintenant_api::Timestamp;
use maintenant_api::certificates::{
    CertificateCheck, CertificateStatus, ListedCertificate, Verdict,
};
use maintenant_serve::clock;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paging::{self, Counts, Key, Listing, Ranked, word};
use super::{counted, hint};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::collectors::{Source, ask};
use crate::cursor;
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time::show;
use crate::untrusted::{message, name};

const STATUSES: [&str; 5] = ["valid", "expiring", "expired", "error", "unknown"];
const MOST_DAYS: i64 = 3650;
const DEFAULT_DAYS: i64 = 30;
const SECONDS_OF_A_DAY: i64 = 86_400;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListCertificates {
    /// Only those that end within this many days, or have ended.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 0, max = 3650))]
    expires_within_days: Option<i64>,
    /// `error`: clients refuse it, or nobody answers.
    #[schemars(extend("enum" = STATUSES))]
    status: Option<String>,
    /// Such as self_signed, incomplete_chain, name_mismatch.
    verdict: Option<String>,
    /// Part of a host name, in any case.
    hostname: Option<String>,
    /// Default 20.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<i64>,
    /// `next_cursor` of the page before, filters unchanged.
    cursor: Option<String>,
    /// Only this one of several.
    #[serde(alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CertificatePage {
    summary: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Broken first, then by their end.
    certificates: Vec<CertificateRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CertificateRow {
    id: i64,
    hostname: String,
    port: i64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Of the first certificate of the path in use that ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_remaining: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// How many names it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<usize>,
    /// Last change of status.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<String>,
    /// `auto`: an HTTPS endpoint is there.
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[tool_router(router = certificates, vis = "pub(super)")]
impl Gateway {
    /// Lists watched TLS certificates, those that clients refuse or that end soonest first, with end, issuer and the verdict on their chain.
    /// Use it for "which certificates expire within 30 days" (expires_within_days) or "why does TLS fail".
    #[tool(
        title = "List certificates",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn list_certificates(
        &self,
        Parameters(arguments): Parameters<ListCertificates>,
    ) -> Result<Json<CertificatePage>, ToolError> {
        let (filter, limit) = (Filter::new(&arguments)?, paging::limit(arguments.limit)?);
        let after: Option<Key> =
            arguments.cursor.as_deref().map(|text| cursor::decode(text, &filter)).transpose()?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let answers =
            ask(collectors, |collector| async move { collector.certificates().await }).await;
        let (sources, now) = (answers.sources(), clock::now());
        let mut entries = Vec::new();
        for (collector, list) in answers.successes()? {
            entries.extend(list.into_iter().map(|item| ranked(&collector.name, item, now)));
        }
        let several = self.collectors().several();
        Ok(Json(page(entries, &filter, after.as_ref(), limit, several, sources)))
    }
}

/// Which certificates were asked for. Its JSON is what a cursor is bound to.
#[derive(Debug, Default, Serialize)]
struct Filter {
    expires_within_days: Option<i64>,
    status: Option<CertificateStatus>,
    verdict: Option<Verdict>,
    hostname: Option<String>,
    collector: Option<String>,
}

impl Filter {
    fn new(arguments: &ListCertificates) -> Result<Self, ToolError> {
        let days = arguments.expires_within_days;
        if let Some(days) = days.filter(|days| !(0..=MOST_DAYS).contains(days)) {
            return Err(ToolError::out_of_range("expires_within_days", days, 0..=MOST_DAYS));
        }
        let (status, verdict) = (arguments.status.as_deref(), arguments.verdict.as_deref());
        let verdicts = Verdict::ALL.map(Verdict::as_str);
        Ok(Self {
            expires_within_days: days,
            status: word("status", status, CertificateStatus::parse, &STATUSES)?,
            verdict: word("verdict", verdict, Verdict::parse, &verdicts)?,
            hostname: arguments.hostname.as_deref().map(str::to_lowercase),
            collector: arguments.collector.clone(),
        })
    }

    fn is_open(&self) -> bool {
        self.expires_within_days.is_none()
            && self.status.is_none()
            && self.verdict.is_none()
            && self.hostname.is_none()
    }

    /// Apart from its end.
    fn matches_facts(&self, Ranked { key, item }: &Ranked<Examined>) -> bool {
        self.status.is_none_or(|status| item.status == status)
            && self.verdict.is_none_or(|verdict| item.verdict == Some(verdict))
            && self.hostname.as_deref().is_none_or(|part| key.name.to_lowercase().contains(part))
    }

    fn matches(&self, entry: &Ranked<Examined>) -> bool {
        self.matches_facts(entry)
            && self.expires_within_days.is_none_or(|days| entry.item.ends_within(days))
    }
}

/// A certificate with what follows from it now.
struct Examined {
    listed: ListedCertificate,
    status: CertificateStatus,
    verdict: Option<Verdict>,
    ends_at: Option<Timestamp>,
    seconds_left: Option<i64>,
}

impl Examined {
    fn ends_within(&self, days: i64) -> bool {
        self.seconds_left.is_some_and(|left| left <= days.saturating_mul(SECONDS_OF_A_DAY))
    }

    fn check(&self) -> Option<&CertificateCheck> {
        self.listed.latest_check.as_ref()
    }
}

/// Other servers give no verdict, and call valid what no client would accept.
fn examine(listed: ListedCertificate, now: Timestamp) -> Examined {
    let check = listed.latest_check.as_ref();
    let ends_at = check.and_then(|check| match (check.path_not_after, check.not_after) {
        (Some(path), Some(own)) => Some(path.min(own)),
        (path, own) => path.or(own),
    });
    let verdict = check.and_then(|check| {
        check.verdict.or_else(|| {
            if ends_at? <= now {
                Some(Verdict::Expired)
            } else if check.hostname_match == Some(false) {
                Some(Verdict::NameMismatch)
            } else if check.chain_valid == Some(false) {
                Some(Verdict::Unacceptable)
            } else {
                check.chain_valid.map(|_| Verdict::Ok)
            }
        })
    });
    Examined {
        status: listed.certificate.status,
        verdict,
        ends_at,
        seconds_left: ends_at.map(|end| end.as_second().saturating_sub(now.as_second())),
        listed,
    }
}

fn ranked(collector: &str, listed: ListedCertificate, now: Timestamp) -> Ranked<Examined> {
    let examined = examine(listed, now);
    let refused =
        examined.verdict.is_some_and(|verdict| !matches!(verdict, Verdict::Ok | Verdict::Unknown));
    let rank = match examined.status {
        CertificateStatus::Expired => 0,
        CertificateStatus::Error => 1,
        _ if refused => 1,
        CertificateStatus::Expiring => 2,
        CertificateStatus::Unknown => 3,
        CertificateStatus::Valid => 4,
    };
    let certificate = &examined.listed.certificate;
    let key = Key {
        rank,
        moment: examined.ends_at.map_or(i64::MAX, Timestamp::as_second),
        name: name(&certificate.hostname),
        collector: collector.to_owned(),
        id: certificate.id,
    };
    Ranked { key, item: examined }
}

fn page(
    entries: Vec<Ranked<Examined>>,
    filter: &Filter,
    after: Option<&Key>,
    limit: Option<usize>,
    several: bool,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> CertificatePage {
    let endless = |entry: &&Ranked<Examined>| {
        filter.expires_within_days.is_some()
            && entry.item.ends_at.is_none()
            && filter.matches_facts(entry)
    };
    let endless = entries.iter().filter(endless).count();
    let days = filter.expires_within_days.unwrap_or(DEFAULT_DAYS);
    let ending =
        |entry: &&Ranked<Examined>| filter.matches_facts(entry) && entry.item.ends_within(days);
    let ending = entries.iter().filter(ending).count();

    let listing = Listing::new("certificate", entries, |entry| filter.matches(entry), after);
    let mut summary = listing.counts(filter.is_open(), |item| vec![item.status.as_str()]);
    summary.set(format!("expiring_within_{days}_days"), ending);
    let page = listing.page(limit, filter, sources.as_deref(), |entry| row(entry, several));
    let hint = hint([
        (endless > 0).then(|| {
            let certificates = counted(endless, "certificate");
            format!(
                "Not among them, because their end is not known: {certificates}; call without \
                 expires_within_days to see why."
            )
        }),
        page.rest,
        (listing.total == 0).then(|| "No certificate is watched.".to_owned()),
        rest_of_sources,
    ]);
    CertificatePage {
        summary,
        hint,
        certificates: page.rows,
        next_cursor: page.next_cursor,
        sources,
    }
}

fn row(Ranked { key, item }: &Ranked<Examined>, several: bool) -> CertificateRow {
    let certificate = &item.listed.certificate;
    let check = item.check();
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(name);
    let words = |words: Option<&str>| {
        words.filter(|words| !words.is_empty()).map(|words| message(words, 200))
    };
    let bad = item.verdict.is_some_and(|verdict| verdict != Verdict::Ok);
    let errors = check.into_iter().flat_map(|check| [&check.error_message, &check.chain_error]);
    let mut errors = std::iter::once(&certificate.last_error)
        .chain(errors)
        .filter_map(|error| words(error.as_deref()));
    let issuer = match check.map(|check| (check.issuer_cn.as_deref(), check.issuer_org.as_deref()))
    {
        Some((Some(cn), Some(org))) if !cn.is_empty() && !org.is_empty() => {
            Some(format!("{} ({})", name(cn), name(org)))
        }
        Some((cn, org)) => text(cn).or_else(|| text(org)),
        None => None,
    };
    CertificateRow {
        id: certificate.id,
        hostname: key.name.clone(),
        port: certificate.port,
        status: item.status.as_str(),
        verdict: item.verdict.map(Verdict::as_str),
        hint: check.filter(|_| bad).and_then(|check| words(check.hint.as_deref())),
        expires: item.ends_at.map(show),
        days_remaining: check
            .and_then(|check| check.days_remaining)
            .or_else(|| item.seconds_left.map(|left| left.div_euclid(SECONDS_OF_A_DAY))),
        issuer,
        subject: check.and_then(|check| text(check.subject_cn.as_deref())),
        names: check.map(|check| check.sans.len()).filter(|names| *names > 0),
        since: certificate.status_since.map(show),
        error: errors.next(),
        warnings: check
            .into_iter()
            .flat_map(|check| check.warnings.iter().take(3))
            .map(|warning| message(warning, 200))
            .collect(),
        last_check: certificate.last_check_at.map(show),
        source: certificate.source.as_str(),
        collector: several.then(|| key.collector.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-05-05T10:00:00Z".parse().unwrap()
    }

    fn certificate(id: i64, status: &str, check: &Value) -> ListedCertificate {
        let row = json!({
            "id": id, "hostname": format!("h{id}.example.org"), "port": 443, "source": "auto",
            "status": status, "created_at": "2026-05-05T10:00:00Z", "latest_check": check
        });
        serde_json::from_value(row).unwrap()
    }

    fn ends(at: &str) -> Value {
        json!({"id": 1, "checked_at": "2026-05-05T10:00:00Z", "not_after": at})
    }

    fn entries(rows: &[(&str, Value)]) -> Vec<Ranked<Examined>> {
        (1..)
            .zip(rows)
            .map(|(id, (status, check))| ranked("c", certificate(id, status, check), now()))
            .collect()
    }

    fn of(rows: &[(&str, Value)], filter: &Filter) -> CertificatePage {
        page(entries(rows), filter, None, None, false, (None, None))
    }

    fn ids(page: &CertificatePage) -> Vec<i64> {
        page.certificates.iter().map(|row| row.id).collect()
    }

    #[test]
    fn what_is_refused_comes_first_then_what_ends_first() {
        let mut bad_chain = ends("2028-01-01T00:00:00Z");
        bad_chain["chain_valid"] = json!(false);
        let rows = [
            ("valid", ends("2026-12-01T00:00:00Z")),
            ("valid", ends("2026-11-01T00:00:00Z")),
            ("unknown", Value::Null),
            ("expiring", ends("2026-05-20T00:00:00Z")),
            ("expiring", ends("2026-05-10T00:00:00Z")),
            ("error", Value::Null),
            ("valid", bad_chain),
            ("expired", ends("2026-05-01T00:00:00Z")),
        ];
        let page = of(&rows, &Filter::default());
        assert_eq!(ids(&page), [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(page.certificates[1].verdict, Some("unacceptable"));
        let summary = serde_json::to_value(&page.summary).unwrap();
        let expected = json!({"total": 8, "valid": 3, "expiring": 2, "expired": 1, "error": 1,
                              "unknown": 1, "expiring_within_30_days": 3});
        assert_eq!(summary, expected);
    }

    #[test]
    fn days_are_counted_to_the_second_and_the_first_of_the_path_decides() {
        let mut path = ends("2028-01-01T00:00:00Z");
        path["path_not_after"] = json!("2026-06-04T10:00:00+00:00");
        let rows = [
            ("valid", ends("2026-06-04T10:00:00Z")),
            ("valid", ends("2026-06-04T10:00:01Z")),
            ("valid", path),
            ("expired", ends("2026-05-05T09:00:00Z")),
            ("error", Value::Null),
        ];
        let filter = Filter { expires_within_days: Some(30), ..Filter::default() };
        let page = of(&rows, &filter);
        assert_eq!(ids(&page), [4, 1, 3]);
        let days: Vec<_> = page.certificates.iter().map(|row| row.days_remaining).collect();
        assert_eq!(days, [Some(-1), Some(30), Some(30)]);
        assert!(page.hint.unwrap().contains("not known: 1 certificate;"));
    }

    #[test]
    fn the_server_s_verdict_counts_and_another_s_facts_make_one() {
        let check = |rest: Value, expected: Option<Verdict>| {
            let mut check = ends("2027-01-01T00:00:00Z");
            check.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            let examined = examine(certificate(1, "valid", &check), now());
            assert_eq!(examined.verdict, expected, "{rest}");
        };
        check(json!({"verdict": "self_signed", "chain_valid": true}), Some(Verdict::SelfSigned));
        check(json!({"verdict": "haunted"}), Some(Verdict::Unknown));
        check(json!({"chain_valid": true, "hostname_match": true}), Some(Verdict::Ok));
        check(json!({"chain_valid": false, "hostname_match": false}), Some(Verdict::NameMismatch));
        check(json!({"chain_valid": false}), Some(Verdict::Unacceptable));
        check(json!({"not_after": "2026-01-01T00:00:00Z"}), Some(Verdict::Expired));
        check(json!({}), None);
        check(json!({"not_after": "0001-01-01T00:00:00Z"}), None);
    }
}
