//! Which container a caller means: an id, a name, the beginning of a Docker id, or a Compose
//! service.

use std::sync::Arc;

use tokio::time::Instant;

use super::is_shown_as;
use crate::collector::{ClientError, Collector};
use crate::collectors::{Answers, DEADLINE, ask_until, names_of};
use crate::error::{ToolError, nearest};
use crate::listed::Listed;
use crate::server::Gateway;
use crate::untrusted::quoted;

/// How the answer begins when nothing is called so.
pub(crate) const NO_SUCH_CONTAINER: &str = "There is no container";
/// What it says then of collectors where it may be.
pub(crate) const NOT_ASKED: &str = "Not asked, because they do not answer";
/// Shorter beginnings of a Docker id are more likely a name.
const SHORTEST_PREFIX: usize = 6;

/// A container and where it is.
pub(super) struct Resolved {
    pub(super) collector: Arc<Collector>,
    pub(super) id: i64,
    /// `None`: not in the list, so archived or ignored; readable by its id all the same.
    pub(super) listed: Option<Listed>,
    /// Collectors that did not answer.
    silent: Vec<String>,
}

impl Resolved {
    /// What a `hint` says of collectors that were not asked.
    pub(super) fn caveat(&self) -> Option<String> {
        (!self.silent.is_empty()).then(|| {
            let silent = names_of(&self.silent);
            format!("Not asked, for they do not answer, and may have one of this name: {silent}.")
        })
    }
}

impl Gateway {
    /// Finds the one container that `wanted` names.
    pub(super) async fn resolve(
        &self,
        wanted: &str,
        collector: Option<&str>,
    ) -> Result<Resolved, ToolError> {
        let wanted = wanted.trim();
        if wanted.is_empty() {
            return Err(ToolError::bad_argument(
                "container_id",
                "it is empty; give the name or id of a container, as list_containers shows them",
            ));
        }
        let collectors = self.collectors().choose(collector)?;
        // All questions below share one span of time.
        let end = Instant::now() + DEADLINE;
        let lists = |collector: Arc<Collector>| async move { collector.containers().await };
        let mut found = Known::of(ask_until(end, collectors.clone(), lists).await)?;
        if matches!(choose(wanted, &found.containers), Choice::None) {
            // Of what was listed a moment ago it cannot be said that it is not there.
            let lists =
                |collector: Arc<Collector>| async move { collector.live().containers().await };
            found = Known::of(ask_until(end, collectors, lists).await)?;
        }
        let Known { containers: known, answering, mut silent } = found;
        match choose(wanted, &known) {
            Choice::One(at) => {
                let Some((collector, container)) = known.into_iter().nth(at) else {
                    return Err(ToolError::new("The list of containers changed; try again."));
                };
                let id = container.id;
                return Ok(Resolved { collector, id, listed: Some(container), silent });
            }
            Choice::Several(found) => {
                let found = found.into_iter().filter_map(|at| known.get(at));
                return Err(ambiguous(wanted, found, self.collectors().several()));
            }
            Choice::None => {}
        }
        if let Ok(id) = wanted.parse::<i64>() {
            let found = with_id(end, answering, id).await?;
            silent.extend(found.silent);
            match found.collectors.as_slice() {
                [] => {}
                [collector] => {
                    let collector = collector.clone();
                    return Ok(Resolved { collector, id, listed: None, silent });
                }
                _ => {
                    return Err(ToolError::new(format!(
                        "Several collectors have a container with id {id}; repeat the call with \
                         `collector`."
                    )));
                }
            }
        }
        Err(unknown(wanted, known.iter().map(|(_, container)| container), &silent))
    }
}

/// The containers that are listed.
struct Known {
    containers: Vec<(Arc<Collector>, Listed)>,
    answering: Vec<Arc<Collector>>,
    silent: Vec<String>,
}

impl Known {
    fn of(answers: Answers<Vec<Listed>>) -> Result<Self, ToolError> {
        let silent = silent(&answers);
        let (mut containers, mut answering) = (Vec::new(), Vec::new());
        for (collector, list) in answers.successes()? {
            answering.push(collector.clone());
            containers.extend(list.into_iter().map(|container| (collector.clone(), container)));
        }
        Ok(Self { containers, answering, silent })
    }
}

struct WithId {
    collectors: Vec<Arc<Collector>>,
    silent: Vec<String>,
}

/// Who has a container of this id, listed or not. An error, if nobody could say.
async fn with_id(
    end: Instant,
    collectors: Vec<Arc<Collector>>,
    id: i64,
) -> Result<WithId, ToolError> {
    let answers = ask_until(end, collectors, |collector| async move {
        match collector.container(id).await {
            Ok(_) => Ok(true),
            Err(ClientError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    })
    .await;
    let silent = silent(&answers);
    let answers = answers.successes()?.into_iter();
    let collectors = answers.filter(|(_, found)| *found).map(|(collector, _)| collector).collect();
    Ok(WithId { collectors, silent })
}

enum Choice {
    One(usize),
    Several(Vec<usize>),
    None,
}

/// The first way of naming a container that fits any decides; an id and a name are one way, for
/// a container may be called by a number.
fn choose(wanted: &str, known: &[(Arc<Collector>, Listed)]) -> Choice {
    let prefix = wanted.to_ascii_lowercase();
    let is_prefix =
        prefix.len() >= SHORTEST_PREFIX && prefix.bytes().all(|b| b.is_ascii_hexdigit());
    let bare = wanted.strip_prefix('/').unwrap_or(wanted);
    let ways: [&dyn Fn(&Listed) -> bool; 3] = [
        &|container| container.id.to_string() == wanted || is_shown_as(&container.name, bare),
        &|container| is_prefix && container.external_id.starts_with(&prefix),
        &|container| is_shown_as(&container.orchestration_unit, bare),
    ];
    for way in ways {
        let found: Vec<usize> = known
            .iter()
            .enumerate()
            .filter(|(_, (_, container))| way(container))
            .map(|(at, _)| at)
            .collect();
        match found.as_slice() {
            [] => {}
            [one] => return Choice::One(*one),
            _ => return Choice::Several(found),
        }
    }
    Choice::None
}

fn ambiguous<'a>(
    wanted: &str,
    found: impl Iterator<Item = &'a (Arc<Collector>, Listed)>,
    several: bool,
) -> ToolError {
    let found: Vec<String> = found
        .take(8)
        .map(|(collector, container)| {
            let place = if several { format!(" on {}", collector.name) } else { String::new() };
            format!("{} (id {}{place})", quoted(&container.name), container.id)
        })
        .collect();
    let how = "the id, name or Docker id that only one has";
    let how = if several { format!("{how}, and its `collector`") } else { how.to_owned() };
    ToolError::new(format!(
        "{} fits several containers: {}. Repeat the call with {how}.",
        quoted(wanted),
        found.join(", ")
    ))
}

fn unknown<'a>(
    wanted: &str,
    known: impl Iterator<Item = &'a Listed>,
    silent: &[String],
) -> ToolError {
    let names: Vec<&str> = known.map(|container| container.name.as_str()).collect();
    let nearest: Vec<String> =
        nearest(wanted, names.iter().copied()).into_iter().map(quoted).collect();
    let nearest = if nearest.is_empty() {
        String::new()
    } else {
        format!(" The nearest names are: {}.", nearest.join(", "))
    };
    let silent = if silent.is_empty() {
        String::new()
    } else {
        format!(" {NOT_ASKED}: {}.", names_of(silent))
    };
    ToolError::new(format!(
        "{NO_SUCH_CONTAINER} {}.{nearest}{silent} list_containers shows all of them; its `name` \
         filter finds parts of names.",
        quoted(wanted)
    ))
}

/// Collectors that did not answer: what is looked for may be there.
fn silent<T>(answers: &Answers<T>) -> Vec<String> {
    let silent = |answer: &Result<T, ClientError>| answer.is_err();
    answers
        .0
        .iter()
        .filter(|(_, answer)| silent(answer))
        .map(|(collector, _)| collector.name.clone())
        .collect()
}
