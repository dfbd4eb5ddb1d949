//! Containers: what Docker runs, what changed, why it ended.
//!
//! A container here is a *service or name*, not one Docker id: a recreate of the same Compose
//! service, or of the same name, continues the same row, so its history survives an update.
//!
//! The watch subscribes to events, then lists, then inspects; it lists again on a timer and after
//! every reconnect. Events make it quick, lists make it right. While Docker is not heard, stored
//! states say what was, and every answer calls them *unknown*.

pub mod deletions;
pub mod exposure;
pub mod inventory;
mod known;
pub mod labels;
pub mod logs;
pub mod model;
pub mod observe;
pub mod routes;
pub mod rules;
pub mod runs;
pub mod sql;
pub mod watch;

#[cfg(test)]
pub(crate) mod tests;
