//! Finished answers on their way around the tree of values.
//!
//! A tool writes its answer as text once. Through rmcp it would travel as a tree of values beside
//! that text, and be written once more together with the text's escaped copy, which is most of what
//! a call costs. Over HTTP the text takes a short way: the request carries a [`Slot`], the tool
//! leaves its answer there, rmcp writes a result with nothing in it, and what is in the slot is put
//! into that result. Protocol, errors and everything else stay rmcp's.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rmcp::RoleServer;
use rmcp::model::{CallToolResult, ContentBlock};
use rmcp::service::RequestContext;

/// What rmcp writes of a result with nothing in it. Within a text its quotes would be escaped, so
/// this stands nowhere else.
const NOTHING: &[u8] = br#""content":[]"#;

/// A tool's answer, written.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    /// The members `content` and `structuredContent` of its result; the answer is their end.
    members: Arc<str>,
    /// Where the answer begins.
    at: usize,
}

impl Finished {
    /// Of an answer that is JSON in one line.
    pub(crate) fn new(answer: &str) -> serde_json::Result<Self> {
        let escaped = serde_json::to_string(answer)?;
        let content = format!(r#""content":[{{"type":"text","text":{escaped}}}]"#);
        let members = format!(r#"{content},"structuredContent":{answer}"#);
        Ok(Self { at: members.len().saturating_sub(answer.len()), members: members.into() })
    }

    fn answer(&self) -> &str {
        self.members.get(self.at..).unwrap_or_default()
    }

    /// The result of this call: the answer itself, or where it has a slot, what stands for it.
    pub(crate) fn told(self) -> serde_json::Result<CallToolResult> {
        if is_possible() { Ok(leave(self)) } else { self.result() }
    }

    /// The same as rmcp takes it.
    fn result(&self) -> serde_json::Result<CallToolResult> {
        let mut result = CallToolResult::success(vec![ContentBlock::text(self.answer())]);
        result.structured_content = Some(serde_json::from_str(self.answer())?);
        Ok(result)
    }
}

/// The text of an answer, wherever this call has it.
pub(crate) fn answer_of(result: &CallToolResult) -> Option<String> {
    if let Some(text) = result.content.first() {
        return text.as_text().map(|block| block.text.clone());
    }
    SLOT.try_with(|slot| slot.0.get().map(|finished| finished.answer().to_owned())).ok().flatten()
}

/// Where a call over HTTP leaves its finished answer; an extension of the request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot(Arc<OnceLock<Finished>>);

tokio::task_local! {
    static SLOT: Slot;
}

impl Slot {
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Option<Self> {
        context.extensions.get::<http::request::Parts>()?.extensions.get::<Self>().cloned()
    }

    /// Puts the answer into the message that rmcp wrote, if it was left here for that message.
    pub(crate) fn fill(&self, message: Bytes) -> Bytes {
        let Some(answer) = self.0.get() else { return message };
        let found = message.windows(NOTHING.len()).position(|bytes| bytes == NOTHING);
        let Some((before, rest)) = found.and_then(|at| message.split_at_checked(at)) else {
            return message;
        };
        let after = rest.get(NOTHING.len()..).unwrap_or_default();
        [before, answer.members.as_bytes(), after].concat().into()
    }
}

/// Runs a call whose answer may be left in this slot.
pub(crate) async fn within<F: Future>(slot: Option<Slot>, call: F) -> F::Output {
    match slot {
        Some(slot) => SLOT.scope(slot, call).await,
        None => call.await,
    }
}

/// The answer of this call can be left in a slot.
fn is_possible() -> bool {
    SLOT.try_with(|slot| slot.0.get().is_none()).unwrap_or(false)
}

/// Leaves the answer of this call in its slot. The result that stands for it.
fn leave(answer: Finished) -> CallToolResult {
    let _ = SLOT.try_with(|slot| slot.0.set(answer));
    CallToolResult::success(Vec::<ContentBlock>::new())
}

/// By how many bytes the result that stands for this call's answer grows when that is put into it.
pub(crate) fn bytes() -> usize {
    let grows = |answer: &Finished| answer.members.len().saturating_sub(NOTHING.len());
    SLOT.try_with(|slot| slot.0.get().map_or(0, grows)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MESSAGE: &str =
        r#"{"jsonrpc":"2.0","id":"\"content\":[]","result":{"content":[],"isError":false}}"#;

    #[tokio::test]
    async fn an_answer_that_was_left_arrives_as_rmcp_would_have_written_it() {
        let answer = json!({"name": "\"content\":[] \n\u{1f433}", "rows": [1, 2.5, null]});
        let finished = Finished::new(&answer.to_string()).unwrap();
        let slot = Slot::default();
        let call = async {
            assert!(is_possible());
            let result = finished.clone().told().unwrap();
            assert!(!is_possible(), "an answer is left once");
            assert_eq!(answer_of(&result).unwrap(), answer.to_string());
            (result, bytes())
        };
        let (result, bytes) = within(Some(slot.clone()), call).await;
        let message = json!({"id": "\"content\":[]", "result": result}).to_string();
        let message = slot.fill(message.into());
        assert!(message.len() > bytes && bytes > 2 * answer.to_string().len());
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["result"], serde_json::to_value(finished.result().unwrap()).unwrap());
        assert_eq!(message["id"], "\"content\":[]");
    }

    #[tokio::test]
    async fn what_holds_an_answer_or_has_none_to_take_is_left_as_it_is() {
        let slot = Slot::default();
        assert_eq!(slot.fill(MESSAGE.into()), MESSAGE, "nothing was left");
        let finished = Finished::new("{}").unwrap();
        within(Some(slot.clone()), async { finished.told().unwrap() }).await;
        let error =
            r#"{"result":{"content":[{"type":"text","text":"\"content\":[]"}],"isError":true}}"#;
        assert_eq!(slot.fill(error.into()), error);
        assert!(!is_possible(), "outside of a call");
        assert!(!within(None, async { is_possible() }).await, "of a call without a slot");
    }
}
