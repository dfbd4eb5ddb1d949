//! `docs/labels.md` names the labels that the code reads, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use maintenant_api::endpoints::EndpointInput;

use crate::certificates::sources;
use crate::containers::labels::Labels;
use crate::endpoints::labels as endpoints;
use crate::updates::policy::Policy;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
const PAGE: &str = include_str!("../../docs/labels.md");

/// The labels of the page, each with its example.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let row = |line: &'static str| {
        let label = line.strip_prefix("| `")?.split_once('`')?.0;
        let example = line.strip_suffix("` |").and_then(|line| line.rsplit_once(" `"));
        let (_, example) = example.unwrap_or_else(|| panic!("{label} has no example"));
        label.starts_with("maintenant.").then_some((label, example))
    };
    PAGE.lines().filter_map(row).collect()
}

/// The program, without its tests.
fn programs(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            texts.extend(programs(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs")
            && !["tests.rs", "documentation.rs"].contains(&name)
        {
            let text = std::fs::read_to_string(&path).unwrap();
            texts.push(text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned());
        }
    }
    texts
}

/// The labels that the code names: whole, or behind a prefix in a table of their own.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for text in programs(Path::new(SOURCES)) {
        for literal in text.split("\"maintenant.").skip(1) {
            let name = literal.split('"').next().unwrap();
            let behind: Vec<String> = match name {
                "endpoint." => {
                    endpoints::names().chain(["http", "tcp"]).map(str::to_owned).collect()
                }
                "update." => update_names(),
                // Its only label is named whole.
                "tls." => Vec::new(),
                other if other.ends_with('.') => panic!("which labels begin with {other}?"),
                _ => vec![String::new()],
            };
            known.extend(behind.iter().map(|rest| format!("maintenant.{name}{rest}")));
        }
    }
    known
}

/// The arms of the match that reads them.
fn update_names() -> Vec<String> {
    let text = include_str!("updates/policy.rs");
    let arms = text.split_once("match name {").unwrap().1.split_once("_ => Err").unwrap().0;
    let arm = |line: &str| Some(line.trim().strip_prefix('"')?.split_once("\" =>")?.0.to_owned());
    arms.lines().filter_map(arm).collect()
}

#[test]
fn the_page_names_the_labels_that_are_read() {
    let documented: BTreeSet<_> = documented().into_keys().map(str::to_owned).collect();
    assert_eq!(documented, known());
    assert!(documented.len() > 30, "{documented:?}");
}

#[test]
fn each_example_of_the_page_is_understood() {
    for (label, example) in documented() {
        let tcp = label.contains(".tcp.");
        let target = if tcp { ("tcp", "a.example:1") } else { ("http", "http://a.example") };
        let target = (format!("maintenant.endpoint.{}", target.0), target.1.to_owned());
        let mut labels = BTreeMap::from([target]);
        let without = Labels::read(&labels);
        labels.insert(label.to_owned(), example.to_owned());
        assert_ne!(Labels::read(&labels), without, "{label}: {example} changes nothing");
        let (_, mut faults) = endpoints::read(&labels, &[], &EndpointInput::default());
        faults.extend(sources::read_labels(&labels, &[]).1);
        faults.extend(Policy::read(&labels).1);
        assert_eq!(faults, [], "{label}: {example}");
    }
}
