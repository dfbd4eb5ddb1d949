//! Whose tokens are taken, and whose calls.

use std::path::PathBuf;
use std::time::Duration;

use maintenant_serve::settings::Secret;
use reqwest::Url;

/// Longest `email` (RFC 5321 §4.5.3.1.3, as corrected by erratum 1690).
const LONGEST_ADDRESS: usize = 254;

/// Everything about who may call. Without issuers and token, `/mcp` is open.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    pub issuers: Vec<Issuer>,
    /// At least one where there are issuers.
    pub audiences: Vec<String>,
    /// The URL of `/mcp`, most often one of them.
    pub resource: String,
    /// The audience is a default that other machines have too.
    pub audience_is_a_guess: bool,
    pub allowed: Allowed,
    /// Tools ask for scopes.
    pub scopes: bool,
    /// Only `at+jwt` (RFC 9068 §4), not also tokens without `typ` or with `JWT`.
    pub strict_type: bool,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The longest life since `iat`; none: not looked at.
    pub max_token_age: Option<Duration>,
    /// How long keys serve while their issuer is away; `Duration::MAX`: for ever.
    pub max_stale: Duration,
    /// Trusted for issuers besides the system's (PEM).
    pub issuer_ca: Option<PathBuf>,
    /// Plain http beyond loopback; for laboratories.
    pub insecure_issuer: bool,
    /// One token for everything, instead of an issuer or beside it.
    pub token: Option<Secret>,
}

/// Whose tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Byte for byte as in `iss`.
    pub name: String,
    /// Where its keys are; else they are discovered (RFC 8414, OpenID Connect Discovery).
    pub jwks_url: Option<Url>,
}

/// Whose calls: everyone's with a good token where both lists are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Compared ASCII case-insensitively with `email`.
    pub emails: Vec<Listed>,
    /// Compared byte for byte with `sub`.
    pub subjects: Vec<Listed>,
    /// `emails` is also compared with `sub` where a token has no `email` and is no machine's.
    pub subject_as_email: bool,
    /// A missing `email_verified` is no yes.
    pub email_verified_required: bool,
}

/// An entry of a list: of one issuer, or of any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub issuer: Option<String>,
    pub value: String,
}

impl Listed {
    /// Whether it may be used for tokens of this issuer.
    pub fn is_of(&self, issuer: &str) -> bool {
        self.issuer.as_deref().is_none_or(|own| own == issuer)
    }
}

impl std::fmt::Display for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.issuer {
            Some(issuer) => write!(f, "{issuer}|{}", self.value),
            None => f.write_str(&self.value),
        }
    }
}

impl From<&str> for Listed {
    fn from(value: &str) -> Self {
        Self { issuer: None, value: value.to_owned() }
    }
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audiences: Vec::new(),
            resource: String::new(),
            audience_is_a_guess: false,
            allowed: Allowed { subject_as_email: true, ..Allowed::default() },
            scopes: false,
            strict_type: false,
            leeway: Duration::from_mins(1),
            max_token_age: Some(Duration::from_hours(24)),
            max_stale: Duration::from_hours(24),
            issuer_ca: None,
            insecure_issuer: false,
            token: None,
        }
    }
}

impl AuthSettings {
    /// Nobody is asked for credentials.
    pub fn is_open(&self) -> bool {
        self.issuers.is_empty() && self.token.is_none()
    }

    /// What an operator should know who did not mean it.
    pub fn warnings(&self) -> Vec<&'static str> {
        let allowed = &self.allowed;
        let anyone = allowed.emails.is_empty() && allowed.subjects.is_empty();
        let of_any =
            self.issuers.len() > 1 && allowed.emails.iter().any(|email| email.issuer.is_none());
        let by_name = allowed.subject_as_email && !allowed.emails.is_empty();
        let warnings = [
            (
                self.is_open(),
                "/mcp asks for no credentials: everyone who reaches it reads the monitoring data; \
                 set MAINTENANT_MCP_ISSUER or MAINTENANT_MCP_TOKEN; host and origin must be in \
                 MAINTENANT_ALLOWED_HOSTS and MAINTENANT_ALLOWED_ORIGINS",
            ),
            (
                !self.issuers.is_empty() && anyone,
                "everyone to whom the issuer gives a token for this audience may call /mcp; \
                 MAINTENANT_MCP_ALLOWED_EMAIL or MAINTENANT_MCP_ALLOWED_SUBJECTS names who may",
            ),
            (
                !self.issuers.is_empty() && by_name,
                "where a token has no `email`, its `sub` is compared with \
                 MAINTENANT_MCP_ALLOWED_EMAIL; if people or clients of the issuer choose their \
                 `sub`, set MAINTENANT_MCP_SUBJECT_AS_EMAIL=false",
            ),
            (
                of_any,
                "addresses in MAINTENANT_MCP_ALLOWED_EMAIL without an issuer are taken of any \
                 issuer, so each of them can let anybody in; write <issuer>|<address>",
            ),
            (
                self.audience_is_a_guess,
                "the audience of tokens is the URL on localhost, as on every machine without \
                 MAINTENANT_BASE_URL, so tokens for another one are taken here; set \
                 MAINTENANT_BASE_URL",
            ),
            (
                self.insecure_issuer,
                "issuers may be reached over plain http (MAINTENANT_MCP_INSECURE_ISSUER): whoever \
                 is on the way can make tokens",
            ),
        ];
        warnings.into_iter().filter_map(|(holds, text)| holds.then_some(text)).collect()
    }
}

/// Whether a text can be an address that is compared with others: one `@`, ASCII, nothing that is
/// not seen. Domains are no patterns.
pub fn is_address(text: &str) -> bool {
    let parts = text.split_once('@');
    text.len() <= LONGEST_ADDRESS
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && parts
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_are_taken() {
        for good in ["a@b", "first.last+tag@sub.example.org", &format!("{}@b", "x".repeat(252))] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\t",
            "ä@b",
            "a@\u{202e}b",
            "@example.org",
            &format!("{}@b", "x".repeat(253)),
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
