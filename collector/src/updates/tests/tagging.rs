//! Which tag is newer than which.

use crate::updates::tags::{Choice, Shape, Step, choose};

fn chosen(current: &str, tags: &[&str], limit: Option<Step>) -> Choice {
    let shape = Shape::parse(current).unwrap_or_else(|| panic!("{current} has no core"));
    choose(&shape, tags.iter().copied(), limit, |_| true)
}

fn check(current: &str, tags: &[&str], newest: Option<&str>) {
    let choice = chosen(current, tags, Some(Step::Major));
    let found = choice.newest.as_ref().map(|(tag, _)| tag.as_str());
    assert_eq!(found, newest, "{current} among {tags:?}");
}

#[test]
fn the_highest_of_the_same_form_is_the_newest() {
    check("1.27.3", &["1.27.3", "1.27.4", "1.9.9", "1.26.10"], Some("1.27.4"));
    check("1.27.3", &["1.27.10", "1.27.9"], Some("1.27.10"));
    check("v1.2.3", &["v1.3.0", "1.4.0", "V1.5.0"], Some("v1.3.0"));
    check("1.2.3.4", &["1.2.3.5", "1.2.4"], Some("1.2.3.5"));
    check("pg14-v0.2.0", &["pg14-v0.3.0", "pg15-v0.4.0", "pg14-v0.2.1"], Some("pg14-v0.3.0"));
    check("version-2.1.0", &["version-2.2.0", "2.3.0"], Some("version-2.2.0"));
    check("24.04", &["24.10", "22.04", "24.04.1"], Some("24.10"));
    check("1.27.3", &["1.27.3", "1.27.2", "latest"], None);
}

#[test]
fn nothing_crosses_a_suffix_a_number_of_numbers_or_a_kind() {
    // What other programs have offered wrongly.
    check("8.2-fpm-alpine", &["8.3-alpine", "8.3"], None);
    check("8.2-fpm-alpine", &["8.3-alpine", "8.3-fpm-alpine"], Some("8.3-fpm-alpine"));
    check("3.12-slim", &["3.13", "3.13-alpine"], None);
    check("3.12.1-slim", &["3.12.1", "3.12.2"], None);
    check("16", &["17", "20240101", "16.1"], None);
    check("1.25", &["1.27.4", "1.25.1", "2"], None);
    check("1.25", &["1.27.4", "1.27"], Some("1.27"));
    check("1.27-trixie", &["1.29", "1.29-bookworm"], None);
    check("1.2.3-ls45", &["1.2.3", "1.2.4"], None);
    check("2.1.0-beta1", &["2.1.0", "2.2.0"], None);
    check("1.27", &["2024.09", "20240901", "2024-09-01"], None);
    check("2024.9.1", &["2024.10", "3000.1.1", "1.2.3"], None);
    check("1.27-alpine3.20", &["1.29-alpine3.22", "1.29-alpine", "1.29"], None);
    check(
        "6.5-php8.2-apache",
        &["6.6-php8.3-apache", "6.6-php8.2-apache"],
        Some("6.6-php8.2-apache"),
    );
}

#[test]
fn counters_of_builds_are_compared_behind_the_version() {
    check("1.2.3-ls45", &["1.2.3-ls46", "1.2.3-ls9", "1.2.4"], Some("1.2.3-ls46"));
    check("1.2.3-ls45", &["1.2.3-ls46", "1.2.4-ls2"], Some("1.2.4-ls2"));
    check(
        "2.3.4-debian-12-r3",
        &["2.3.4-debian-12-r10", "2.3.4-debian-13-r1"],
        Some("2.3.4-debian-12-r10"),
    );
    check("1.2.3-1", &["1.2.3-2", "1.2.3"], Some("1.2.3-2"));
    check("jdk-17.0.9_9", &["jdk-17.0.10_7", "jdk-21.0.1_12"], Some("jdk-21.0.1_12"));
}

#[test]
fn pre_releases_are_compared_with_their_own_kind() {
    for pre in
        ["1.28.0-rc1", "1.28.0-beta.2", "1.28.0rc1", "1.28.0-alpha", "1.28.0-dev", "1.28.0b1"]
    {
        check("1.27.0", &["1.27.0", pre], None);
        assert!(Shape::parse(pre).unwrap().is_pre_release(), "{pre}");
    }
    check("2.1.0-beta1", &["2.1.0-beta2", "2.1.0-rc1"], Some("2.1.0-beta2"));
    check("2.1.0-rc.1", &["2.1.0-rc.10", "2.1.0-rc.9"], Some("2.1.0-rc.10"));
    for release in ["1.28.0", "1.28-alpine", "1.28-bookworm", "3.12-slim", "1.2-ls3"] {
        assert!(!Shape::parse(release).unwrap().is_pre_release(), "{release}");
    }
}

#[test]
fn dates_are_compared_with_dates() {
    check("20240901", &["20241001", "20240801", "202410010", "7"], Some("20241001"));
    check("2024-09-01", &["2024-10-01", "2025.1", "20250101"], Some("2024-10-01"));
    check("2024.09.1", &["2024.10.2", "2025.1.0"], Some("2025.1.0"));
    check(
        "bookworm-20240101",
        &["bookworm-20240201", "trixie-20240301"],
        Some("bookworm-20240201"),
    );
    check(
        "RELEASE.2024-09-13T20-26-02Z",
        &["RELEASE.2024-09-22T00-33-43Z", "RELEASE.2024-09-13T21-26-02Z", "latest"],
        Some("RELEASE.2024-09-22T00-33-43Z"),
    );
    check("20240901", &["20249999"], None);
}

#[test]
fn numbers_that_count_something_else_are_not_crossed() {
    check("202409", &["20240801", "202410"], Some("202410"));
    check("20240901", &["20240901120000"], None);
    check("2024-09-01", &["20240701.1.2", "20250701"], None);
    check("1.2.3-1", &["1.2.3-20240901", "1.2.3-1234567", "1.2.3-2"], Some("1.2.3-2"));
    check("1.2.3-20240901", &["1.2.4-9", "1.2.3-20241001"], Some("1.2.3-20241001"));
    check("17.0.9_9-jre", &["17.0.10_7-jre", "17.0.11_9-jdk"], Some("17.0.10_7-jre"));
    check("v0.108.0-b.55", &["v0.108.0-b.60", "v0.108.0-b.7"], Some("v0.108.0-b.60"));
    assert!(Shape::parse("v0.108.0-b.55").unwrap().is_pre_release());
    check("v0.107.0", &["v0.108.0-b.60"], None);
}

#[test]
fn a_commit_behind_a_version_has_no_order() {
    let tags = ["1.41.0.8994-f2c27da23", "1.40.0.8395-00aaaaaaa", "1.41.0.9000", "1.42.0.1-beta1"];
    check("1.40.0.8395-c67dce28e", &tags, Some("1.41.0.8994-f2c27da23"));
    let shape = Shape::parse("1.40.0.8395-c67a28e").unwrap();
    assert_eq!((shape.form().as_str(), shape.is_pre_release()), ("N.N.N.N-COMMIT", false));
    check("1.2.3-feedface", &["1.2.4-deadbeef"], None);
}

#[test]
fn a_single_number_is_a_channel() {
    for channel in ["16", "v3", "16-alpine", "16-alpine3.20", "2022-latest"] {
        assert!(Shape::parse(channel).unwrap().is_channel(), "{channel}");
    }
    for name in ["latest", "alpine", "stable", "bookworm-slim", "sha-4f2a91c"] {
        assert_eq!(Shape::parse(name), None, "{name}");
    }
    for version in ["1.25", "20240901", "24.04"] {
        assert!(!Shape::parse(version).unwrap().is_channel(), "{version}");
    }
}

#[test]
fn a_step_is_named_by_the_first_number_that_differs() {
    let step = |current: &str, newer: &str| {
        chosen(current, &[newer], Some(Step::Major)).newest.map(|(_, step)| step)
    };
    assert_eq!(step("1.2.3", "2.0.0"), Some(Step::Major));
    assert_eq!(step("1.2.3", "1.3.0"), Some(Step::Minor));
    assert_eq!(step("1.2.3", "1.2.4"), Some(Step::Patch));
    assert_eq!(step("1.2.3-ls1", "1.2.3-ls2"), Some(Step::Patch));
    assert_eq!(step("2024.12.1", "2025.1.0"), Some(Step::Minor), "a year breaks nothing");
    assert_eq!(step("20241201", "20250101"), Some(Step::Patch));
}

#[test]
fn no_step_is_larger_than_asked_for() {
    let tags = ["1.2.3", "1.2.4", "1.2.5", "1.3.0", "1.3.1", "2.0.0"];
    let found = |limit| chosen("1.2.3", &tags, limit).newest.map(|(tag, _)| tag);
    assert_eq!(found(Some(Step::Major)).as_deref(), Some("2.0.0"));
    assert_eq!(found(Some(Step::Minor)).as_deref(), Some("1.3.1"));
    assert_eq!(found(Some(Step::Patch)).as_deref(), Some("1.2.5"));
    assert_eq!(found(None), None);
    assert_eq!(chosen("1.2.3", &tags, Some(Step::Patch)).beyond.as_deref(), Some("2.0.0"));
}

#[test]
fn what_is_newer_and_not_comparable_is_mentioned() {
    let elsewhere =
        |current: &str, tags: &[&str]| chosen(current, tags, Some(Step::Major)).elsewhere;
    assert_eq!(elsewhere("16", &["15", "17", "18", "20240101", "5001"]).as_deref(), Some("18"));
    assert_eq!(elsewhere("16-alpine", &["17", "17-alpine"]).as_deref(), Some("17-alpine"));
    assert_eq!(elsewhere("2.1.0-beta1", &["2.1.0", "2.0.0"]).as_deref(), Some("2.1.0"));
    let base = elsewhere("1.27-alpine3.20", &["1.29-alpine3.22", "1.29"]);
    assert_eq!(base.as_deref(), Some("1.29-alpine3.22"));
    assert_eq!(elsewhere("1.27", &["1.28.1", "1.28-rc1", "2024.1"]), None);
}

#[test]
fn what_comes_with_an_image_is_no_image() {
    check("1.2.3", &["1.2.4.sig", "1.2.4.att", "sha256-1.2.4"], None);
}

#[test]
fn hostile_tags_are_read_without_harm() {
    let long = "9".repeat(128);
    assert_eq!(Shape::parse(&long), None);
    for tag in ["", ".", "-", "v", "1..2", "1.", "é1.2", "2024-09-é1", "1.2-é3", "v1é"] {
        let _ = Shape::parse(tag);
    }
    check("1.2", &["1.99999999999999999999999"], None);
}
