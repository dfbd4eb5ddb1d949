//! What an argument of a prompt, or the name in an address, may be completed to.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};
use tokio::time::Instant;

use crate::collector::{ClientError, Collector};
use crate::collectors::{Collectors, ask_until};
use crate::prompts::{self, Kind};
use crate::resources::CONTAINER_TEMPLATE;
use crate::untrusted;

/// Somebody is typing: who has not answered by then has nothing to offer.
const WITHIN: Duration = Duration::from_secs(2);
const SPANS: [&str; 6] = ["15m", "1h", "6h", "24h", "3d", "7d"];

/// At most a hundred values that begin with what was typed, sorted. Whoever does not answer has
/// nothing to offer; there is no place to say so.
pub async fn complete(request: &CompleteRequestParams, collectors: &Collectors) -> CompleteResult {
    let argument = request.argument.name.as_str();
    let kind = match &request.r#ref {
        Reference::Prompt(prompt) => prompts::kind(&prompt.name, argument),
        Reference::Resource(template) => {
            (template.uri == CONTAINER_TEMPLATE && argument == "name").then_some(Kind::Container)
        }
        _ => None,
    };
    let Some(kind) = kind else { return CompleteResult::default() };
    let chosen = request.context.as_ref().and_then(|context| context.arguments.as_ref());
    let chosen = chosen.and_then(|arguments| arguments.get("collector")).map(String::as_str);
    let values = match kind {
        Kind::Span => SPANS.map(str::to_owned).to_vec(),
        Kind::Collector => {
            collectors.all().iter().map(|collector| collector.name.clone()).collect()
        }
        Kind::Container => {
            asked(collectors, chosen, |collector| async move {
                let containers = collector.containers().await?.into_iter();
                Ok(containers.map(|container| untrusted::name(&container.name)).collect())
            })
            .await
        }
        Kind::Hostname => {
            asked(collectors, chosen, |collector| async move {
                let certificates = collector.certificates().await?.into_iter();
                Ok(certificates
                    .map(|listed| untrusted::name(&listed.certificate.hostname))
                    .collect())
            })
            .await
        }
    };
    CompleteResult::new(beginning_with(&request.argument.value, values, kind == Kind::Span))
}

async fn asked<F>(
    collectors: &Collectors,
    chosen: Option<&str>,
    names: impl Fn(Arc<Collector>) -> F,
) -> Vec<String>
where
    F: Future<Output = Result<Vec<String>, ClientError>>,
{
    let Ok(collectors) = collectors.choose(chosen.filter(|chosen| !chosen.is_empty())) else {
        return Vec::new();
    };
    let answers = ask_until(Instant::now() + WITHIN, collectors, names).await;
    answers.0.into_iter().filter_map(|(_, answer)| answer.ok()).flatten().collect()
}

fn beginning_with(beginning: &str, mut values: Vec<String>, is_sorted: bool) -> CompletionInfo {
    let beginning = beginning.to_lowercase();
    values.retain(|value| value.to_lowercase().starts_with(&beginning));
    if !is_sorted {
        values.sort();
        values.dedup();
    }
    let total = values.len();
    values.truncate(CompletionInfo::MAX_VALUES);
    let more = total > values.len();
    // It refuses nothing but more values than these.
    CompletionInfo::with_pagination(values, u32::try_from(total).ok(), more).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_is_sorted_bounded_and_counts_the_rest() {
        let names = (0..150).rev().map(|n| format!("Web-{n:03}")).chain(["db".to_owned()]);
        let found = beginning_with("web-", names.collect(), false);
        assert_eq!((found.values.len(), found.total, found.has_more), (100, Some(150), Some(true)));
        assert_eq!(found.values[0], "Web-000");
        let twice = beginning_with("", vec!["a".to_owned(), "a".to_owned()], false);
        assert_eq!((twice.values.len(), twice.total, twice.has_more), (1, Some(1), Some(false)));
    }
}
