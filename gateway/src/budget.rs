//! The one place that decides how large an answer may be.
//!
//! Clients cut or refuse large tool results, and a model pays for every byte, so an answer has a
//! target and a cap. What does not fit is left out from the end that matters least, and the tool
//! says so in a field of its answer.

use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ErrorData};
use serde::Serialize;

use crate::error::ToolError;

/// What a list aims for when the caller set no limit.
pub const TARGET: usize = 4 * 1024;
/// What items may take when the caller asked for many: the cap less room for the fields around.
pub const ITEMS: usize = 28 * 1024;
/// No answer is larger, as JSON text.
pub const CAP: usize = 32 * 1024;

/// A tool's structured answer. The same JSON goes into `structuredContent` and into a text block,
/// for clients that show only one of them.
///
/// `#[tool]` recognises `Json<T>` by its spelling and derives the output schema from `T`.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoCallToolResult for Json<T> {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        let unserializable = |error| ErrorData::internal_error(format!("answer: {error}"), None);
        let text = serde_json::to_string(&self.0).map_err(unserializable)?;
        if text.len() > CAP {
            tracing::error!("an answer of {} bytes passed its tool's own limits", text.len());
            let error = ToolError::new(
                "The answer is larger than this gateway sends. Ask for less: a smaller limit, a \
                 narrower filter or a shorter span.",
            );
            return Err::<CallToolResult, _>(error).into_call_tool_result();
        }
        let value = serde_json::to_value(&self.0).map_err(unserializable)?;
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = Some(value);
        Ok(result.into())
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
    fn text_and_structure_say_the_same() {
        let Ok(CallToolResponse::Complete(result)) = Json(vec![1, 2]).into_call_tool_result()
        else {
            panic!("not a result");
        };
        let text = result.content[0].as_text().unwrap().text.clone();
        assert_eq!(text, result.structured_content.unwrap().to_string());
    }
}
