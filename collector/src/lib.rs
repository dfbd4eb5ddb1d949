//! The collector: owns the connection to Docker, stores what it sees in SQLite and serves REST.
//!
//! `app` is the only module that knows every other one. A dimension (`containers`, `endpoints`, …) is
//! a folder of its own; dimensions share the spine (`store`, `tasks`, `docker`, `net`, `http`) and do
//! not import each other, but for the snapshot of what runs (`containers::inventory`).

pub mod alerts;
pub mod app;
pub mod certificates;
pub mod commands;
pub mod config;
pub mod containers;
pub mod docker;
#[cfg(test)]
mod documentation;
pub mod endpoints;
pub mod heartbeats;
pub mod http;
pub mod insights;
pub mod monitored;
pub mod net;
pub mod notify;
pub mod problems;
pub mod resources;
pub mod runtime;
pub mod runtime_rules;
pub mod signals;
mod socket;
pub mod socket_proxy;
pub mod spine;
pub mod status;
pub mod store;
pub mod tasks;
pub mod updates;
pub mod uptime;
pub mod wording;
