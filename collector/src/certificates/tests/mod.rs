//! Facts about certificates: every cause a verdict of its own, under a clock of the test's own;
//! then what it changes, the words before TLS, the tables, and the routes against a real server.

mod answers;
mod changes;
mod pki;
mod probing;
mod rules;
mod starting;
mod storing;
mod verdicts;
