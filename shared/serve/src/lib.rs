//! What each program of this project does as a process: read its settings, write logs to stderr,
//! accept connections with deadlines, check a bearer token, drain on SIGTERM.
//!
//! It knows nothing of containers or of MCP.

pub mod args;
pub mod clients;
pub mod clock;
pub mod guard;
pub mod health;
pub mod listener;
pub mod logging;
mod places;
pub mod process;
pub mod settings;
pub mod tls;
pub mod token;
