//! Alerts: opened once, with their cause, and always closed.
