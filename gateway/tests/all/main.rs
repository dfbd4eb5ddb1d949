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
mod audit;
mod auth;
mod beyond;
mod cache;
mod calls;
mod check;
mod clock;
mod failures;
mod fake;
mod faults;
mod fleet;
mod goals;
mod issuers;
mod log;
mod monitors;
mod probes;
mod prompts;
mod refreshing;
mod reload;
mod resources;
mod scanners;
mod signer;
mod sizes;
mod status_page;
mod stdio;
mod subscriptions;
mod tls;
mod tokens;
mod tools;
mod updates;
mod usage;
mod v1;
mod vectors;
mod wire;
