//! Text that others wrote: container names, images, log lines, error messages.
//!
//! It may try to steer the model that reads it, to hide characters from the people who read along,
//! or to carry a secret that was never meant to leave the host. So it loses its control sequences,
//! its invisible characters become visible, its length is bounded, and what looks like a secret in
//! a log becomes `[redacted]`. Redaction is best effort: it knows shapes, not meanings.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

/// Longest name of a container, image or group shown.
pub const NAME: usize = 128;
/// Longest address shown.
const ADDRESS: usize = 200;
/// Longest log line shown, in characters.
pub const LINE: usize = 2000;
/// A line of a multi-line secret is looked for no further than this many lines on.
const LONGEST_KEY: usize = 100;
const REDACTED: &str = "[redacted]";

/// A name: one line, at most [`NAME`] characters.
pub fn name(raw: &str) -> String {
    text(raw, NAME)
}

/// Foreign text on one line, at most `most` characters, with a mark where it was cut.
pub fn text(raw: &str, most: usize) -> String {
    let (bounded, unread) = bounded(raw, most);
    shorten(&visible(bounded), most, unread)
}

/// An error's words on one line, without secrets.
pub fn message(raw: &str, most: usize) -> String {
    let (bounded, unread) = whole_words(raw, most);
    shorten(&mask_queries(&redact(&visible(bounded)).0), most, unread)
}

/// The address of a probe: no user, no password, no fragment, and of a query only the names.
pub fn address(raw: &str) -> String {
    let (bounded, unread) = whole_words(raw, ADDRESS);
    let clean = redact(&visible(bounded)).0;
    let (scheme, rest) = match clean.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), clean.as_str()),
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
    // All of the rest is query, whatever characters stand in it.
    let rest = match rest.split_once('?') {
        Some((path, query)) => format!("{path}{}", masked(query)),
        None => rest.to_owned(),
    };
    shorten(&format!("{scheme}{host}{rest}"), ADDRESS, unread)
}

/// A name that may be, or hold, an address.
pub fn name_or_address(raw: &str) -> String {
    if raw.contains("://") { address(raw) } else { name(raw) }
}

/// A name of one line without anything of the shape of a ping's id: whoever knows one can ping.
pub fn name_without_ids(raw: &str) -> String {
    // Before it is cut, so that no part of one stays; and after, as what is invisible is gone.
    without_ids(&name_or_address(&without_ids(raw)))
}

/// The same for a text that is safe otherwise.
pub fn without_ids(text: &str) -> String {
    static ID: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("(?i)[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}").ok());
    match &*ID {
        Some(id) => id.replace_all(text, REDACTED).into_owned(),
        None => REDACTED.to_owned(),
    }
}

/// The values in the queries of URLs.
fn mask_queries(text: &str) -> String {
    static QUERY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"\?([^\s"'<>`]+)"#).ok());
    let Some(query) = &*QUERY else { return REDACTED.to_owned() };
    let text = query.replace_all(text, |found: &regex::Captures<'_>| {
        masked(found.get(1).map_or("", |pairs| pairs.as_str()))
    });
    text.into_owned()
}

/// A query with its names only.
fn masked(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={REDACTED}"),
        None => REDACTED.to_owned(),
    });
    format!("?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Foreign text inside a sentence of ours.
pub fn quoted(raw: &str) -> String {
    format!("`{}`", text(raw, NAME).replace('`', "'"))
}

/// Log lines made safe and free of secrets, and how many secrets that were.
pub fn lines(raw: &[String]) -> (Vec<String>, usize) {
    let log = Log::new(raw);
    let (lines, redacted): (Vec<_>, Vec<_>) = (0..raw.len()).map(|at| log.line(at)).unzip();
    (lines, redacted.into_iter().sum())
}

/// Lines of a log in the order they were written, made safe one at a time.
pub struct Log<'a> {
    raw: &'a [String],
    /// For each line the number of the private key it belongs to.
    keys: Vec<Option<usize>>,
}

impl<'a> Log<'a> {
    pub fn new(raw: &'a [String]) -> Self {
        Self { raw, keys: keys(raw) }
    }

    /// One line, and how many secrets it lost. A key over several lines counts at its last.
    pub fn line(&self, at: usize) -> (String, usize) {
        let key = |at: usize| self.keys.get(at).copied().flatten();
        if let Some(own) = key(at) {
            let is_last = key(at.saturating_add(1)) != Some(own);
            return (REDACTED.to_owned(), usize::from(is_last));
        }
        let raw = self.raw.get(at).map_or("", String::as_str);
        let (read, unread) = whole_words(raw, LINE);
        let (clean, count) = redact(&visible(read));
        (shorten(&clean, LINE, unread), count)
    }
}

/// Text without terminal sequences, and with invisible and direction characters spelled out.
fn visible(raw: &str) -> String {
    static TERMINAL: LazyLock<Option<Regex>> = LazyLock::new(|| {
        // CSI, then OSC and other strings up to their end, then two-character escapes.
        Regex::new(
            r"(?x)
            (?:\x1b\[|\u{9b}) [0-?]* [\x20-/]* [@-~]
            | \x1b [\]PX^_] [^\x07\x1b]* (?:\x07|\x1b\\)?
            | \x1b [\x20-/]* [0-~]",
        )
        .ok()
    });
    let plain = match &*TERMINAL {
        Some(terminal) => terminal.replace_all(raw, ""),
        None => Cow::Borrowed(raw),
    };
    let mut out = String::with_capacity(plain.len());
    for c in plain.trim_end_matches(['\r', '\n']).chars() {
        match c {
            '\t' => out.push(c),
            '\r' | '\n' => out.push(' '),
            // Variation selectors can spell hidden bytes; an emoji is readable without.
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {}
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// As much of `raw` as can matter for `most` characters, and how many characters more there are.
fn bounded(raw: &str, most: usize) -> (&str, usize) {
    let read = head(raw, most.saturating_mul(8));
    (read, raw.get(read.len()..).unwrap_or_default().chars().count())
}

/// The same without what the end of `raw` may have been cut off from: half a secret has no shape.
fn whole_words(raw: &str, most: usize) -> (&str, usize) {
    let (read, unread) = bounded(raw, most);
    if unread == 0 {
        return (read, 0);
    }
    // No secret that is known by what stands at its end goes on beyond one of these.
    let is_end = |c: char| c.is_whitespace() || "\"'<>".contains(c);
    let (whole, torn) = read.split_at(read.rfind(is_end).unwrap_or_default());
    if torn.chars().all(char::is_alphanumeric) {
        // Nor does one that is known by its end begin so.
        return (read, unread);
    }
    (whole, unread.saturating_add(torn.chars().count()))
}

fn head(text: &str, most: usize) -> &str {
    let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

/// `unread` more characters were never looked at.
fn shorten(text: &str, most: usize, unread: usize) -> String {
    let length = text.chars().count().saturating_add(unread);
    if unread == 0 && length <= most {
        return text.to_owned();
    }
    let shown = head(text, most);
    let left_out = length.saturating_sub(shown.chars().count());
    format!("{shown}… [{left_out} more characters]")
}

/// Private keys in PEM spread over several lines, including one whose beginning is out of sight:
/// for each line the number of its key. Looks at all of a line, also at what is never shown.
fn keys(raw: &[String]) -> Vec<Option<usize>> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let marks = |line: &str, mark: &str| {
        line.split(mark).skip(1).any(|rest| {
            rest.split_once("-----").is_some_and(|(kind, _)| kind.ends_with("PRIVATE KEY"))
        })
    };
    let mut keys = vec![None; raw.len()];
    let (mut number, mut left) = (0_usize, 0_usize);
    let mut headless_end = None;
    for (at, (line, key)) in raw.iter().zip(&mut keys).enumerate() {
        let (begins, ends) = if line.contains("--") {
            let line = visible(line);
            (marks(&line, BEGIN), marks(&line, END))
        } else {
            (false, false)
        };
        if begins && !ends {
            left = LONGEST_KEY;
            number = number.saturating_add(1);
        }
        if ends && !begins && number == 0 {
            headless_end = Some(at);
        }
        if left > 0 {
            *key = Some(number);
            left = if ends { 0 } else { left.saturating_sub(1) };
        }
    }
    let is_body = |line: &str| {
        line.len() >= 4 && line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
    };
    let before = keys.iter_mut().zip(raw).take(headless_end.unwrap_or_default()).rev();
    for (key, _) in
        before.take_while(|(_, line)| visible(line).split_whitespace().last().is_some_and(is_body))
    {
        *key = Some(0);
    }
    keys
}

/// Secrets on one line.
fn redact(line: &str) -> (String, usize) {
    let Some(shapes) = &*SHAPES else { return (line.to_owned(), 0) };
    let mut text = line.to_owned();
    let mut count = 0_usize;
    for shape in shapes.any.matches(line) {
        let Some((pattern, replacement)) = shapes.each.get(shape) else { continue };
        count = count.saturating_add(pattern.find_iter(&text).count());
        if let Cow::Owned(changed) = pattern.replace_all(&text, *replacement) {
            text = changed;
        }
    }
    (text, count)
}

struct Shapes {
    any: RegexSet,
    each: Vec<(Regex, &'static str)>,
}

static SHAPES: LazyLock<Option<Shapes>> = LazyLock::new(|| {
    let any = RegexSet::new(SECRETS.iter().map(|(pattern, _)| pattern)).ok()?;
    let each = SECRETS
        .iter()
        .map(|(pattern, replacement)| Regex::new(pattern).map(|regex| (regex, *replacement)))
        .collect::<Result<_, _>>()
        .ok()?;
    Some(Shapes { any, each })
});

/// Shapes of secrets, and what stays of a match. Applied in this order. Boundaries are those of
/// ASCII: `regex` has no fast way to find others, and a line of umlauts would take a hundred times
/// as long.
const SECRETS: [(&str, &str); 17] = [
    // A whole key on one line, its line ends escaped.
    (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)",
        "[redacted]",
    ),
    // Headers: as a quoted key only their value, otherwise to the end of the line.
    (
        r#"(?ix)(?-u:\b)(?:
          ( (?:proxy-)?authorization\\?["']? \s*(?:=>|[:=])\s* \[?\s*"  ) (?: [^"\\] | \\. )+
        | ( (?:proxy-)?authorization\\?["']? \s*(?:=>|[:=])\s* \[?\s*\\") [^"\\]+
        | ( (?:proxy-)?authorization\\?["']? \s*(?:=>|[:=])\s* \[?\s*'  ) [^']+
        | ( (?:proxy-)?authorization   \s*(?:=>|[:=])\s* ) [^\s"'\\].*
        )"#,
        "${1}${2}${3}${4}[redacted]",
    ),
    (r"(?i)(?-u:\b)((?:set-)?cookie:\s*)[^\[\s].*", "${1}[redacted]"),
    (r#"(?i)(?-u:\b)((?:set-)?cookie=)[^\s;"'\[][^\s;"']*(?:;\s*[^\s;"']+)*"#, "${1}[redacted]"),
    (r"(?i)(?-u:\b)(bearer|basic)\s+[a-z0-9._~+/=-]{12,}", "${1} [redacted]"),
    // JSON web tokens.
    (r"(?-u:\b)eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?", "[redacted]"),
    // User and password in a URL; the password may hold `@`, or a `/` where a port cannot be meant.
    (
        r#"(?x)(?-u:\b)( [a-zA-Z][a-zA-Z0-9+.-]{1,20}:// )
        (?: [^\s/?\#"'<>]+ | [^\s/?\#:@\["'<>]* : (?:[0-9]+[^\s0-9/@"'<>]|[^\s0-9@"'<>]) [^\s"'<>]* )@"#,
        "${1}[redacted]@",
    ),
    // Keys with a known beginning: AWS, GitHub, GitLab, Slack, Google, Stripe, npm, model APIs,
    // SendGrid, Hugging Face, Docker, PyPI, Grafana, age.
    (
        r"(?x)(?-u:\b)(?:
            (?:AKIA|ASIA)[A-Z0-9]{16}
            | gh[oprsu]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}
            | xox[a-z]-[A-Za-z0-9-]{8,} | AIza[A-Za-z0-9_-]{30,}
            | [rs]k_(?:live|test)_[A-Za-z0-9]{16,} | npm_[A-Za-z0-9]{30,} | sk-[A-Za-z0-9_-]{20,}
            | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,} | hf_[A-Za-z0-9]{20,}
            | whsec_[A-Za-z0-9+/=]{16,} | dckr_pat_[A-Za-z0-9_-]{16,} | pypi-AgE[A-Za-z0-9_-]{16,}
            | glsa_[A-Za-z0-9_]{20,} | AGE-SECRET-KEY-1[A-Z0-9]{20,}
        )",
        "[redacted]",
    ),
    // Addresses that are keys.
    (r"(hooks\.slack\.com/services/)[A-Za-z0-9/]+", "${1}[redacted]"),
    (r"(api\.telegram\.org/(?:file/)?bot)[0-9]+:[A-Za-z0-9_-]+", "${1}[redacted]"),
    (r"(discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/)[0-9]+/[A-Za-z0-9_-]+", "${1}[redacted]"),
    (r"(/ping/)[0-9a-fA-F-]{32,36}", "${1}[redacted]"),
    // Signed addresses. A short `sig=` is a signal.
    (r"(?i)(?-u:\b)(x-(?:amz|goog)-signature=)[a-z0-9%]+", "${1}[redacted]"),
    (r"(?i)(?-u:\b)(sig=)[a-z0-9%+/_-]{16,}=*", "${1}[redacted]"),
    // `--password …`
    (
        r#"(?ix) ( (?:^|[\s"'\[]) --? [0-9A-Za-z_-]* (?: passw(?:or)?d | passphrase | secret | token
             | (?:api|access|private|secret|auth)-?key ) \s+ )
        (?: "[^"]*"? | '[^']*'? | [^\s"'\[-]\S* )"#,
        "${1}[redacted]",
    ),
    // `password=…`, `token: …`, `:secret => …`, `"api_key":"…"`.
    (
        r#"(?ix)
        (?-u:\b) ( [0-9A-Za-z_.-]* (?: passw(?:or)?d | passphrase | pwd | _pass | secret | token | credentials?
               | (?: api | private | encryption | signing | master | account | auth )[_-]?key
               | access[_-]?key(?:[_-]?id)? | secret[_-]?key(?:[_-]?base)? | secret[_-]?value
               | session[_-]?id )
             \\?["']? \s* (?: => | [=:]+ ) \s* )
        (?: \\" (?: [^"\\] | \\\\\\. | \\\\[^\\] | \\[^"\\] )* (?:\\")?
          | " (?: [^"\\] | \\. )* "?
          | ' (?: [^'\\] | \\. )* '?
          | [^\s,;&"'\[\\}] [^\s,;&"'\\}]* )"#,
        "${1}[redacted]",
    ),
    (
        r#"(?ix) (?-u:\b) ( (?:set-)?cookie \\?["'] \s* (?: => | : ) \s* )
        (?: \\" [^"\\]* (?:\\")? | " (?: [^"\\] | \\. )* "? | ' (?: [^'\\] | \\. )* '?
          | \[ [^\]]* \]? )"#,
        "${1}[redacted]",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_invisible_characters_do_not_pass() {
        let cases = [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{9b}2Jx", "x"),
            ("a\tb", "a\tb"),
            ("a\r\nb\n", "a  b"),
            ("a\u{8}b\u{0}", "a\\u{8}b\\u{0}"),
            ("\u{202e}evil", "\\u{202e}evil"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("x\u{e0041}", "x\\u{e0041}"),
            ("☺\u{fe0f}\u{e0101}", "☺"),
            ("grün ✓ 日本", "grün ✓ 日本"),
        ];
        for (raw, safe) in cases {
            assert_eq!(text(raw, 100), safe, "{raw:?}");
        }
    }

    #[test]
    fn length_is_bounded_and_the_cut_is_marked() {
        assert_eq!(text("äbcdef", 3), "äbc… [3 more characters]");
        assert!(name(&"x".repeat(100_000)).ends_with("… [99872 more characters]"));
        let (long, _) = lines(&["y".repeat(2010)]);
        assert!(long[0].ends_with("… [10 more characters]"), "{}", &long[0][1990..]);
    }

    #[test]
    fn an_error_s_words_lose_their_secrets() {
        let raw = "pull https://u:p@registry.example/x: \u{1b}[31mdenied";
        assert_eq!(message(raw, 100), "pull https://[redacted]@registry.example/x: denied");
    }

    #[test]
    fn of_an_address_only_what_names_the_place_is_shown() {
        let cases = [
            ("https://shop.example.org/health", "https://shop.example.org/health"),
            ("https://user:p%40ss@h:8443/x", "https://h:8443/x"),
            ("https://user:pa/ss@h/x", "https://h/x"),
            ("https://user:p#a@h/x", "https://h/x"),
            ("https://key@h", "https://h"),
            ("h:5432", "h:5432"),
            ("user:pass@h:5432", "h:5432"),
            ("[2001:db8::1]:53", "[2001:db8::1]:53"),
            ("http://h/a@b?key=1&x=#f", "http://h/a@b?key=[redacted]&x=[redacted]"),
            ("http://h/?hunter2", "http://h/?[redacted]"),
            ("http://h/?a=b?c=d;e=f", "http://h/?a=[redacted]"),
            ("http://h/?a='x&b=\"y z&c=<k>", "http://h/?a=[redacted]&b=[redacted]&c=[redacted]"),
            ("http://h/?'hunter2", "http://h/?[redacted]"),
            ("http://h/p#token", "http://h/p"),
            ("http://h/ping/0190b7a4-1111-7222-8333-444455556666", "http://h/ping/[redacted]"),
            ("http://h/\u{1b}[2J\u{202e}x", "http://h/\\u{202e}x"),
            ("", ""),
        ];
        for (raw, shown) in cases {
            assert_eq!(address(raw), shown, "{raw}");
        }
    }

    #[test]
    fn a_message_shows_no_values_of_queries() {
        let raw = r#"Get "https://h/x?key=abc&n=1": no answer"#;
        let shown = r#"Get "https://h/x?key=[redacted]&n=[redacted]": no answer"#;
        assert_eq!(message(raw, 100), shown);
        assert_eq!(message("why? because", 100), "why? because");
    }

    #[test]
    fn a_name_shows_no_id_of_a_ping() {
        for id in ["0190b7a4-1111-7222-8333-444455556666", "0190B7A411117222833344445555ABCD"] {
            assert_eq!(name_without_ids(&format!("backup {id}!")), "backup [redacted]!");
        }
        assert_eq!(name_without_ids("backup-2026-11-20"), "backup-2026-11-20");
        let id = "0190b7a4-1111-7222-8333-444455556666";
        for raw in [format!("{}{id}", "x".repeat(NAME - 20)), id.replace('-', "-\u{1b}[0m")] {
            let shown = name_without_ids(&raw);
            assert!(!shown.contains("0190b7a4"), "{shown}");
        }
    }

    #[test]
    fn a_name_that_is_an_address_shows_no_secret_of_it() {
        let shown = "Shop https://h/x?key=[redacted]";
        assert_eq!(name_or_address("Shop https://u:hunter2@h/x?key=abc#f"), shown);
        assert_eq!(name_or_address("why? because"), "why? because");
    }

    #[test]
    fn a_quote_cannot_be_left() {
        assert_eq!(quoted("a` and b\n"), "`a' and b`");
    }

    fn check(line: &str, expected: &str) {
        let (got, count) = lines(&[line.to_owned()]);
        assert_eq!(got[0], expected);
        assert_eq!(count > 0, line != expected, "{line}: counted {count}");
    }

    #[test]
    fn secrets_of_known_shapes_are_redacted() {
        check("Authorization: Bearer abc.def.ghi", "Authorization: [redacted]");
        check(r#"{"authorization":"Basic dXNlcjpwdw=="}"#, r#"{"authorization":"[redacted]"}"#);
        check("using bearer 0123456789abcdef now", "using bearer [redacted] now");
        check("jwt eyJhbGciOi.eyJzdWIiOi.c2lnbmF0 end", "jwt [redacted] end");
        check("postgres://app:hunter2@db:5432/app ok", "postgres://[redacted]@db:5432/app ok");
        check("AKIAABCDEFGHIJKLMNOP", "[redacted]");
        check("ghp_0123456789abcdefghij0123456789abcdef", "[redacted]");
        check("xoxb-123456789-abcdef", "[redacted]");
        check("DB_PASSWORD=hunter2 starting", "DB_PASSWORD=[redacted] starting");
        check("token: abc123, next", "token: [redacted], next");
        check(r#"{"api_key":"a b","x":1}"#, r#"{"api_key":[redacted],"x":1}"#);
        check(r#"{\"password\":\"x y\",\"a\":1}"#, r#"{\"password\":[redacted],\"a\":1}"#);
        check("Set-Cookie: sid=1; Path=/", "Set-Cookie: [redacted]");
        check("GET /ping/0190b7a4-1111-7222-8333-444455556666 200", "GET /ping/[redacted] 200");
        check("aws_secret_access_key = wJalrX/abc", "aws_secret_access_key = [redacted]");
    }

    #[test]
    fn secrets_are_found_however_they_are_written() {
        check(":password => 'a b', x", ":password => [redacted], x");
        check("secret := abc", "secret := [redacted]");
        check(r#"{"password":"a\"b,c","x":1}"#, r#"{"password":[redacted],"x":1}"#);
        check(r#"{\"token\":\"a\\\"b\",\"x\":1}"#, r#"{\"token\":[redacted],\"x\":1}"#);
        for name in [
            "secret_key",
            "SECRET_KEY_BASE",
            "encryption_key",
            "signing-key",
            "master_key",
            "AccountKey",
            "auth_key",
            "DB_PASS",
            "app_secret_value",
            "session_id",
        ] {
            check(&format!("{name}=h[x/1 ok"), &format!("{name}=[redacted] ok"));
        }
        check("mysql --password hunter2 -h db", "mysql --password [redacted] -h db");
        check("run --api-key 'a b' now", "run --api-key [redacted] now");
        check("amqp://u:p@ss@mq/v ok", "amqp://[redacted]@mq/v ok");
        check("pg://u:a/b?c#d@db:5432/x", "pg://[redacted]@db:5432/x");
        check("pg://u:12x/b@db/x", "pg://[redacted]@db/x");
        check(r#"{"cookie":"a=b; c=d","x":1}"#, r#"{"cookie":[redacted],"x":1}"#);
        check("cookie=a=b; c=d ok", "cookie=[redacted] ok");
        check("Authorization: AWS4 Credential=a, Signature=b", "Authorization: [redacted]");
        check(
            r#"{"Authorization":["Digest a=\"b\", c"],"x":1}"#,
            r#"{"Authorization":["[redacted]"],"x":1}"#,
        );
        check(r#"authorization="Bearer a" x=1"#, r#"authorization="[redacted]" x=1"#);
        check("{'Authorization': 'Basic a b', 'x': 1}", "{'Authorization': '[redacted]', 'x': 1}");
        check("map[Authorization:[Bearer a]]", "map[Authorization:[redacted]");
        check(r#"{"set-cookie":["a=b","c=d"],"x":1}"#, r#"{"set-cookie":[redacted],"x":1}"#);
        check(r#"{\"authorization\":\"x y\"}"#, r#"{\"authorization\":\"[redacted]\"}"#);
        check("?sv=1&sig=abcDEF%2F0123456789%3D&x", "?sv=1&sig=[redacted]&x");
        check("?X-Amz-Signature=0123abc&x", "?X-Amz-Signature=[redacted]&x");
        for key in [
            "SG.0123456789abcdef.0123456789abcdef",
            "hf_0123456789abcdefghij",
            "whsec_0123456789abcdef",
            "dckr_pat_0123456789abcdef",
            "pypi-AgEIcHlwaS5vcmcCJDAxMjM0NTY3ODk",
            "glsa_0123456789abcdefghij_01234567",
            "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQ",
        ] {
            check(&format!("with {key} ok"), "with [redacted] ok");
        }
        check("api.telegram.org/bot12:aB-c/send", "api.telegram.org/bot[redacted]/send");
        check("discord.com/api/webhooks/1/aB_c ok", "discord.com/api/webhooks/[redacted] ok");
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        for line in [
            "2026-11-20T10:00:00Z INFO listening on http://0.0.0.0:8080/",
            "GET /tokens?max=5 200 12ms",
            "max_tokens=512 used",
            "user a@example.org logged in",
            "password check passed",
            "-----BEGIN CERTIFICATE-----",
            "basic auth enabled",
            "GET http://web:8080/users/a@example.org 200",
            "GET https://example.org/?mail=a@example.org 200",
            "http://[::1]:8080/a@b ok",
            "npm install https://registry.npmjs.org/@types/node",
            "exited with sig=15 sig=SIGTERM",
            "primary_key=id sort-key: name keyboard: us",
            "bypass=true compass: north tests pass: 12",
            "authorization required, cookies=3",
            "usage: run --token-file PATH",
            "tokenizer => ready, secretary: Ann",
            "pypi-server started, hf_hub loaded",
        ] {
            check(line, line);
        }
    }

    #[test]
    fn a_cut_through_a_secret_shows_no_part_of_it() {
        let url = "postgres://app:hunter2SECRET@db/x";
        for long in ["x".repeat(LINE * 8 - 32), "é".repeat(LINE * 8 - 32)] {
            for (before, after) in [(" ", ""), ("\"", "\""), (" {\"a\":\"", "\"}"), ("<", ">")] {
                let line = format!("token={long}{before}{url}{after} and more");
                let (got, count) = lines(&[line]);
                assert!(!got[0].contains("app:"), "{}", got[0]);
                assert!(got[0].starts_with("token=[redacted]"), "{}", got[0]);
                assert!(got[0].ends_with(" more characters]"), "{}", got[0]);
                assert_eq!(count, 1);
            }
        }
        for most in [20, 200] {
            for at in 0..url.len() {
                let raw = format!("token={} {url}", "x".repeat(most * 8 - 7 - at));
                let shown = message(&raw, most);
                assert!(!shown.contains("app"), "{most}, {at}: {shown}");
            }
        }
        let shown = address(&format!("https://user:hunter2{}@h/", "x".repeat(2000)));
        assert!(!shown.contains("user"), "{shown}");
    }

    #[test]
    fn a_key_that_begins_where_no_one_looks_is_found() {
        let begin = format!("{} -----BEGIN PRIVATE KEY-----", "x".repeat(LINE * 9));
        let raw = [&begin, "MIIEabcd", "-----END PRIVATE KEY-----", "after"].map(str::to_owned);
        assert_eq!(
            lines(&raw),
            (vec![REDACTED.into(), REDACTED.into(), REDACTED.into(), "after".into()], 1)
        );
        let colored =
            ["\u{1b}[32m-----BEGIN \u{1b}[0mPRIVATE KEY-----", "MIIEabcd"].map(str::to_owned);
        assert_eq!(lines(&colored), (vec![REDACTED.into(), REDACTED.into()], 1));
        let other = ["-----BEGIN CERTIFICATE----- -----BEGIN PRIVATE KEY-----", "MIIEabcd"];
        assert_eq!(lines(&other.map(str::to_owned)).0, [REDACTED, REDACTED]);
    }

    #[test]
    fn only_ascii_words_end_a_shape() {
        // Only then `regex` can search a text that is not all ASCII in one pass.
        for (pattern, _) in SECRETS {
            let rest = pattern.replace(r"(?-u:\b)", "");
            assert!(!rest.contains(r"\b") && !rest.contains(r"\w"), "{pattern}");
        }
        check("clé_token=abc é", "clé_token=[redacted] é");
        check("épassword=abc", "épassword=[redacted]");
    }

    #[test]
    fn a_private_key_over_several_lines_is_one_secret() {
        let log = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\nZZZZ==\n-----END RSA PRIVATE KEY-----";
        let (got, count) = lines(&log(&format!("before\n{key}\nafter")));
        assert_eq!(got, ["before", REDACTED, REDACTED, REDACTED, REDACTED, "after"]);
        assert_eq!(count, 1);
        let (got, count) = lines(&log("started ok\nMIIEabcd\nZZZZ==\n-----END PRIVATE KEY-----"));
        assert_eq!(got, ["started ok", REDACTED, REDACTED, "-----END PRIVATE KEY-----"]);
        assert_eq!(count, 1);
        let (got, count) =
            lines(&log(r"key=-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----."));
        assert_eq!((got[0].as_str(), count), ("key=[redacted].", 1));
    }
}
