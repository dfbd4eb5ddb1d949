//! What runs, as the engine tells it, and which of it can be compared.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::StreamExt;

use super::commands::{Project, Target};
use super::look::{Known, Subject};
use super::model::{Outcome, Platform, Running, Verdict};
use super::policy::{Exclusions, Policy};
use super::reference::{Place, Reference};
use super::sql::Settings;
use crate::containers::model::Container;
use crate::docker::{Docker, DockerError, Image, Inspected};

/// Calls to the engine at once.
const INSPECTIONS: usize = 16;

/// A container that is looked at.
pub(super) struct Watched {
    pub(super) id: i64,
    pub(super) external_id: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) settings: Settings,
    pub(super) running: Running,
    /// Why it is not compared.
    pub(super) verdict: Option<Outcome>,
    pub(super) subject: Option<(Place, Arc<Subject>)>,
    pub(super) target: Target,
}

/// What the engine says of the containers and their images, each image asked for once; and why it
/// refuses to tell of images, if it does.
pub(super) async fn inspect(
    docker: &Docker,
    containers: &[Arc<Container>],
    exclusions: &Exclusions,
    known: &HashMap<i64, Known>,
) -> (Vec<Watched>, Option<String>) {
    let inspected: Vec<_> = futures_util::stream::iter(containers.to_vec())
        .map(|container| async move {
            let inspected = docker.inspect(&container.external_id).await;
            (container, inspected)
        })
        .buffered(INSPECTIONS)
        .collect()
        .await;
    let ids: BTreeSet<String> = inspected
        .iter()
        .filter_map(|(_, inspected)| inspected.as_ref().ok())
        .map(|inspected| inspected.image.clone())
        .collect();
    let images: HashMap<String, Result<Image, DockerError>> = futures_util::stream::iter(ids)
        .map(|id| async move {
            let image = docker.image(&id).await;
            (id, image)
        })
        .buffer_unordered(INSPECTIONS)
        .collect()
        .await;
    let refused = images.values().find_map(|image| match image {
        Err(DockerError::Refused(why)) => Some(why.clone()),
        _ => None,
    });
    let watched = inspected.into_iter().filter_map(|(container, inspected)| match inspected {
        // It is gone.
        Err(DockerError::NotFound) => None,
        Ok(inspected) => {
            let image = images.get(&inspected.image);
            let known = known.get(&container.id).cloned();
            Some(watched(&container, &inspected, image, exclusions, known))
        }
        Err(error) => Some(unread(&container, &error.to_string())),
    });
    (watched.collect(), refused)
}

fn unread(container: &Container, error: &str) -> Watched {
    let (policy, _) = Policy::read(&container.facts.labels.watched);
    Watched {
        id: container.id,
        external_id: container.external_id.clone(),
        name: container.facts.name.clone(),
        image: container.facts.image.clone(),
        settings: settings(&policy),
        running: Running::default(),
        verdict: Some(Outcome::Failed(error.to_owned())),
        subject: None,
        target: Target::default(),
    }
}

fn settings(policy: &Policy) -> Settings {
    let pattern = |regex: &Option<regex::Regex>| regex.as_ref().map(ToString::to_string);
    Settings {
        alert_on: policy.alert_on,
        pin: policy.pin.clone(),
        include: pattern(&policy.include),
        exclude: pattern(&policy.exclude),
    }
}

fn watched(
    container: &Container,
    inspected: &Inspected,
    image: Option<&Result<Image, DockerError>>,
    exclusions: &Exclusions,
    known: Option<Known>,
) -> Watched {
    let mut watched = unread(container, "the engine does not know its image");
    asked_for(inspected).clone_into(&mut watched.image);
    watched.target = target(container, inspected);
    let image = match image {
        Some(Ok(image)) => image,
        Some(Err(error)) => {
            watched.verdict =
                Some(Outcome::Failed(format!("the engine does not tell of its image: {error}")));
            return watched;
        }
        None => return watched,
    };
    let (policy, _) = Policy::read(&container.facts.labels.watched);
    let reference = match Reference::parse(&watched.image) {
        Ok(reference) => reference,
        Err(fault) => {
            let verdict = Verdict::untracked(fault.clone());
            watched.verdict = Some(Outcome::Found(verdict, Some(fault)));
            return watched;
        }
    };
    watched.running = running(image, &reference);
    watched.verdict = not_compared(&reference, &watched.running, &policy, exclusions)
        .map(|why| Outcome::Found(Verdict::untracked(why), None));
    if watched.verdict.is_none() {
        let place = reference.place(policy.registry.as_deref());
        let running = watched.running.clone();
        // What another image or another registry had says nothing of this one.
        let registry = policy.registry.as_ref().unwrap_or(&reference.registry);
        let known = known.filter(|known| {
            known.image == watched.image && known.registry == *registry && !known.tag.is_empty()
        });
        watched.subject = Some((place, Subject { reference, policy, running, known }.into()));
    }
    watched
}

fn running(image: &Image, reference: &Reference) -> Running {
    let named: Vec<Reference> =
        image.repo_digests.iter().filter_map(|text| Reference::parse(text).ok()).collect();
    let own = named.iter().find(|named| named.is_same_repository(reference));
    Running {
        platform: Platform {
            os: image.os.clone(),
            architecture: image.architecture.clone(),
            variant: image.variant.clone(),
        },
        own_digest: own.and_then(|own| own.digest.clone()),
        digests: named.into_iter().filter_map(|named| named.digest).collect(),
    }
}

/// Why an image is not compared with anything.
fn not_compared(
    reference: &Reference,
    running: &Running,
    policy: &Policy,
    exclusions: &Exclusions,
) -> Option<String> {
    if !policy.enabled {
        return Some("the label maintenant.update.enabled turns the check off".to_owned());
    }
    if let Some(pattern) = exclusions.find(reference) {
        let pattern = maintenant_serve::logging::foreign(pattern);
        return Some(format!("the exclusion `{pattern}` leaves it out"));
    }
    if reference.effective_tag().is_none() {
        return Some(
            "its reference is a digest without a tag, and names one image for good".into(),
        );
    }
    let is_named_elsewhere = policy.registry.is_some() && !running.digests.is_empty();
    if running.own_digest.is_none() && !is_named_elsewhere {
        let text =
            "no registry has named its image: it was built, loaded or tagged on this machine";
        return Some(text.to_owned());
    }
    None
}

fn target(container: &Container, inspected: &Inspected) -> Target {
    let label = |name: &str| inspected.config.labels.get(name).cloned().unwrap_or_default();
    if let Some(service) = swarm_service(inspected) {
        return Target::Swarm(service.to_owned());
    }
    if let Some(compose) = &container.facts.labels.compose {
        return Target::Compose(Project {
            name: compose.project.clone(),
            service: compose.service.clone(),
            working_dir: compose.working_dir.clone(),
            config_files: label("com.docker.compose.project.config_files"),
            env_files: label("com.docker.compose.project.environment_file"),
        });
    }
    if inspected.host_config.auto_remove {
        return Target::Transient;
    }
    Target::Own(container.facts.name.clone())
}

fn swarm_service(inspected: &Inspected) -> Option<&str> {
    inspected.config.labels.get("com.docker.swarm.service.name").map(String::as_str)
}

/// The image as it was asked for. To the tag of a service a swarm adds the digest that it found.
fn asked_for(inspected: &Inspected) -> &str {
    let image = inspected.config.image.as_str();
    match image.split_once('@') {
        Some((tagged, _))
            if swarm_service(inspected).is_some() && Reference::name_in(tagged) != tagged =>
        {
            tagged
        }
        _ => image,
    }
}
