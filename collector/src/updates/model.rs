//! What is known of a container's image here and at its registry, and what follows from it.

use std::fmt;

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use serde::{Deserialize, Serialize};

use super::reference::{Reference, short};
use super::tags::{Choice, Shape, Step};
use crate::wording::quoted;

/// The word for the size of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateType {
    Major,
    Minor,
    Patch,
    /// The same tag names another image.
    DigestOnly,
}

impl UpdateType {
    const ALL: [Self; 4] = [Self::Major, Self::Minor, Self::Patch, Self::DigestOnly];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Patch => "patch",
            Self::DigestOnly => "digest_only",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// 0 to 100, by the contract.
    pub fn risk(self) -> i64 {
        match self {
            Self::Major => 85,
            Self::Minor => 50,
            Self::Patch => 15,
            Self::DigestOnly => 5,
        }
    }

    /// How urgent an alert of it is, by the contract's bounds of risk.
    pub fn severity(self) -> Severity {
        match self.risk() {
            81.. => Severity::Critical,
            61.. => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

impl From<Step> for UpdateType {
    fn from(step: Step) -> Self {
        match step {
            Step::Major => Self::Major,
            Step::Minor => Self::Minor,
            Step::Patch => Self::Patch,
        }
    }
}

/// What is so for a container, pins aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    Available,
    UpToDate,
    /// There is nothing to compare with, or nobody wants it compared.
    Untracked,
    /// No check has succeeded yet.
    #[default]
    Unknown,
}

impl Status {
    const ALL: [Self; 4] = [Self::Available, Self::UpToDate, Self::Untracked, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::UpToDate => "up_to_date",
            Self::Untracked => "untracked",
            Self::Unknown => "unknown",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// What a check found, and the sentence that says why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub status: Status,
    pub update_type: Option<UpdateType>,
    pub latest_tag: String,
    /// Empty if it is not known.
    pub latest_digest: String,
    pub why: String,
}

impl Verdict {
    pub fn untracked(why: impl Into<String>) -> Self {
        Self { status: Status::Untracked, why: why.into(), ..Self::default() }
    }
}

/// A processor and system that an image is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    /// What one side does not name is any.
    fn fits(&self, other: &Self) -> bool {
        let is_one = |a: &str, b: &str| a == b || a.is_empty() || b.is_empty();
        is_one(&self.os, &other.os)
            && is_one(&self.architecture, &other.architecture)
            && is_one(&self.variant, &other.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.os, &self.architecture, &self.variant].map(String::as_str);
        to.write_str(parts.join("/").trim_matches('/'))
    }
}

/// An image of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    pub digest: String,
    pub platform: Platform,
}

/// The images of an index that a platform may run: the exact variant, else all that fit.
pub fn children_for<'c>(children: &'c [Child], platform: &Platform) -> Vec<&'c str> {
    let of = |fits: &dyn Fn(&Platform) -> bool| -> Vec<&'c str> {
        let fitting = children.iter().filter(|child| fits(&child.platform));
        fitting.map(|child| child.digest.as_str()).collect()
    };
    let exact = of(&|other| other == platform);
    if exact.is_empty() { of(&|other| platform.fits(other)) } else { exact }
}

/// The image that a container runs, as the engine knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    pub platform: Platform,
    /// Every digest a registry has named it by, of any repository: equal digests are equal images.
    pub digests: Vec<String>,
    /// That of the reference's own repository, if one is known.
    pub own_digest: Option<String>,
}

/// How what a tag names relates to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    Same,
    /// The index is another, and the image for this platform is the one that runs.
    SamePlatform,
    /// The index has no image for this platform.
    Absent,
    Different,
}

/// Compares with what a tag names now. `children` are those of the remote index, and of the indexes
/// that run, as far as they are known; what has none is a single image.
pub fn compare(
    running: &Running,
    remote: &str,
    children: &dyn Fn(&str) -> Option<Vec<Child>>,
) -> Sameness {
    if running.digests.iter().any(|digest| digest == remote) {
        return Sameness::Same;
    }
    let remote_children = children(remote).unwrap_or_default();
    let offered = match remote_children.as_slice() {
        [] => vec![remote],
        children => children_for(children, &running.platform),
    };
    if offered.is_empty() {
        return Sameness::Absent;
    }
    let is_offered = |digest: &String| {
        offered.contains(&digest.as_str())
            || children(digest).is_some_and(|known| {
                let mut fitting = children_for(&known, &running.platform).into_iter();
                fitting.any(|child| offered.contains(&child))
            })
    };
    if running.digests.iter().any(is_offered) {
        Sameness::SamePlatform
    } else {
        Sameness::Different
    }
}

/// What was learnt of the registry's side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learnt {
    /// What the present tag names, and how that relates; `None` where a digest pins the image.
    pub present: Option<(String, Sameness)>,
    /// `None` where tags are not looked at.
    pub choice: Option<Choice>,
    /// What the chosen tag names.
    pub newest_digest: String,
}

/// Decides. `reference` has a tag.
pub fn decide(reference: &Reference, running: &Running, learnt: &Learnt) -> Verdict {
    let tag = reference.effective_tag().unwrap_or_default();
    let (name, registry) = (quoted(tag), quoted(&reference.registry));
    let form = Shape::parse(tag).map(|shape| shape.form()).unwrap_or_default();
    let runs = running.own_digest.as_deref().or(running.digests.first().map(String::as_str));
    let runs = short(runs.unwrap_or_default());
    let choice = learnt.choice.as_ref();
    let aside = choice.map(remarks).unwrap_or_default();
    if let Some((newest, step)) = choice.and_then(|choice| choice.newest.as_ref()) {
        let comparable = choice.map_or(0, |choice| choice.comparable);
        let rebuilt = match &learnt.present {
            Some((_, Sameness::Different)) => format!("; {name} itself has a new image too"),
            _ => String::new(),
        };
        return Verdict {
            status: Status::Available,
            update_type: Some((*step).into()),
            latest_tag: newest.clone(),
            latest_digest: learnt.newest_digest.clone(),
            why: format!(
                "{} is the newest of {comparable} tags of the form {form} at {registry}, and the \
                 container runs {name}{rebuilt}{aside}",
                quoted(newest)
            ),
        };
    }
    let no_newer = match choice {
        Some(choice) if choice.comparable > 0 && choice.beyond.is_none() => {
            format!(", and no tag of the form {form} is newer")
        }
        _ => String::new(),
    };
    match &learnt.present {
        Some((remote, Sameness::Different)) => Verdict {
            status: Status::Available,
            update_type: Some(UpdateType::DigestOnly),
            latest_tag: tag.to_owned(),
            latest_digest: remote.clone(),
            why: format!(
                "{name} at {registry} now names {}, and the container runs {runs}{no_newer}{aside}",
                short(remote)
            ),
        },
        present => {
            let same = match present {
                Some((_, Sameness::SamePlatform)) => format!(
                    "{name} at {registry} was rebuilt for other platforms, and names what the \
                     container runs for this one"
                ),
                Some((_, Sameness::Absent)) => {
                    format!("{name} at {registry} has no image for {}", running.platform)
                }
                Some((remote, _)) => format!(
                    "the container runs what {name} names at {registry} ({})",
                    short(remote)
                ),
                None => format!("the image is pinned to {runs} by its reference"),
            };
            Verdict {
                status: Status::UpToDate,
                latest_tag: tag.to_owned(),
                latest_digest: present
                    .as_ref()
                    .map(|(remote, _)| remote.clone())
                    .unwrap_or_default(),
                why: format!("{same}{no_newer}{aside}"),
                update_type: None,
            }
        }
    }
}

/// What exists besides, and is not proposed.
fn remarks(choice: &Choice) -> String {
    let beyond = choice.beyond.as_ref();
    let beyond = beyond.map(|tag| format!("; {} is a larger step than asked for", quoted(tag)));
    let elsewhere = choice.elsewhere.as_ref();
    let elsewhere = elsewhere.map(|tag| format!("; {} exists, which is another line", quoted(tag)));
    beyond.into_iter().chain(elsewhere).collect()
}

/// A verdict as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// The image as the container was asked for.
    pub image: String,
    pub registry: String,
    pub current_tag: String,
    /// What runs; empty if no registry has named it.
    pub current_digest: String,
    pub verdict: Verdict,
    /// Since when it is so.
    pub detected_at: Timestamp,
    /// When the last check succeeded.
    pub checked_at: Option<Timestamp>,
    /// Why the newest check failed, or what limits its verdict.
    pub error: Option<String>,
    /// The newest check failed, and the verdict is from before.
    pub stale: bool,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With what limits it.
    Found(Verdict, Option<String>),
    Failed(String),
}

/// The new state after a check of `image` that runs with `running`. A failed one keeps the verdict,
/// which then holds only for the same image and until what was found is what runs.
pub fn after(
    before: Option<Check>,
    mut now_is: Check,
    outcome: Outcome,
    running: &Running,
    now: Timestamp,
) -> Check {
    let is_about_it = |before: &Check| {
        before.image == now_is.image || is_settled(&before.verdict, &now_is.current_tag, running)
    };
    let before = before.filter(is_about_it);
    match outcome {
        Outcome::Found(verdict, limit) => {
            let is_same = |before: &Check| {
                before.verdict.status == verdict.status
                    && before.verdict.latest_tag == verdict.latest_tag
                    && (before.verdict.latest_digest == verdict.latest_digest
                        || verdict.update_type != Some(UpdateType::DigestOnly))
            };
            let since = before.filter(is_same).map(|before| before.detected_at);
            now_is.detected_at = since.unwrap_or(now);
            now_is.checked_at = Some(now);
            now_is.verdict = verdict;
            now_is.error = limit;
            now_is.stale = false;
        }
        Outcome::Failed(error) => {
            now_is.error = Some(error);
            let kept = before.filter(|before| before.verdict.status != Status::Unknown);
            now_is.stale = kept.is_some();
            now_is.detected_at = now;
            if let Some(before) = kept {
                now_is.detected_at = before.detected_at;
                now_is.checked_at = before.checked_at;
                now_is.verdict = before.verdict;
                settle(&mut now_is, running, now);
            } else {
                "no check has succeeded yet".clone_into(&mut now_is.verdict.why);
            }
        }
    }
    now_is
}

/// An update that was found before and runs now is none any more.
fn settle(check: &mut Check, running: &Running, now: Timestamp) {
    let verdict = &mut check.verdict;
    if is_settled(verdict, &check.current_tag, running) {
        let why = format!("the container now runs {}", short(&verdict.latest_digest));
        verdict.status = Status::UpToDate;
        verdict.update_type = None;
        verdict.why = why;
        check.detected_at = now;
    }
}

fn is_settled(verdict: &Verdict, current_tag: &str, running: &Running) -> bool {
    verdict.status == Status::Available
        && verdict.latest_tag == current_tag
        && running.digests.contains(&verdict.latest_digest)
}
