//! What travels on the wire between collector, gateway and any other client of the REST API.
//!
//! One module per noun. A type here is data only: it derives `serde` and `schemars`, and the same
//! definition feeds REST bodies, the OpenAPI document and the schemas of MCP tools.
//!
//! Written strictly, read leniently: other servers of this contract send `null` for an empty list,
//! local offsets in timestamps, the year 1 for "never" and words this crate has not heard of.

pub mod alerts;
pub mod certificates;
pub mod channels;
pub mod containers;
pub mod endpoints;
pub mod error;
pub mod health;
pub mod heartbeats;
pub mod insights;
pub mod monitors;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod resources;
pub mod status;
pub mod updates;
pub mod wire;

pub use jiff::Timestamp;
