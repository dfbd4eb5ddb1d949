//! What a container's labels `maintenant.update.*` ask for, and what users have excluded.

use std::collections::BTreeMap;

use regex::Regex;

use super::reference::{Reference, mirror};
use super::tags::Step;
use crate::problems::Fault;

pub const PREFIX: &str = "maintenant.update.";
/// Bytes of a compiled pattern: labels are foreign.
const PATTERN_BYTES: usize = 64 * 1024;

/// How far an update may go to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// No other tag, only what the present one names.
    Digest,
    UpTo(Step),
}

/// Which updates are alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlertOn {
    #[default]
    All,
    /// Those of critical severity.
    Critical,
    None,
}

impl AlertOn {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Critical => "critical",
            Self::None => "none",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "all" | "available" => Some(Self::All),
            "critical" => Some(Self::Critical),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// What is asked for. A label that cannot be read keeps its default.
#[derive(Debug, Clone)]
pub struct Policy {
    pub enabled: bool,
    pub track: Track,
    /// The label `pin`; any text freezes.
    pub pin: Option<String>,
    /// Asked in place of the registry of the reference.
    pub registry: Option<String>,
    pub alert_on: AlertOn,
    pub include: Option<Regex>,
    pub exclude: Option<Regex>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enabled: true,
            track: Track::UpTo(Step::Major),
            pin: None,
            registry: None,
            alert_on: AlertOn::All,
            include: None,
            exclude: None,
        }
    }
}

impl Policy {
    /// Reads labels, and says which cannot be read.
    pub fn read(labels: &BTreeMap<String, String>) -> (Self, Vec<Fault>) {
        let mut policy = Self::default();
        let mut faults = Vec::new();
        let (mut track, mut ignore_major, mut digest_only) = (None, false, false);
        for (key, value) in labels {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            let read = match name {
                "enabled" => boolean(value).map(|enabled| policy.enabled = enabled),
                "track" => tracked(value).map(|asked| track = Some(asked)),
                "pin" => {
                    policy.pin = Some(value.to_owned());
                    Ok(())
                }
                "ignore_major" => boolean(value).map(|asked| ignore_major = asked),
                "digest_only" => boolean(value).map(|asked| digest_only = asked),
                "registry" => mirror(value).map(|host| policy.registry = Some(host)),
                "alert_on" => AlertOn::parse(&value.to_ascii_lowercase())
                    .map(|asked| policy.alert_on = asked)
                    .ok_or_else(|| "use all, critical or none".to_owned()),
                "tag-include" => pattern(value).map(|read| policy.include = Some(read)),
                "tag-exclude" => pattern(value).map(|read| policy.exclude = Some(read)),
                _ => Err("there is no such label; see the documentation of updates".to_owned()),
            };
            if let Err(error) = read {
                faults.push(Fault { label_key: key.clone(), error });
            }
        }
        policy.track = match (digest_only, track) {
            (true, _) => Track::Digest,
            (false, None | Some(Track::UpTo(Step::Major))) if ignore_major => {
                Track::UpTo(Step::Minor)
            }
            (false, track) => track.unwrap_or(policy.track),
        };
        (policy, faults)
    }

    pub fn limit(&self) -> Option<Step> {
        match self.track {
            Track::Digest => None,
            Track::UpTo(step) => Some(step),
        }
    }

    /// Whether a tag may be proposed.
    pub fn wants(&self, tag: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(tag))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(tag))
    }
}

fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("use true or false".to_owned()),
    }
}

fn tracked(value: &str) -> Result<Track, String> {
    match value.to_ascii_lowercase().as_str() {
        "major" => Ok(Track::UpTo(Step::Major)),
        "minor" => Ok(Track::UpTo(Step::Minor)),
        "patch" => Ok(Track::UpTo(Step::Patch)),
        "digest" => Ok(Track::Digest),
        _ => Err("use major, minor, patch or digest".to_owned()),
    }
}

fn pattern(value: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(value).size_limit(PATTERN_BYTES).build().map_err(|error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        format!("it is no regular expression: {}", maintenant_serve::logging::foreign(last))
    })
}

/// What an exclusion is matched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Image,
    Tag,
}

impl Subject {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Tag => "tag",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Image, Self::Tag].into_iter().find(|subject| subject.as_str() == word)
    }
}

/// Images and tags that are not looked at.
#[derive(Debug, Clone, Default)]
pub struct Exclusions(Vec<(Subject, String, Regex)>);

impl Exclusions {
    /// Patterns that cannot be read are left out; they are refused before they are stored.
    pub fn new(patterns: impl IntoIterator<Item = (Subject, String)>) -> Self {
        let compiled = patterns.into_iter().filter_map(|(subject, text)| {
            let compiled = glob(&text).ok()?;
            Some((subject, text, compiled))
        });
        Self(compiled.collect())
    }

    /// The pattern that leaves out an image by its name or its present tag.
    pub fn find(&self, reference: &Reference) -> Option<&str> {
        let name = reference.name();
        let full = format!("{}/{}", reference.registry, reference.repository);
        let tag = reference.effective_tag();
        let matching = self.0.iter().find(|(subject, _, glob)| match subject {
            Subject::Image => {
                let tagged = tag.map(|tag| format!("{name}:{tag}"));
                [Some(&name), Some(&full), tagged.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|name| glob.is_match(name))
            }
            Subject::Tag => tag.is_some_and(|tag| glob.is_match(tag)),
        });
        matching.map(|(_, text, _)| text.as_str())
    }

    /// Whether a tag may be proposed.
    pub fn wants(&self, tag: &str) -> bool {
        !self.0.iter().any(|(subject, _, glob)| *subject == Subject::Tag && glob.is_match(tag))
    }
}

/// A shell pattern for a whole text: `*` for anything, `?` for one character, `[a-z]` and `[!a-z]`
/// for one of some.
pub fn glob(text: &str) -> Result<Regex, String> {
    let mut pattern = "^(?s:".to_owned();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' => {
                let set: String = letters.by_ref().take_while(|letter| *letter != ']').collect();
                let (not, set) = match set.strip_prefix(['!', '^']) {
                    Some(rest) => ("^", rest),
                    None => ("", &*set),
                };
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                if set.is_empty() || !set.chars().all(plain) {
                    return Err("a [...] holds letters, digits, `-`, `.` and `_`".to_owned());
                }
                for part in ["[", not, &set.replace('.', "\\."), "]"] {
                    pattern.push_str(part);
                }
            }
            '\\' => pattern
                .push_str(&regex::escape(&letters.next().map(String::from).unwrap_or_default())),
            letter => pattern.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push_str(")$");
    regex::RegexBuilder::new(&pattern)
        .size_limit(PATTERN_BYTES)
        .build()
        .map_err(|_| "it is no shell pattern such as ghcr.io/acme/* or *-rc?".to_owned())
}
