//! The collectors this gateway knows, and asking several of them at once.
//!
//! One that does not answer is named in the tool's answer rather than missing from it; only when
//! none answers does the tool fail.

use std::sync::Arc;

use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;

use crate::collector::{ClientError, Collector};
use crate::config::CollectorSettings;
use crate::error::{ToolError, explain, nearest};
use crate::untrusted::quoted;

/// How many collectors one tool call asks at the same time.
const AT_ONCE: usize = 16;

/// A set of collectors; cheap to clone.
#[derive(Debug, Clone)]
pub struct Collectors(Arc<[Arc<Collector>]>);

// Its doc comment would stand in every tool's schema: how a collector took part in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Source {
    pub name: String,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What each of the asked collectors said, in their configured order.
#[derive(Debug)]
pub struct Answers<T>(pub Vec<(Arc<Collector>, Result<T, ClientError>)>);

impl Collectors {
    /// Prepares a client for each; connects to none.
    pub fn new(mut settings: CollectorSettings) -> anyhow::Result<Self> {
        let collectors = std::mem::take(&mut settings.collectors)
            .into_iter()
            .map(|(name, target)| Collector::new(name, target, &settings).map(Arc::new))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self(collectors))
    }

    pub fn all(&self) -> &[Arc<Collector>] {
        &self.0
    }

    /// Several collectors: answers have to say which one an item comes from.
    pub fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// The one called `name`, or all.
    pub fn choose(&self, name: Option<&str>) -> Result<Vec<Arc<Collector>>, ToolError> {
        let Some(name) = name else { return Ok(self.0.to_vec()) };
        if let Some(collector) = self.0.iter().find(|collector| collector.name == name) {
            return Ok(vec![collector.clone()]);
        }
        let known: Vec<&str> = self.0.iter().map(|collector| collector.name.as_str()).collect();
        let nearest = nearest(name, known.iter().copied())
            .first()
            .map(|name| format!(" Did you mean `{name}`?"))
            .unwrap_or_default();
        Err(ToolError::new(format!(
            "No collector is called {}; this gateway asks: {}.{nearest}",
            quoted(name),
            known.join(", ")
        )))
    }

    pub fn warn_of_tokens_in_the_clear(&self) {
        for collector in self.0.iter().filter(|collector| collector.sends_token_in_the_clear()) {
            tracing::warn!(
                "the token for collector {} travels over plain http; use https or a unix socket",
                collector.name
            );
        }
    }
}

/// Asks each of `collectors` the same.
pub async fn ask<T, F>(
    collectors: Vec<Arc<Collector>>,
    question: impl Fn(Arc<Collector>) -> F,
) -> Answers<T>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let calls = collectors.into_iter().map(|collector| {
        let call = question(collector.clone());
        async move { (collector, call.await) }
    });
    Answers(futures_util::stream::iter(calls).buffered(AT_ONCE).collect().await)
}

impl<T> Answers<T> {
    /// One line per asked collector; nothing when there is a single one and it answered.
    pub fn sources(&self) -> Option<Vec<Source>> {
        let sources: Vec<Source> = self
            .0
            .iter()
            .map(|(collector, answer)| Source {
                name: collector.name.clone(),
                ok: answer.is_ok(),
                error: answer.as_ref().err().map(|error| explain(&collector.name, error)),
            })
            .collect();
        let plain = sources.len() == 1 && sources.iter().all(|source| source.ok);
        (!plain).then_some(sources)
    }

    /// The answers that came, or why none did.
    pub fn successes(self) -> Result<Vec<(Arc<Collector>, T)>, ToolError> {
        let mut successes = Vec::new();
        let mut failures = Vec::new();
        for (collector, answer) in self.0 {
            match answer {
                Ok(answer) => successes.push((collector, answer)),
                Err(error) => failures.push(explain(&collector.name, &error)),
            }
        }
        if successes.is_empty() && !failures.is_empty() {
            return Err(ToolError::new(failures.join(" ")));
        }
        Ok(successes)
    }
}
