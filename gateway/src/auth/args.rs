//! The settings of authentication, as `clap` arguments with their variables, and what is wrong with
//! them.

use std::path::PathBuf;
use std::time::Duration;

use maintenant_serve::settings::{
    self, Faults, Secret, boolean, duration, is_loopback, list, secret,
};
use reqwest::Url;

use super::bearer::is_b64token;
use super::refresh::INTERVAL;
use super::settings::{Allowed, AuthSettings, Issuer, Listed, is_address};

/// A static token is guessed at as fast as the network goes, so it has to be long.
const SHORTEST_TOKEN: usize = 32;
/// Keys must outlive the time between two fetches, its spread and a few failures.
const SHORTEST_STALE: Duration = Duration::from_mins(15);
const _: () = assert!(SHORTEST_STALE.as_secs() * 10 >= INTERVAL.as_secs() * 15);
const LARGEST_LEEWAY: Duration = Duration::from_mins(5);
const ISSUER: &str = "MAINTENANT_MCP_ISSUER";

/// Who may call `/mcp`.
#[derive(Debug, Clone, Default, clap::Args)]
#[expect(clippy::struct_field_names, reason = "flags among the flags of others")]
pub struct AuthArgs {
    /// Issuers of access tokens, as in their `iss` (comma list); without one, and without a token,
    /// /mcp is open
    #[arg(long, env = "MAINTENANT_MCP_ISSUER", value_name = "URLS")]
    mcp_issuer: Option<String>,

    /// Where the issuers' keys are, one for each, in the same order [default: discovered]
    #[arg(long, env = "MAINTENANT_MCP_JWKS_URL", value_name = "URLS")]
    mcp_jwks_url: Option<String>,

    /// What the `aud` of a token must name one of (comma list) [default: <base url>/mcp]
    #[arg(long, env = "MAINTENANT_MCP_AUDIENCE", value_name = "URIS")]
    mcp_audience: Option<String>,

    /// Only people with these e-mail addresses (comma list; @/path is a file of one a line);
    /// <issuer>|<address> for one issuer's
    #[arg(long, env = "MAINTENANT_MCP_ALLOWED_EMAIL", value_name = "EMAILS")]
    mcp_allowed_email: Option<String>,

    /// Only these subjects, as in `sub` (comma list; @/path is a file of one a line);
    /// <issuer>|<subject> where issuers are several
    #[arg(long, env = "MAINTENANT_MCP_ALLOWED_SUBJECTS", value_name = "SUBJECTS")]
    mcp_allowed_subjects: Option<String>,

    /// Where a token has no `email`, compare `sub` with the allowed addresses [default: true
    /// with one issuer, false with several]
    #[arg(long, env = "MAINTENANT_MCP_SUBJECT_AS_EMAIL", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mcp_subject_as_email: Option<String>,

    /// Take an `email` only with `email_verified` [default: false]
    #[arg(long, env = "MAINTENANT_MCP_EMAIL_VERIFIED", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mcp_email_verified: Option<String>,

    /// Let a token do only what its scopes say [default: false]
    #[arg(long, env = "MAINTENANT_MCP_SCOPES", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mcp_scopes: Option<String>,

    /// compatible, or strict: only tokens of type at+jwt (RFC 9068) [default: compatible]
    #[arg(long, env = "MAINTENANT_MCP_TOKEN_TYPE", value_name = "TYPE")]
    mcp_token_type: Option<String>,

    /// How far clocks may differ, at most 5m [default: 60s]
    #[arg(long, env = "MAINTENANT_MCP_LEEWAY", value_name = "DURATION")]
    mcp_leeway: Option<String>,

    /// Longest life of a token since it was issued; 0 for no bound [default: 24h]
    #[arg(long, env = "MAINTENANT_MCP_MAX_TOKEN_AGE", value_name = "DURATION")]
    mcp_max_token_age: Option<String>,

    /// How long an issuer's last keys serve while it does not answer, at least 15m; 0 for no bound
    /// [default: 24h]
    #[arg(long, env = "MAINTENANT_MCP_MAX_STALE", value_name = "DURATION")]
    mcp_max_stale: Option<String>,

    /// CA that issuers' servers may also have their certificates from (PEM)
    #[arg(long, env = "MAINTENANT_MCP_ISSUER_CA", value_name = "FILE")]
    mcp_issuer_ca: Option<PathBuf>,

    /// Take issuers over plain http beyond loopback; for laboratories [default: false]
    #[arg(long, env = "MAINTENANT_MCP_INSECURE_ISSUER", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mcp_insecure_issuer: Option<String>,

    /// File with one token for everything, instead of an issuer or beside it; or set
    /// MAINTENANT_MCP_TOKEN to the token itself
    #[arg(long, env = "MAINTENANT_MCP_TOKEN_FILE", value_name = "FILE")]
    mcp_token_file: Option<PathBuf>,

    // Not meant as a flag: command lines are public. clap reads no variable without one.
    #[arg(long = "mcp-token-from-environment", env = "MAINTENANT_MCP_TOKEN", hide = true)]
    #[arg(hide_env_values = true)]
    mcp_token: Option<String>,
}

impl AuthArgs {
    /// A static token was given, or its file.
    pub(crate) fn has_token(&self) -> bool {
        self.mcp_token.is_some() || self.mcp_token_file.is_some()
    }

    /// Reads the settings. `resource` is the URL of `/mcp`, the audience where none is named.
    pub fn settings(&self, resource: &str, faults: &mut Faults) -> AuthSettings {
        let default = AuthSettings::default();
        let insecure_issuer = flag(
            "MAINTENANT_MCP_INSECURE_ISSUER",
            self.mcp_insecure_issuer.as_deref(),
            false,
            faults,
        );
        let issuers = self.issuers(insecure_issuer, faults);
        let mut audiences =
            entries("MAINTENANT_MCP_AUDIENCE", self.mcp_audience.as_deref(), audience, faults);
        if audiences.is_empty() && !issuers.is_empty() {
            audiences.push(resource.to_owned());
        }
        let max_stale = "MAINTENANT_MCP_MAX_STALE";
        let stale = span(max_stale, self.mcp_max_stale.as_deref(), default.max_stale, faults);
        let settings = AuthSettings {
            audiences,
            resource: resource.to_owned(),
            audience_is_a_guess: false,
            allowed: self.allowed(&issuers, faults),
            scopes: flag("MAINTENANT_MCP_SCOPES", self.mcp_scopes.as_deref(), false, faults),
            strict_type: match self.mcp_token_type.as_deref() {
                None | Some("" | "compatible") => false,
                Some("strict") => true,
                Some(other) => {
                    let fault = format!("`{other}` is no type; use compatible or strict");
                    faults.add("MAINTENANT_MCP_TOKEN_TYPE", &fault);
                    false
                }
            },
            leeway: span(
                "MAINTENANT_MCP_LEEWAY",
                self.mcp_leeway.as_deref(),
                default.leeway,
                faults,
            ),
            max_token_age: Some(span(
                "MAINTENANT_MCP_MAX_TOKEN_AGE",
                self.mcp_max_token_age.as_deref(),
                default.max_token_age.unwrap_or_default(),
                faults,
            ))
            .filter(|age| !age.is_zero()),
            max_stale: if stale.is_zero() { Duration::MAX } else { stale },
            issuer_ca: self.mcp_issuer_ca.clone(),
            insecure_issuer,
            token: self.token(faults),
            issuers,
        };
        if settings.leeway > LARGEST_LEEWAY {
            faults.add("MAINTENANT_MCP_LEEWAY", "it is longer than 5m; set the clocks instead");
        }
        if settings.max_stale < SHORTEST_STALE {
            let fault = "it is shorter than 15m, and keys are fetched every ten minutes, so good \
                         tokens would be refused in between; use 15m or more, or 0 for no bound";
            faults.add(max_stale, fault);
        }
        if let Some(Err(error)) = settings.issuer_ca.as_deref().map(std::fs::metadata) {
            let fault = format!("cannot read the file: {error}");
            faults.add("MAINTENANT_MCP_ISSUER_CA", &fault);
        }
        self.refuse_what_has_no_effect(&settings, faults);
        settings
    }

    fn issuers(&self, insecure: bool, faults: &mut Faults) -> Vec<Issuer> {
        let issuer = |text: &str| {
            https(text, insecure).and_then(|url| match url.query() {
                // RFC 8414 §2
                Some(_) => Err(format!("`{text}` has a query, which an issuer never has")),
                None => Ok(text.to_owned()),
            })
        };
        let names = entries(ISSUER, self.mcp_issuer.as_deref(), issuer, faults);
        let several = names
            .iter()
            .enumerate()
            .any(|(at, name)| names.iter().skip(at + 1).any(|other| other == name));
        if several {
            faults.add(ISSUER, "an issuer is named twice");
        }
        let keys = "MAINTENANT_MCP_JWKS_URL";
        let urls =
            entries(keys, self.mcp_jwks_url.as_deref(), |text| https(text, insecure), faults);
        let given = count(self.mcp_jwks_url.as_deref());
        if given != 0 && given != count(self.mcp_issuer.as_deref()) {
            let fault = format!(
                "{given} URL(s) for {} issuer(s); give one for each issuer in the same order, or \
                 none, and they are discovered",
                count(self.mcp_issuer.as_deref())
            );
            faults.add(keys, &fault);
        }
        let mut urls = urls.into_iter();
        names.into_iter().map(|name| Issuer { name, jwks_url: urls.next() }).collect()
    }

    fn allowed(&self, issuers: &[Issuer], faults: &mut Faults) -> Allowed {
        let emails = "MAINTENANT_MCP_ALLOWED_EMAIL";
        let subjects = "MAINTENANT_MCP_ALLOWED_SUBJECTS";
        let fallback = "MAINTENANT_MCP_SUBJECT_AS_EMAIL";
        let verified = "MAINTENANT_MCP_EMAIL_VERIFIED";
        let several = issuers.len() > 1;
        let email = |text: &str| {
            let entry = listed(text, issuers)?;
            address(&entry.value)?;
            Ok(entry)
        };
        let subject = |text: &str| match listed(text, issuers)? {
            // Each issuer gives its own, and may give anybody what another gave to somebody.
            entry if several && entry.issuer.is_none() => Err(format!(
                "`{text}` names no issuer, and there are several; write <issuer>|{text}"
            )),
            entry => Ok(entry),
        };
        Allowed {
            emails: entries_or_files(emails, self.mcp_allowed_email.as_deref(), email, faults),
            subjects: entries_or_files(
                subjects,
                self.mcp_allowed_subjects.as_deref(),
                subject,
                faults,
            ),
            subject_as_email: flag(
                fallback,
                self.mcp_subject_as_email.as_deref(),
                !several,
                faults,
            ),
            email_verified_required: flag(
                verified,
                self.mcp_email_verified.as_deref(),
                false,
                faults,
            ),
        }
    }

    fn token(&self, faults: &mut Faults) -> Option<Secret> {
        let name = "MAINTENANT_MCP_TOKEN";
        let token = secret(name, self.mcp_token.as_deref(), self.mcp_token_file.as_deref());
        let token = faults.or(None, name, token)?;
        let length = token.expose().len();
        if length < SHORTEST_TOKEN {
            let fault = format!(
                "it has {length} characters, and {SHORTEST_TOKEN} are needed; make one with \
                 `openssl rand -hex 32`"
            );
            faults.add(name, &fault);
        }
        if !is_b64token(token.expose()) {
            let fault = "it has characters that a bearer token cannot have (RFC 6750 §2.1); make \
                         one with `openssl rand -hex 32`";
            faults.add(name, fault);
        }
        Some(token)
    }

    /// A fence that fences nothing must not look like one.
    fn refuse_what_has_no_effect(&self, settings: &AuthSettings, faults: &mut Faults) {
        if count(self.mcp_issuer.as_deref()) > 0 {
            return;
        }
        let set = [
            ("MAINTENANT_MCP_JWKS_URL", self.mcp_jwks_url.is_some()),
            ("MAINTENANT_MCP_AUDIENCE", self.mcp_audience.is_some()),
            ("MAINTENANT_MCP_ALLOWED_EMAIL", self.mcp_allowed_email.is_some()),
            ("MAINTENANT_MCP_ALLOWED_SUBJECTS", self.mcp_allowed_subjects.is_some()),
            ("MAINTENANT_MCP_EMAIL_VERIFIED", settings.allowed.email_verified_required),
            ("MAINTENANT_MCP_SCOPES", settings.scopes),
            ("MAINTENANT_MCP_TOKEN_TYPE", settings.strict_type),
        ];
        for (name, _) in set.into_iter().filter(|(_, set)| *set) {
            let fault = "it needs MAINTENANT_MCP_ISSUER, the issuer of the tokens; without one \
                         nobody would be held to it";
            faults.add(name, fault);
        }
    }
}

/// `<issuer>|<value>`, or a value of any issuer. Values may hold a bar of their own (Auth0).
fn listed(text: &str, issuers: &[Issuer]) -> Result<Listed, String> {
    let of_one = issuers.iter().find_map(|issuer| {
        let value = text.strip_prefix(&issuer.name)?.strip_prefix('|')?;
        Some(Listed { issuer: Some(issuer.name.clone()), value: value.to_owned() })
    });
    match of_one {
        Some(listed) if listed.value.is_empty() => Err(format!("`{text}` ends with its bar")),
        Some(listed) => Ok(listed),
        None if text.contains("://") && text.contains('|') => Err(format!(
            "`{text}` begins with none of the issuers; write one as in {ISSUER}, byte for byte"
        )),
        None => Ok(Listed::from(text)),
    }
}

fn address(text: &str) -> Result<String, String> {
    if is_address(text) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no e-mail address; write whole addresses, such as a@example.org"))
}

fn audience(text: &str) -> Result<String, String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no audience; it has a space or a character that is not ASCII"))
}

/// An address whose answers can be believed.
fn https(text: &str, insecure: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("an entry is no URL ({error})"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an entry holds credentials; leave them away".to_owned());
    }
    let loopback = url.host_str().is_some_and(is_loopback);
    match url.scheme() {
        _ if url.fragment().is_some() => Err(format!("`{text}` has a fragment; leave it away")),
        "https" => Ok(url),
        "http" if loopback || insecure => Ok(url),
        "http" => Err(format!(
            "`{text}` is plain http: whoever is on the way could make tokens; use https (in a \
             laboratory, MAINTENANT_MCP_INSECURE_ISSUER=true)"
        )),
        _ => Err(format!("`{text}` is not https://…")),
    }
}

fn count(text: Option<&str>) -> usize {
    text.map_or(0, |text| list(text).len())
}

/// The entries of a list. One that is set and empty is a mistake: most likely a variable that was
/// meant to be filled in.
fn entries<T>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
    faults: &mut Faults,
) -> Vec<T> {
    parsed(name, text.map(|text| Ok(list(text))), parse, faults)
}

/// The same, where an entry `@/path` stands for the lines of a file.
fn entries_or_files<T>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
    faults: &mut Faults,
) -> Vec<T> {
    parsed(name, text.map(settings::entries), parse, faults)
}

fn parsed<T>(
    name: &str,
    entries: Option<Result<Vec<String>, String>>,
    parse: impl Fn(&str) -> Result<T, String>,
    faults: &mut Faults,
) -> Vec<T> {
    let entries = match entries {
        None => return Vec::new(),
        Some(Ok(entries)) => entries,
        Some(Err(fault)) => {
            faults.add(name, &fault);
            return Vec::new();
        }
    };
    if entries.is_empty() {
        faults.add(name, "it is empty; unset it, or give it a value");
    }
    let parsed = entries.iter().map(|entry| parse(entry)).collect();
    faults.or(Vec::new(), name, parsed)
}

fn flag(name: &str, text: Option<&str>, default: bool, faults: &mut Faults) -> bool {
    match text {
        None | Some("") => default,
        Some(text) => faults.or(default, name, boolean(text)),
    }
}

fn span(name: &str, text: Option<&str>, default: Duration, faults: &mut Faults) -> Duration {
    match text.map(str::trim) {
        None | Some("") => default,
        Some("0") => Duration::ZERO,
        Some(text) => faults.or(default, name, duration(text)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        auth: AuthArgs,
    }

    const LONG: &str = "--mcp-token-from-environment=0123456789abcdef0123456789abcdef";
    const ISSUED: &str = "--mcp-issuer=https://id.example.org/realm/";

    fn settings(arguments: &[&str]) -> Result<AuthSettings, String> {
        let args = Only::try_parse_from(["x"].iter().chain(arguments)).unwrap();
        let mut faults = Faults::default();
        let settings = args.auth.settings("https://m.example.org/mcp", &mut faults);
        faults.finish().map(|()| settings).map_err(|error| error.to_string())
    }

    /// The one fault of these settings, by its variable and a part of its text.
    fn refused(arguments: &[&str], name: &str, part: &str) {
        let text = settings(arguments).expect_err(name);
        let fault = text.lines().find(|line| line.starts_with(&format!("  {name}: ")));
        assert!(fault.is_some_and(|fault| fault.contains(part)), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 3, "one fault: {text}");
    }

    #[test]
    fn nothing_set_is_open_and_says_so() {
        let settings = settings(&[]).unwrap();
        assert!(settings.is_open());
        assert!(settings.warnings()[0].contains("asks for no credentials"));
        assert_eq!(settings.warnings().len(), 1);
    }

    #[test]
    fn an_issuer_is_kept_byte_for_byte_and_the_audience_is_our_url() {
        let settings = settings(&[ISSUED]).unwrap();
        let issuer = Issuer { name: "https://id.example.org/realm/".to_owned(), jwks_url: None };
        assert_eq!(settings.issuers, [issuer]);
        assert_eq!(settings.audiences, ["https://m.example.org/mcp"]);
        assert!(settings.allowed.subject_as_email && !settings.scopes && !settings.strict_type);
        assert_eq!(settings.leeway, Duration::from_mins(1));
        assert_eq!(settings.max_token_age, Some(Duration::from_hours(24)));
        assert!(settings.warnings()[0].contains("everyone to whom the issuer gives a token"));
    }

    #[test]
    fn every_setting_arrives() {
        let settings = settings(&[
            "--mcp-issuer=https://a.example, http://127.0.0.1:9/x",
            "--mcp-jwks-url=https://a.example/keys?v=1,http://[::1]:9/keys",
            "--mcp-audience=api://one,two",
            "--mcp-allowed-email=https://a.example|A@example.org,https://a.example|b+c@example.org",
            "--mcp-allowed-subjects=https://a.example|auth0|007,http://127.0.0.1:9/x|alice",
            "--mcp-subject-as-email=false",
            "--mcp-email-verified",
            "--mcp-scopes=true",
            "--mcp-token-type=strict",
            "--mcp-leeway=0",
            "--mcp-max-token-age=0",
            "--mcp-max-stale=1h",
            LONG,
        ])
        .unwrap();
        let keys: Vec<String> =
            settings.issuers.iter().map(|i| i.jwks_url.as_ref().unwrap().to_string()).collect();
        assert_eq!(keys, ["https://a.example/keys?v=1", "http://[::1]:9/keys"]);
        assert_eq!(settings.audiences, ["api://one", "two"]);
        let of = |issuer: &str, value: &str| Listed {
            issuer: Some(issuer.to_owned()),
            value: value.to_owned(),
        };
        let a = "https://a.example";
        assert_eq!(settings.allowed.emails, [of(a, "A@example.org"), of(a, "b+c@example.org")]);
        let subjects = [of(a, "auth0|007"), of("http://127.0.0.1:9/x", "alice")];
        assert_eq!(settings.allowed.subjects, subjects);
        assert!(!settings.allowed.subject_as_email && settings.allowed.email_verified_required);
        assert!(settings.scopes && settings.strict_type && settings.token.is_some());
        assert_eq!((settings.leeway, settings.max_token_age), (Duration::ZERO, None));
        assert_eq!(settings.max_stale, Duration::from_hours(1));
        assert_eq!(settings.warnings(), Vec::<&str>::new());
    }

    #[test]
    fn a_fence_without_an_issuer_stops_the_start() {
        for (argument, name) in [
            ("--mcp-allowed-email=a@b.c", "MAINTENANT_MCP_ALLOWED_EMAIL"),
            ("--mcp-allowed-subjects=a", "MAINTENANT_MCP_ALLOWED_SUBJECTS"),
            ("--mcp-audience=a", "MAINTENANT_MCP_AUDIENCE"),
            ("--mcp-scopes", "MAINTENANT_MCP_SCOPES"),
            ("--mcp-email-verified", "MAINTENANT_MCP_EMAIL_VERIFIED"),
            ("--mcp-token-type=strict", "MAINTENANT_MCP_TOKEN_TYPE"),
        ] {
            refused(&[argument], name, "needs MAINTENANT_MCP_ISSUER");
            refused(&[argument, LONG], name, "needs MAINTENANT_MCP_ISSUER");
        }
        let text = settings(&["--mcp-jwks-url=https://a.example"]).unwrap_err();
        assert!(text.contains("MAINTENANT_MCP_JWKS_URL: it needs MAINTENANT_MCP_ISSUER"), "{text}");
    }

    #[test]
    fn a_list_that_is_set_and_empty_stops_the_start() {
        refused(&["--mcp-issuer="], "MAINTENANT_MCP_ISSUER", "is empty");
        refused(&["--mcp-issuer= , "], "MAINTENANT_MCP_ISSUER", "is empty");
        refused(&[ISSUED, "--mcp-allowed-email="], "MAINTENANT_MCP_ALLOWED_EMAIL", "is empty");
        refused(&[ISSUED, "--mcp-allowed-subjects=,"], "MAINTENANT_MCP_ALLOWED_SUBJECTS", "empty");
        refused(&[ISSUED, "--mcp-audience="], "MAINTENANT_MCP_AUDIENCE", "is empty");
        refused(&["--mcp-token-from-environment="], "MAINTENANT_MCP_TOKEN", "is empty");
    }

    #[test]
    fn issuers_are_https_unless_they_are_here_or_a_laboratory() {
        let issuer = |text: &str, part| {
            refused(&[&format!("--mcp-issuer={text}")], "MAINTENANT_MCP_ISSUER", part);
        };
        issuer("http://id.example.org", "plain http");
        issuer("http://127.0.0.1.example.org", "plain http");
        issuer("ftp://id.example.org", "not https://");
        issuer("id.example.org", "no URL");
        issuer("https://u:hunter2@id.example.org", "credentials");
        issuer("https://id.example.org?x", "query");
        issuer("https://id.example.org#x", "fragment");
        issuer("https://a.example,https://a.example", "twice");
        let open = ["--mcp-issuer=http://id.example.org", "--mcp-insecure-issuer"];
        assert!(settings(&open).unwrap().warnings().iter().any(|text| text.contains("plain http")));
        for here in ["http://localhost:1", "http://127.0.0.1:1/x", "http://[::1]:1"] {
            assert!(settings(&[&format!("--mcp-issuer={here}")]).is_ok(), "{here}");
        }
        let two = "--mcp-issuer=https://a.example,https://b.example";
        refused(
            &[two, "--mcp-jwks-url=https://a.example/keys"],
            "MAINTENANT_MCP_JWKS_URL",
            "1 URL(s) for 2 issuer(s)",
        );
        refused(
            &[ISSUED, "--mcp-jwks-url=http://a.example/keys"],
            "MAINTENANT_MCP_JWKS_URL",
            "plain http",
        );
    }

    #[test]
    fn with_several_issuers_an_identity_is_that_of_one() {
        let two = "--mcp-issuer=https://a.example,https://b.example";
        let subjects = "MAINTENANT_MCP_ALLOWED_SUBJECTS";
        refused(&[two, "--mcp-allowed-subjects=007"], subjects, "write <issuer>|007");
        let none = "--mcp-allowed-subjects=https://c.example|007";
        refused(&[two, none], subjects, "none of the issuers");
        refused(&[ISSUED, none], subjects, "none of the issuers");
        refused(&[two, "--mcp-allowed-subjects=https://a.example|"], subjects, "its bar");
        let one = settings(&[ISSUED, "--mcp-allowed-subjects=auth0|007"]).unwrap();
        assert_eq!(one.allowed.subjects, [Listed::from("auth0|007")]);
        assert!(one.allowed.subject_as_email);
        let open = settings(&[two, "--mcp-allowed-email=a@b.c"]).unwrap();
        assert!(!open.allowed.subject_as_email, "off with several");
        assert!(open.warnings().iter().any(|text| text.contains("of any issuer")));
        let bound = settings(&[two, "--mcp-allowed-email=https://b.example|a@b.c"]).unwrap();
        assert_eq!(bound.warnings(), Vec::<&str>::new());
    }

    #[test]
    fn keys_outlive_the_time_between_two_fetches() {
        let stale = "MAINTENANT_MCP_MAX_STALE";
        for short in ["--mcp-max-stale=1s", "--mcp-max-stale=10m", "--mcp-max-stale=899s"] {
            refused(&[ISSUED, short], stale, "shorter than 15m");
        }
        assert!(settings(&[ISSUED, "--mcp-max-stale=15m"]).is_ok());
        let endless = settings(&[ISSUED, "--mcp-max-stale=0"]).unwrap();
        assert_eq!(endless.max_stale, Duration::MAX);
    }

    #[test]
    fn an_allowed_address_is_whole() {
        let list = "--mcp-allowed-email=a@b.c,@example.org";
        refused(&[ISSUED, list], "MAINTENANT_MCP_ALLOWED_EMAIL", "whole addresses");
    }

    #[test]
    fn the_rest_is_bounded() {
        refused(&[ISSUED, "--mcp-leeway=301s"], "MAINTENANT_MCP_LEEWAY", "5m");
        assert!(settings(&[ISSUED, "--mcp-leeway=300s"]).is_ok());
        refused(&[ISSUED, "--mcp-leeway=1"], "MAINTENANT_MCP_LEEWAY", "no duration");
        refused(&[ISSUED, "--mcp-max-stale=x"], "MAINTENANT_MCP_MAX_STALE", "no duration");
        refused(&[ISSUED, "--mcp-token-type=jwt"], "MAINTENANT_MCP_TOKEN_TYPE", "strict");
        refused(&[ISSUED, "--mcp-scopes=maybe"], "MAINTENANT_MCP_SCOPES", "neither");
        refused(&[ISSUED, "--mcp-issuer-ca=/nowhere"], "MAINTENANT_MCP_ISSUER_CA", "cannot read");
        refused(&[ISSUED, "--mcp-audience=a b"], "MAINTENANT_MCP_AUDIENCE", "space");
    }

    #[test]
    fn a_static_token_is_long_can_be_sent_and_is_never_printed() {
        let short = "--mcp-token-from-environment=hunter2hunter2hunter2hunter2hun";
        refused(&[short], "MAINTENANT_MCP_TOKEN", "31 characters, and 32 are needed");
        assert!(!settings(&[short]).unwrap_err().contains("hunter2"));
        let odd = "--mcp-token-from-environment=0123456789abcdef0123456789abcdef!";
        refused(&[odd], "MAINTENANT_MCP_TOKEN", "openssl rand -hex 32");
        let settings = settings(&[LONG]).unwrap();
        assert!(!settings.is_open() && settings.warnings().is_empty());
        assert!(!format!("{settings:?}").contains("0123"));
    }
}
