//! The gateway as its clients and collectors meet it: real MCP clients on one side, a collector of
//! recorded answers on the other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets the unexpected has failed"
)]

mod alerts;
mod beyond;
mod fake;
mod faults;
mod monitors;
mod probes;
mod prompts;
mod resources;
mod status_page;
mod stdio;
mod subscriptions;
mod tls;
mod tools;
mod updates;
mod usage;
mod wire;
