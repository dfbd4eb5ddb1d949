//! What registries say of the images that run: one HEAD for each reference, one list for each
//! repository whose tags are compared, and of an index that is new its contents, once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::model::{Child, Learnt, Outcome, Running, compare, decide};
use super::policy::{Exclusions, Policy};
use super::reference::{Place, Reference};
use super::registry::{Fault, MOST_TAGS, Registries, Tags};
use super::sql;
use super::tags::{Shape, choose};
use crate::store::Store;

/// Indexes that run and are asked for, of one image.
const MOST_OLD: usize = 3;

/// An image that runs, to be compared.
#[derive(Debug, Clone)]
pub struct Subject {
    pub reference: Reference,
    pub policy: Policy,
    pub running: Running,
    /// What was found last time: tag and digest.
    pub known: Option<(String, String)>,
}

/// The images of indexes: those that are stored, and those that a scan learns.
pub struct Indexes {
    store: Store,
    known: Mutex<HashMap<String, Vec<Child>>>,
    learnt: Mutex<Vec<(String, Vec<Child>)>>,
}

impl Indexes {
    pub fn new(store: Store) -> Self {
        Self { store, known: Mutex::default(), learnt: Mutex::default() }
    }

    async fn find(
        &self,
        registries: &Registries,
        place: &Place,
        digest: &str,
    ) -> Result<Vec<Child>, Fault> {
        if let Some(known) = self.known(digest) {
            return Ok(known);
        }
        let wanted = digest.to_owned();
        let stored = self.store.read(move |db| sql::find_index(db, &wanted)).await;
        let children = if let Ok(Some(children)) = stored {
            children
        } else {
            let children = registries.children(place, digest).await?;
            let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
            learnt.push((digest.to_owned(), children.clone()));
            children
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(digest.to_owned(), children.clone());
        Ok(children)
    }

    fn known(&self, digest: &str) -> Option<Vec<Child>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// What is to be stored.
    pub fn take_learnt(&self) -> Vec<(String, Vec<Child>)> {
        std::mem::take(&mut self.learnt.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks at all subjects of one repository. The outcomes are in their order.
pub async fn look(
    registries: &Registries,
    indexes: &Indexes,
    exclusions: &Exclusions,
    place: &Place,
    subjects: &[Arc<Subject>],
) -> Vec<Outcome> {
    let mut digests = Digests { registries, place, known: BTreeMap::new() };
    let compares_tags = |subject: &Subject| {
        subject.policy.limit().is_some()
            && subject.reference.effective_tag().and_then(Shape::parse).is_some()
    };
    let mut tags = None;
    if subjects.iter().any(|subject| compares_tags(subject)) {
        tags = Some(registries.tags(place).await);
    }
    let mut outcomes = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let tags = tags.as_ref().filter(|_| compares_tags(subject));
        let learnt = learn(&mut digests, indexes, exclusions, subject, tags).await;
        outcomes.push(match learnt {
            Ok((learnt, limit)) => {
                Outcome::Found(decide(&subject.reference, &subject.running, &learnt), limit)
            }
            Err(fault) => Outcome::Failed(fault.to_string()),
        });
    }
    outcomes
}

/// What the tags of a repository name, each asked for once.
struct Digests<'a> {
    registries: &'a Registries,
    place: &'a Place,
    known: BTreeMap<String, Result<String, Fault>>,
}

impl Digests<'_> {
    async fn of(&mut self, tag: &str) -> Result<String, Fault> {
        if let Some(known) = self.known.get(tag) {
            return known.clone();
        }
        let digest = self.registries.digest(self.place, tag).await;
        self.known.insert(tag.to_owned(), digest.clone());
        digest
    }
}

/// What there is to decide by, and what limits it.
async fn learn(
    digests: &mut Digests<'_>,
    indexes: &Indexes,
    exclusions: &Exclusions,
    subject: &Subject,
    tags: Option<&Result<Tags, Fault>>,
) -> Result<(Learnt, Option<String>), Fault> {
    let Subject { reference, policy, running, known } = subject;
    let tag = reference.effective_tag().unwrap_or_default();
    let mut learnt = Learnt::default();
    if reference.digest.is_none() {
        let remote = digests.of(tag).await?;
        let (registries, place) = (digests.registries, digests.place);
        if !running.digests.contains(&remote) {
            let children = indexes.find(registries, place, &remote).await?;
            // Nothing is won by knowing the old where the new is no index.
            for old in running.digests.iter().take(MOST_OLD).filter(|_| !children.is_empty()) {
                indexes.find(registries, place, old).await?;
            }
        }
        let sameness = compare(running, &remote, &|digest| indexes.known(digest));
        learnt.present = Some((remote, sameness));
    }
    let (Some(tags), Some(shape)) = (tags, Shape::parse(tag)) else { return Ok((learnt, None)) };
    let tags = match tags {
        Ok(tags) => tags,
        // Of a channel, the list only serves a remark.
        Err(fault) if shape.is_channel() => return Ok((learnt, Some(fault.to_string()))),
        Err(fault) => return Err(fault.clone()),
    };
    let wants = |tag: &str| policy.wants(tag) && exclusions.wants(tag);
    let choice = choose(&shape, tags.tags.iter().map(String::as_str), policy.limit(), wants);
    if let Some((newest, _)) = &choice.newest {
        let known = known.as_ref().filter(|(tag, digest)| tag == newest && !digest.is_empty());
        learnt.newest_digest = match known {
            Some((_, digest)) => digest.clone(),
            // It serves the commands alone.
            None => digests.of(newest).await.unwrap_or_default(),
        };
    }
    learnt.choice = Some(choice);
    let limit = tags.is_cut.then(|| {
        format!(
            "the repository has more than {MOST_TAGS} tags, and only the first are compared; \
             maintenant.update.digest_only=true compares none"
        )
    });
    Ok((learnt, limit))
}
