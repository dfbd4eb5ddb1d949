//! Any receiver of JSON: the contract's body, `{event, alert, timestamp}`.

/// The payload itself.
pub fn body(payload: &str) -> String {
    payload.to_owned()
}
