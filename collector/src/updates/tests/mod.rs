//! Decisions as tables; a registry that counts its requests; real SQLite; routes without sockets.

mod asking;
mod deciding;
mod proving;
mod registry;
mod scanning;
mod tagging;
mod wording;
mod world;
