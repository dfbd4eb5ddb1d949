//! Configurations that are one step from the host, or that lay a database open.
//!
//! | insights | severity |
//! |---|---|
//! | one that is critical | critical |
//! | one that is high | warning |
//! | no others | no alert |
//!
//! `maintenant.alert.severity` replaces the severity. What runs and what is stopped are alike: it is
//! the configuration that is wrong. Of a container that was never inspected nothing is known.

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use maintenant_api::insights::InsightSeverity;
use rusqlite::Connection;
use serde_json::json;

use super::model::{in_short, of_container};
use crate::containers::exposure::Noticed;
use crate::containers::model::Container;
use crate::containers::sql;
use crate::runtime::{NOTHING, RuntimeState};
use crate::signals::{Entity, Findings, Signal, Source};
use crate::wording::{details, quoted};

const SOURCE: &str = "security";
/// Named in the message; all are counted.
const MOST_NAMED: usize = 3;
/// In the details.
const MOST_LISTED: usize = 10;

pub struct Rules {
    pub runtime: RuntimeState,
}

impl Source for Rules {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn find(&self, db: &Connection, _now: Timestamp) -> rusqlite::Result<Findings> {
        let mut findings = Findings::default();
        if self.runtime.get().name == NOTHING {
            return Ok(findings);
        }
        for (id, exposure) in sql::list_exposures(db)? {
            let Some(exposure) = exposure else {
                findings.unknown.insert(entity(id));
                continue;
            };
            if exposure.risks().iter().any(is_grave) {
                findings.signals.extend(sql::find(db, id)?.as_ref().and_then(judge));
            }
        }
        Ok(findings)
    }

    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        Ok(self.runtime.get().name != NOTHING && sql::is_watched(db, entity.id)?)
    }
}

fn entity(id: i64) -> Entity {
    Entity { kind: "container", id }
}

fn is_grave(noticed: &Noticed) -> bool {
    noticed.risk.severity() >= InsightSeverity::High
}

/// The one signal of a container.
pub fn judge(container: &Container) -> Option<Signal> {
    let risks = container.risks().unwrap_or_default();
    let grave: Vec<&Noticed> = risks.iter().filter(|noticed| is_grave(noticed)).collect();
    let worst = grave.first()?.risk.severity();
    let since = grave.iter().map(|noticed| noticed.since).min()?;
    let labels = &container.facts.labels;
    let by_insight = match worst {
        InsightSeverity::Critical => Severity::Critical,
        InsightSeverity::High | InsightSeverity::Medium => Severity::Warning,
    };
    let named: Vec<String> =
        grave.iter().take(MOST_NAMED).map(|noticed| in_short(&noticed.risk)).collect();
    let more = match grave.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let insights = of_container(container).insights;
    let listed = insights.iter().take(grave.len().min(MOST_LISTED));
    let listed: Vec<_> = listed
        .map(|insight| {
            json!({
                "type": insight.kind,
                "severity": insight.severity,
                "title": insight.title,
                "remedy": insight.remedy,
            })
        })
        .collect();
    Some(Signal {
        source: SOURCE,
        alert_type: "dangerous_configuration",
        entity: entity(container.id),
        entity_name: container.facts.name.clone(),
        severity: labels.severity().unwrap_or(by_insight),
        message: format!("Container {} {}{more}", quoted(&container.facts.name), named.join(", ")),
        details: details([
            ("highest_severity", json!(worst)),
            // Text in the contract.
            ("insight_count", json!(grave.len().to_string())),
            ("insights", json!(listed)),
        ]),
        since,
        due: since,
        explained_by: None,
        channels: labels.channels(),
    })
}
