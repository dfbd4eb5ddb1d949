//! Who calls, as far as it was proven.

use jiff::Timestamp;
use rmcp::RoleServer;
use rmcp::service::RequestContext;

/// What a call may do. A tool asks for exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// `monitor:read`: everything that only reads, but logs.
    MonitorRead,
    /// `logs:read`: log lines of containers, where secrets leak most easily.
    LogsRead,
    /// `monitor:write`: acknowledge alerts, pause and resume monitors.
    MonitorWrite,
    /// `status:write`: what the public reads.
    StatusWrite,
}

impl Scope {
    pub const ALL: [Self; 4] =
        [Self::MonitorRead, Self::LogsRead, Self::MonitorWrite, Self::StatusWrite];

    /// As it stands in the `scope` of a token (RFC 6749 §3.3).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MonitorRead => "monitor:read",
            Self::LogsRead => "logs:read",
            Self::MonitorWrite => "monitor:write",
            Self::StatusWrite => "status:write",
        }
    }

    /// What calling `tool` takes. A tool nobody thought of takes the most.
    pub fn of_tool(tool: &str) -> Self {
        match tool {
            "get_container_logs" => Self::LogsRead,
            "acknowledge_alert" | "pause_monitor" | "resume_monitor" => Self::MonitorWrite,
            "list_containers"
            | "get_container"
            | "list_endpoints"
            | "get_endpoint_history"
            | "list_heartbeats"
            | "list_certificates"
            | "list_alerts"
            | "get_resources"
            | "get_top_consumers"
            | "get_updates"
            | "get_health" => Self::MonitorRead,
            _ => Self::StatusWrite,
        }
    }
}

/// What let a caller in; stands in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmittedBy {
    /// A valid token of a known issuer; no list of identities is set.
    Token,
    /// Its `email` is on the list.
    Email,
    /// Its `sub` is on the list of subjects.
    Subject,
    /// Its `sub` is on the list of addresses, and it has no `email`.
    SubjectAsEmail,
    /// The static token.
    StaticToken,
}

/// The identity behind one request over HTTP. On stdio there is none: whoever started the process
/// owns it. It is an extension of the request; the token itself is dropped at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub admitted_by: AdmittedBy,
    /// `iss` of the token.
    pub issuer: Option<String>,
    /// `sub` of the token.
    pub subject: Option<String>,
    /// `email` of the token.
    pub email: Option<String>,
    /// The OAuth client: `client_id`, else `azp`, `appid` or `cid`.
    pub client: Option<String>,
    /// What it may do, where scopes are looked at; else everything.
    pub scopes: Option<Vec<Scope>>,
    /// When the token ends, leeway included. What streams ends then.
    pub expires_at: Option<Timestamp>,
}

impl Caller {
    /// The caller of this request, if it had to prove anything.
    pub fn of(context: &RequestContext<RoleServer>) -> Option<&Self> {
        context.extensions.get::<http::request::Parts>()?.extensions.get::<Self>()
    }

    /// The name by which people know it: address, else subject. Foreign text.
    pub fn name(&self) -> Option<&str> {
        self.email.as_deref().or(self.subject.as_deref())
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }
}
