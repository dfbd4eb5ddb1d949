//! Facts about reaching things, on loopback.
