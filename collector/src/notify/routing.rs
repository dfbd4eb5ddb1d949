//! Who is told of an alert.

use maintenant_api::alerts::Severity;
use maintenant_api::channels::RoutingRuleInput;
use maintenant_serve::logging::foreign;

use super::channels::{Channel, Fault, Rule, fault};

/// Names in a rule's list.
const MOST_SOURCES: usize = 50;

/// Ids of the channels to tell, and the names that lead to none of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Routed {
    pub channels: Vec<i64>,
    pub unheard: Vec<String>,
}

/// The enabled channels among `channels` that are told of an alert of that source and severity.
///
/// `names` names the only ones, whatever their rules. A name that no channel has, or names of channels
/// that are all off, must not cost the alert: then those that are routed to are told as well.
pub fn route(channels: &[Channel], source: &str, severity: Severity, names: &[String]) -> Routed {
    let key = |name: &str| name.trim().to_lowercase();
    let wanted: Vec<String> = names.iter().map(|name| key(name)).collect();
    let is_on = |channel: &Channel| channel.enabled && wanted.contains(&key(&channel.name));
    let all_off = !channels.iter().any(is_on);
    let leads = |name: &String| {
        let mut named = channels.iter().filter(|channel| key(&channel.name) == key(name));
        named.any(|channel| channel.enabled || !all_off)
    };
    let unheard: Vec<String> = names.iter().filter(|name| !leads(name)).cloned().collect();
    let by_rules = names.is_empty() || !unheard.is_empty();
    let is_told = |channel: &&Channel| {
        let named = wanted.contains(&key(&channel.name));
        channel.enabled && (named || by_rules && matches(&channel.rules, source, severity))
    };
    Routed {
        channels: channels.iter().filter(is_told).map(|channel| channel.id).collect(),
        unheard,
    }
}

/// Whether any rule matches; without a rule everything does.
fn matches(rules: &[Rule], source: &str, severity: Severity) -> bool {
    let fits = |rule: &Rule| {
        (rule.sources.is_empty() || rule.sources.iter().any(|one| one == source))
            && (rule.severities.is_empty() || rule.severities.contains(&severity))
    };
    rules.is_empty() || rules.iter().any(fits)
}

/// Sources and severities of a new rule.
pub fn parse(input: &RoutingRuleInput) -> Result<(Vec<String>, Vec<Severity>), Fault> {
    let words = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        let words = text.split(',').map(|word| word.trim().to_lowercase());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    let sources = words(&input.source_filter);
    let is_word = |word: &String| {
        word.len() <= 50 && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    if sources.len() > MOST_SOURCES || !sources.iter().all(is_word) {
        let text = "use a comma list of sources such as container,endpoint,heartbeat";
        return fault("source_filter", text);
    }
    let mut severities = Vec::new();
    for word in words(&input.severity_filter) {
        let Some(severity) = Severity::parse(&word) else {
            let text = format!("`{}`: use a comma list of critical, warning, info", foreign(&word));
            return fault("severity_filter", text);
        };
        if !severities.contains(&severity) {
            severities.push(severity);
        }
    }
    Ok((sources, severities))
}
