//! The collector: owns the connection to Docker, stores what it sees in SQLite and serves REST.
//!
//! `app` is the only module that knows every other one. A dimension (`containers`, …) is a folder
//! of its own; dimensions share the spine (`store`, `tasks`, `docker`, `http`) and do not import
//! each other.

pub mod app;
pub mod config;
pub mod containers;
pub mod docker;
pub mod http;
pub mod runtime;
pub mod store;
pub mod tasks;

pub use store::backup::backup;
