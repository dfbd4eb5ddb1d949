//! The one place that decides how large an answer may be.
//!
//! Clients cut or refuse large tool results, and a model pays for every byte, so an answer has a
//! target and a cap. What does not fit is left out from the end that matters least, and the tool
//! says so in a field of its answer.

use jiff::Timestamp;
use maintenant_serve::clock;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{
    CallToolResponse, CallToolResult, CompleteResult, ContentBlock, ErrorData, GetPromptResponse,
    ReadResourceResponse, ResourceContents,
};
use serde::Serialize;

use crate::as_of;
use crate::splice::{self, Finished};
use crate::time::show;
use crate::untrusted;

/// What a list aims for when the caller set no limit.
pub const TARGET: usize = 4 * 1024;
/// What items may take when the caller asked for many: the cap less room for the fields around.
pub const ITEMS: usize = 28 * 1024;
/// No answer is larger, as JSON text.
pub const CAP: usize = 32 * 1024;
/// Longest error, as JSON text.
const LONGEST_ERROR: usize = 8 * 1024;
const TOO_LARGE: &str = "The answer is larger than this gateway sends. Ask for less: a smaller \
                         limit, a narrower filter or a shorter span.";

/// A tool's structured answer. The same JSON goes into `structuredContent` and into a text block,
/// for clients that show only one of them. Where a part of it was kept from an earlier call, the
/// field `as_of` says from when.
///
/// `#[tool]` recognises `Json<T>` by its spelling and derives the output schema from `T`.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoCallToolResult for Json<T> {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        let unserializable = |error| ErrorData::internal_error(format!("answer: {error}"), None);
        let mut text = serde_json::to_string(&self.0).map_err(unserializable)?;
        if let Some(moment) = as_of::moment(clock::now()) {
            date(&mut text, moment);
        }
        if text.len() > CAP {
            return Ok(too_large());
        }
        let told = Finished::new(&text).and_then(Finished::told);
        told.map(CallToolResponse::from).map_err(unserializable)
    }
}

/// Says in an answer, a JSON object, from when it is.
pub(crate) fn date(answer: &mut String, moment: Timestamp) {
    if answer.starts_with('{') && answer.pop() == Some('}') {
        let comma = if answer.len() > 1 { "," } else { "" };
        *answer = format!(r#"{answer}{comma}"as_of":"{}"}}"#, show(moment));
    }
}

/// Keeps the first items that fit into `budget` bytes of JSON, at least one, and says how many
/// were left out.
pub fn fit<T: Serialize>(mut items: Vec<T>, budget: usize) -> (Vec<T>, usize) {
    let mut used = 0_usize;
    let keep = items
        .iter()
        .take_while(|item| {
            used = used.saturating_add(size(item)).saturating_add(1);
            used <= budget
        })
        .count()
        .max(1);
    let left_out = items.len().saturating_sub(keep);
    items.truncate(keep);
    (items, left_out)
}

/// Like [`fit`], from the other end: keeps the last items.
pub fn fit_last<T: Serialize>(mut items: Vec<T>, budget: usize) -> (Vec<T>, usize) {
    items.reverse();
    let (mut items, left_out) = fit(items, budget);
    items.reverse();
    (items, left_out)
}

/// An answer that the last guard measures, whatever made it.
pub trait Bounded: Sized {
    /// Bytes as JSON.
    fn bytes(&self) -> usize;

    /// The answer, or where it passes [`CAP`] what says so.
    fn bounded(self) -> Result<Self, ErrorData>;

    /// It says what went wrong.
    fn is_error(&self) -> bool {
        false
    }
}

impl Bounded for CallToolResponse {
    fn bytes(&self) -> usize {
        let Self::Complete(result) = self else { return 0 };
        let spliced = if result.content.is_empty() { splice::bytes() } else { 0 };
        size(result).saturating_add(spliced)
    }

    fn bounded(self) -> Result<Self, ErrorData> {
        let Self::Complete(result) = &self else { return Ok(self) };
        // Text and structure say the same twice, and the text is escaped once more.
        let structure = result.structured_content.as_ref().map_or(0, size);
        let fits = structure <= CAP && text_size(&result.content) <= CAP;
        Ok(if fits { self } else { too_large() })
    }

    fn is_error(&self) -> bool {
        matches!(self, Self::Complete(result) if result.is_error == Some(true))
    }
}

impl Bounded for ReadResourceResponse {
    fn bytes(&self) -> usize {
        if let Self::Complete(result) = self { size(result) } else { 0 }
    }

    fn bounded(self) -> Result<Self, ErrorData> {
        let Self::Complete(result) = &self else { return Ok(self) };
        let bytes = result.contents.iter().map(|content| match content {
            ResourceContents::TextResourceContents { text, uri, .. } => {
                text.len().saturating_add(uri.len())
            }
            other => size(other),
        });
        if bytes.fold(0, usize::saturating_add) <= CAP { Ok(self) } else { Err(error_too_large()) }
    }
}

impl Bounded for GetPromptResponse {
    fn bytes(&self) -> usize {
        if let Self::Complete(result) = self { size(result) } else { 0 }
    }

    fn bounded(self) -> Result<Self, ErrorData> {
        if self.bytes() <= CAP { Ok(self) } else { Err(error_too_large()) }
    }
}

impl Bounded for CompleteResult {
    fn bytes(&self) -> usize {
        size(self)
    }

    /// Few values are better than none.
    fn bounded(mut self) -> Result<Self, ErrorData> {
        while self.bytes() > CAP && self.completion.values.pop().is_some() {
            self.completion.has_more = Some(true);
        }
        Ok(self)
    }
}

/// An error whose sentence and data, which may repeat what a caller sent, are bounded.
pub fn bounded_error(error: ErrorData) -> ErrorData {
    if size(&error) <= LONGEST_ERROR {
        return error;
    }
    ErrorData::new(error.code, untrusted::text(&error.message, 1000), None)
}

fn text_size(content: &[ContentBlock]) -> usize {
    let sizes = content
        .iter()
        .map(|block| block.as_text().map_or_else(|| size(block), |text| text.text.len()));
    sizes.fold(0, usize::saturating_add)
}

fn too_large() -> CallToolResponse {
    tracing::error!("an answer passed its tool's own limits");
    CallToolResult::error(vec![ContentBlock::text(TOO_LARGE)]).into()
}

fn error_too_large() -> ErrorData {
    tracing::error!("an answer passed the limits of what made it");
    ErrorData::internal_error(TOO_LARGE, None)
}

/// Bytes of an item as JSON.
pub fn size<T: Serialize>(item: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    if serde_json::to_writer(&mut count, item).is_err() {
        return usize::MAX;
    }
    count.0
}

#[cfg(test)]
mod tests {
    use rmcp::model::CompletionInfo;

    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let items = || vec!["aaaa"; 10]; // 7 bytes each with quotes and comma
        assert_eq!(fit(items(), 1000), (items(), 0));
        assert_eq!(fit(items(), 21), (vec!["aaaa"; 3], 7));
        assert_eq!(fit(items(), 0), (vec!["aaaa"], 9));
        assert_eq!(fit(Vec::<String>::new(), 0), (Vec::new(), 0));
    }

    #[test]
    fn the_last_items_are_kept_in_their_order() {
        assert_eq!(fit_last(vec![1, 2, 3, 4], 4), (vec![3, 4], 2));
    }

    #[test]
    fn an_answer_over_the_cap_becomes_an_error_that_says_how_to_narrow() {
        let large = Json("x".repeat(CAP));
        let Ok(CallToolResponse::Complete(result)) = large.into_call_tool_result() else {
            panic!("not a result");
        };
        assert_eq!(result.is_error, Some(true));
        assert!(serde_json::to_string(&result).unwrap().contains("smaller limit"));
    }

    #[test]
    fn long_completions_and_errors_are_cut() {
        let values = vec!["€".repeat(500); 100];
        let completion = CompletionInfo::with_all_values(values).unwrap();
        let result = CompleteResult::new(completion).bounded().unwrap();
        assert!(result.bytes() <= CAP && result.completion.values.len() > 10);
        assert_eq!(result.completion.has_more, Some(true));
        let long = "x".repeat(CAP);
        let error = ErrorData::invalid_params(long.clone(), Some(long.into()));
        let error = bounded_error(error);
        assert!(size(&error) < 2000 && error.message.starts_with("xxx"), "{error:?}");
    }

    #[test]
    fn text_and_structure_say_the_same() {
        let Ok(CallToolResponse::Complete(result)) = Json(vec![1, 2]).into_call_tool_result()
        else {
            panic!("not a result");
        };
        let text = result.content[0].as_text().unwrap().text.clone();
        assert_eq!(text, result.structured_content.unwrap().to_string());
    }
}
