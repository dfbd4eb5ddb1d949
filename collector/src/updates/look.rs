//! What registries say of the images that run: one HEAD for each reference, one list for each
//! repository whose tags are compared, and of an index that is new its contents, once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::model::{Child, Learnt, Outcome, Running, Sameness, compare, decide};
use super::policy::{Exclusions, Policy};
use super::reference::{Place, Reference};
use super::registry::{Fault, Registries, Tags};
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
    pub known: Option<Known>,
}

/// What was found last time.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What it was found for.
    pub image: String,
    pub registry: String,
    pub tag: String,
    pub digest: String,
}

/// The images of indexes: those that are stored, and those that a scan learns. A digest names the same
/// index everywhere; which registry lacks it is another matter.
pub struct Indexes {
    store: Store,
    known: Mutex<HashMap<String, Vec<Child>>>,
    learnt: Mutex<Vec<(String, Vec<Child>)>>,
    misses: Misses,
}

/// Manifests that run and that their registries do not have any more; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Misses(Arc<Mutex<HashSet<(Place, String)>>>);

impl Misses {
    fn lock(&self) -> MutexGuard<'_, HashSet<(Place, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Indexes {
    pub fn new(store: Store, misses: Misses) -> Self {
        Self { store, known: Mutex::default(), learnt: Mutex::default(), misses }
    }

    /// Lets [`Indexes::known`] tell what a digest holds, if the registry has it.
    async fn find(
        &self,
        registries: &Registries,
        place: &Place,
        digest: &str,
    ) -> Result<bool, Fault> {
        if self.known(digest).is_some() {
            return Ok(true);
        }
        let wanted = digest.to_owned();
        let stored = self.store.read(move |db| sql::find_index(db, &wanted)).await;
        let children = if let Ok(Some(children)) = stored {
            children
        } else {
            let Some(children) = registries.children(place, digest).await? else {
                return Ok(false);
            };
            let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
            learnt.push((digest.to_owned(), children.clone()));
            children
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(digest.to_owned(), children);
        Ok(true)
    }

    /// The same for what runs: a registry that does not have it any more is not asked again.
    async fn find_old(
        &self,
        registries: &Registries,
        place: &Place,
        digest: &str,
    ) -> Result<(), Fault> {
        let miss = (place.clone(), digest.to_owned());
        let is_missed = self.misses.lock().contains(&miss);
        if !is_missed && !self.find(registries, place, digest).await? {
            self.misses.lock().insert(miss);
        }
        Ok(())
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

/// What there is to decide by, and what limits it. What one call has proved stands when another fails.
async fn learn(
    digests: &mut Digests<'_>,
    indexes: &Indexes,
    exclusions: &Exclusions,
    subject: &Subject,
    tags: Option<&Result<Tags, Fault>>,
) -> Result<(Learnt, Option<String>), Fault> {
    let Subject { reference, policy, known, .. } = subject;
    let tag = reference.effective_tag().unwrap_or_default();
    let mut learnt = Learnt::default();
    let mut gone = None;
    if reference.digest.is_none() {
        match present(digests, indexes, subject, tag).await {
            Ok(present) => learnt.present = Some(present),
            // Newer tags may tell why it is gone.
            Err(fault @ Fault::NotFound(..)) if tags.is_some() => gone = Some(fault),
            Err(fault) => return Err(fault),
        }
    }
    let (Some(tags), Some(shape)) = (tags, Shape::parse(tag)) else { return Ok((learnt, None)) };
    let wants = |tag: &str| policy.wants(tag) && exclusions.wants(tag);
    let chosen = tags.as_ref().map_err(Clone::clone).and_then(|tags| {
        let among = tags.tags.iter().map(String::as_str);
        let choice = choose(&shape, among, policy.limit(), wants);
        // What is newer may be behind the cut.
        if tags.is_cut && choice.newest.is_none() && !shape.is_channel() {
            return Err(Fault::TooMany(digests.place.host.clone()));
        }
        Ok((choice, tags.is_cut))
    });
    let (choice, is_cut) = match chosen {
        Ok(chosen) => chosen,
        Err(fault) => {
            let is_new = matches!(learnt.present, Some((_, Sameness::Different)));
            let was_tag = known.as_ref().is_some_and(|known| known.tag != tag);
            // Of a channel, the list only serves a remark. Else, that the tag itself has a new image is
            // no less true, unless a newer tag was known.
            if gone.is_none() && (shape.is_channel() || (is_new && !was_tag)) {
                return Ok((learnt, Some(fault.to_string())));
            }
            return Err(gone.unwrap_or(fault));
        }
    };
    if let Some((newest, _)) = &choice.newest {
        // It serves the commands alone, where a digest is written into them.
        let known = known.as_ref().filter(|known| {
            reference.digest.is_none() && known.tag == *newest && !known.digest.is_empty()
        });
        learnt.newest_digest = match known {
            Some(known) => known.digest.clone(),
            None => digests.of(newest).await.unwrap_or_default(),
        };
    }
    if choice.newest.is_none()
        && let Some(gone) = gone
    {
        return Err(gone);
    }
    learnt.choice = Some(choice);
    let limit = gone.map(|gone| gone.to_string());
    Ok((
        learnt,
        limit.or_else(|| is_cut.then(|| Fault::TooMany(digests.place.host.clone()).to_string())),
    ))
}

/// What the present tag names, and how that relates to what runs.
async fn present(
    digests: &mut Digests<'_>,
    indexes: &Indexes,
    subject: &Subject,
    tag: &str,
) -> Result<(String, Sameness), Fault> {
    let running = &subject.running;
    let remote = digests.of(tag).await?;
    let (registries, place) = (digests.registries, digests.place);
    if !running.digests.contains(&remote) {
        indexes.find(registries, place, &remote).await?;
        for old in running.digests.iter().take(MOST_OLD) {
            indexes.find_old(registries, place, old).await?;
        }
    }
    let sameness = compare(running, &remote, &|digest| indexes.known(digest));
    Ok((remote, sameness))
}
