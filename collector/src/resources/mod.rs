//! Resources: what containers and their host use.

pub mod model;
