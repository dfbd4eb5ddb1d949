//! Which tags can be compared, and which of them is the newest.
//!
//! A tag such as `v1.27.4-alpine3.20` has a prefix (`v`), a core of numbers (`1.27.4`) and a suffix.
//! Tags are comparable where prefix, number of numbers, kind of core and suffix are the same. In a
//! suffix only counters may differ: `-ls215`, `-r3`, `-rc1`; the base `alpine3.20` may not. So a
//! release is never compared with a pre-release, a version never with a date, and `1.27` never with
//! `1.27.4`. A single number is a channel: what it names changes, and there is none newer.

use std::cmp::Ordering;

/// What a newer tag would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Patch,
    Minor,
    Major,
}

/// What the core counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Version,
    /// Begins with a year: `2024.9.1`.
    Calendar,
    /// `20240901`, with its number of digits; without any `2024-09-01`.
    Date(usize),
    /// A single number.
    Channel,
}

/// A tag taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape<'a> {
    prefix: &'a str,
    kind: Kind,
    core: Vec<u64>,
    suffix: &'a str,
    /// The suffix with `#` for counters, `%` for long ones, and `~` for a commit.
    family: String,
    counters: Vec<u64>,
}

/// Words before a number that counts builds.
const BUILDS: [&str; 7] = ["ls", "r", "b", "build", "rev", "p", "pl"];
/// Words of what is not released yet.
const PRE_RELEASES: [&str; 18] = [
    "alpha", "beta", "rc", "pre", "preview", "dev", "nightly", "snapshot", "canary", "edge",
    "next", "unstable", "testing", "insiders", "m", "cr", "ea", "a",
];

impl<'a> Shape<'a> {
    /// `None` for a tag without a core: `latest`, `alpine`, a commit.
    pub fn parse(tag: &'a str) -> Option<Self> {
        let bytes = tag.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let begin = if digit(0) {
            0
        } else if matches!(bytes.first(), Some(b'v' | b'V')) && digit(1) {
            1
        } else {
            inner_core(tag)?
        };
        let (prefix, rest) = tag.split_at_checked(begin)?;
        let (numbers, mut suffix) = dotted(rest);
        let mut core = numbers_of(numbers)?;
        let first = *core.first()?;
        let digits = numbers.split('.').next()?;
        let kind = if is_date(digits) {
            Kind::Date(digits.len())
        } else if core.len() == 1 {
            match hyphenated(first, suffix) {
                Some((month, day, rest)) => {
                    core.extend([month, day]);
                    suffix = rest;
                    Kind::Date(0)
                }
                None => Kind::Channel,
            }
        } else if (1990..=2099).contains(&first) {
            Kind::Calendar
        } else {
            Kind::Version
        };
        let (family, counters) = family(suffix);
        Some(Self { prefix, kind, core, suffix, family, counters })
    }

    /// Whether it names whatever is newest of a line: what it names is compared, not its name.
    pub fn is_channel(&self) -> bool {
        self.kind == Kind::Channel
    }

    pub fn is_pre_release(&self) -> bool {
        words(&self.family).any(|word| {
            PRE_RELEASES.contains(&&*word.to_ascii_lowercase())
                || (word.eq_ignore_ascii_case("b")
                    && (!self.suffix.starts_with('-') || self.family.contains("-b.#")))
        })
    }

    fn is_comparable(&self, other: &Self) -> bool {
        self.prefix == other.prefix
            && self.kind == other.kind
            && self.core.len() == other.core.len()
            && self.family == other.family
    }

    fn order(&self, other: &Self) -> Ordering {
        self.core.cmp(&other.core).then_with(|| self.counters.cmp(&other.counters))
    }

    /// What going from here to a newer one changes. Years and months break nothing by themselves.
    fn step(&self, newer: &Self) -> Step {
        let place = self.core.iter().zip(&newer.core).position(|(a, b)| a != b);
        match (place, self.kind) {
            (Some(0), Kind::Version | Kind::Channel) => Step::Major,
            (Some(1), Kind::Version) | (Some(0 | 1), Kind::Calendar) => Step::Minor,
            _ => Step::Patch,
        }
    }

    /// Its form for people: `vN.N.N-alpine3.20`.
    pub fn form(&self) -> String {
        let numbers = match self.kind {
            Kind::Date(_) => "DATE".to_owned(),
            _ => vec!["N"; self.core.len()].join("."),
        };
        let suffix = self.family.replace(['#', '%'], "N").replace('~', "COMMIT");
        format!("{}{numbers}{suffix}", self.prefix)
    }
}

/// Where the core begins in a tag that does not begin with it: its first dotted number, else its first
/// date.
fn inner_core(tag: &str) -> Option<usize> {
    let bytes = tag.as_bytes();
    let is_begin = |at: usize| {
        bytes.get(at).is_some_and(u8::is_ascii_digit)
            && !at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit)
    };
    let begins = (0..bytes.len()).filter(|at| is_begin(*at));
    let rest = |at: usize| tag.get(at..).unwrap_or_default();
    let is_dotted = |at: &usize| dotted(rest(*at)).0.contains('.');
    let is_dated = |at: &usize| {
        let (numbers, suffix) = dotted(rest(*at));
        is_date(numbers) || numbers.parse().is_ok_and(|year| hyphenated(year, suffix).is_some())
    };
    begins.clone().find(is_dotted).or_else(|| begins.clone().find(is_dated))
}

/// The numbers with dots between them that a text begins with, and the rest.
fn dotted(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let dot_before_digit =
            *byte == b'.' && end > 0 && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !byte.is_ascii_digit() && !dot_before_digit {
            break;
        }
        end += 1;
    }
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn numbers_of(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

/// `YYYYMM`, `YYYYMMDD`, or with hours, minutes and seconds.
fn is_date(digits: &str) -> bool {
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u32>().ok();
    matches!(digits.len(), 6 | 8 | 10 | 12 | 14)
        && part(0, 4).is_some_and(|year| (1990..=2099).contains(&year))
        && part(4, 6).is_some_and(|month| (1..=12).contains(&month))
        && (digits.len() == 6 || part(6, 8).is_some_and(|day| (1..=31).contains(&day)))
}

/// Month and day of `2024-09-01` behind its year, and what follows.
fn hyphenated(year: u64, suffix: &str) -> Option<(u64, u64, &str)> {
    let (month, day) = (suffix.get(1..3)?.parse().ok()?, suffix.get(4..6)?.parse().ok()?);
    let is_one = (1990..=2099).contains(&year)
        && suffix.starts_with('-')
        && suffix.get(3..4) == Some("-")
        && (1..=12).contains(&month)
        && (1..=31).contains(&day);
    is_one.then_some((month, day, suffix.get(6..)?))
}

/// The letters of a suffix, run by run.
fn words(suffix: &str) -> impl Iterator<Item = &str> {
    suffix.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

/// A suffix with `#` in place of its counters, and these. A number that is the whole suffix counts
/// too, as revisions of Debian do, and one behind `_`, as builds of Java do. Dates and other long
/// numbers (`%`) count something else than short ones. A commit (`~`) has no order.
fn family(suffix: &str) -> (String, Vec<u64>) {
    let (mut family, mut counters) = (String::with_capacity(suffix.len()), Vec::new());
    let (mut rest, commit) = match suffix.rsplit_once('-') {
        Some((before, last)) if is_commit(last) => (before, "-~"),
        _ => (suffix, ""),
    };
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        family.push_str(before);
        let (numbers, after) = dotted(from);
        let word = family.trim_end_matches(['.', '-', '_']);
        let letters = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let word = word.get(letters.len()..).unwrap_or_default().to_ascii_lowercase();
        let is_apart = family.ends_with(['.', '-', '_']);
        let is_build = !is_apart && BUILDS.contains(&&*word);
        let is_pre = PRE_RELEASES.contains(&&*word) || family.ends_with("-b.");
        let is_behind = family == "_" || (family == "-" && after.is_empty());
        // The time of a day: `T20-26-02Z`.
        let is_time = (letters.is_empty() && word == "t") || family.starts_with("T#");
        match numbers.parse() {
            Ok(number) if is_build || is_pre || is_behind || is_time => {
                family.push(if numbers.len() >= 7 || is_date(numbers) { '%' } else { '#' });
                counters.push(number);
            }
            _ => family.push_str(numbers),
        }
        rest = after;
    }
    family.push_str(rest);
    family.push_str(commit);
    (family, counters)
}

/// Hexadecimal digits as of a commit, short or whole; not a number, and not a word.
fn is_commit(text: &str) -> bool {
    (7..=40).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Tags that come with an image rather than being one: signatures, attestations, commits.
pub fn is_attachment(tag: &str) -> bool {
    let ends = [".sig", ".att", ".sbom"];
    let begins = ["sha256-", "sha-"];
    ends.iter().any(|end| tag.ends_with(end)) || begins.iter().any(|begin| tag.starts_with(begin))
}

/// The newest of many tags, in the eyes of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Comparable and newer, and no larger a step than asked for.
    pub newest: Option<(String, Step)>,
    /// Of the same form, the own tag included.
    pub comparable: usize,
    /// Newer and not comparable, worth a word: the next channel, the next base, the release after a
    /// pre-release.
    pub elsewhere: Option<String>,
    /// Comparable and newer, but for the limit.
    pub beyond: Option<String>,
}

/// Chooses among `tags` for `current`; `limit` is the largest step, `None` for none at all.
pub fn choose<'t>(
    current: &Shape<'_>,
    tags: impl Iterator<Item = &'t str>,
    limit: Option<Step>,
    is_wanted: impl Fn(&str) -> bool,
) -> Choice {
    let mut newest: Option<(Shape<'t>, &'t str, Step)> = None;
    let mut beyond: Option<(Shape<'t>, &'t str)> = None;
    let mut elsewhere: Option<(Shape<'t>, &'t str)> = None;
    let mut comparable = 0;
    let is_pre = current.is_pre_release();
    for tag in tags {
        // Nothing else can be comparable, and this is cheap.
        if !tag.starts_with(current.prefix) || is_attachment(tag) {
            continue;
        }
        let Some(shape) = Shape::parse(tag) else { continue };
        if current.is_comparable(&shape) && !current.is_channel() {
            comparable += 1;
            if shape.order(current) != Ordering::Greater || !is_wanted(tag) {
                continue;
            }
            let step = current.step(&shape);
            if limit.is_some_and(|limit| step <= limit) {
                if newest.as_ref().is_none_or(|(best, ..)| shape.order(best).is_gt()) {
                    newest = Some((shape, tag, step));
                }
            } else if beyond.as_ref().is_none_or(|(best, _)| shape.order(best).is_gt()) {
                beyond = Some((shape, tag));
            }
        } else if is_worth_a_word(current, &shape, is_pre)
            && is_wanted(tag)
            && elsewhere.as_ref().is_none_or(|(best, _)| shape.order(best).is_gt())
        {
            elsewhere = Some((shape, tag));
        }
    }
    Choice {
        newest: newest.map(|(_, tag, step)| (tag.to_owned(), step)),
        comparable,
        elsewhere: elsewhere.map(|(_, tag)| tag.to_owned()),
        beyond: beyond.map(|(_, tag)| tag.to_owned()),
    }
}

fn is_worth_a_word(current: &Shape<'_>, other: &Shape<'_>, is_pre: bool) -> bool {
    let alike = current.prefix == other.prefix
        && current.kind == other.kind
        && current.core.len() == other.core.len();
    if !alike {
        return false;
    }
    let newer = other.core > current.core;
    if current.is_channel() {
        // Four digits and more count builds.
        let small = other.core.first().is_some_and(|number| *number < 1000);
        return newer && small && current.suffix == other.suffix;
    }
    if is_pre {
        return other.core >= current.core && other.suffix.is_empty();
    }
    newer && !other.is_pre_release() && is_same_but_numbers(current.suffix, other.suffix)
}

fn is_same_but_numbers(a: &str, b: &str) -> bool {
    let blank = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    !a.is_empty() && blank(a) == blank(b)
}
