//! Telling somebody: channels, routing rules, webhook subscriptions, and the outbox.

pub mod outbox;
