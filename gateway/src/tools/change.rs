//! What is asked before a change, so that it is refused before anything is written.

use crate::collector::{ClientError, Collector};
use crate::collectors::DEADLINE;
use crate::error::{ToolError, explain};

/// Refuses collectors of the community edition. A server that has no editions is not
/// second-guessed.
pub(super) async fn require_extended_edition(collector: &Collector) -> Result<(), ToolError> {
    match collector.edition().await {
        Ok(edition) if edition.edition == "community" => {
            Err(ToolError::needs_extended_edition(&collector.name, &edition))
        }
        Ok(_) | Err(ClientError::RouteMissing | ClientError::NotFound { .. }) => Ok(()),
        Err(error) => Err(ToolError::from_client(&collector.name, &error)),
    }
}

/// What is asked before a change shares one span of time, so that the change itself is never what a
/// call gives up on without saying so.
pub(super) async fn before_a_change<T>(
    collector: &Collector,
    questions: impl Future<Output = Result<T, ToolError>>,
) -> Result<T, ToolError> {
    tokio::time::timeout(DEADLINE, questions).await.unwrap_or_else(|_| {
        let why = explain(&collector.name, &ClientError::Timeout);
        Err(ToolError::new(format!("{why} Nothing was changed.")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CollectorSettings, Target};

    #[tokio::test(start_paused = true)]
    async fn questions_before_a_change_end_in_time_for_it() {
        let target = Target::Unix("/nowhere".into());
        let settings = CollectorSettings::default();
        let collector = Collector::new("prod".to_owned(), target, &settings).unwrap();
        let started = tokio::time::Instant::now();
        let error = before_a_change::<()>(&collector, std::future::pending()).await.unwrap_err();
        assert_eq!(started.elapsed(), DEADLINE);
        let error = error.to_string();
        assert!(error.contains("did not answer in time") && error.contains("Nothing was changed"));
    }
}
