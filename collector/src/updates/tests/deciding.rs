//! References, labels, exclusions, and what follows from digests.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::updates::credentials::{Credential, Credentials};
use crate::updates::model::{
    Check, Child, Learnt, Outcome, Platform, Running, Sameness, Status, UpdateType, Verdict, after,
    children_for, compare, decide,
};
use crate::updates::policy::{AlertOn, Exclusions, Policy, Subject, Track, glob};
use crate::updates::reference::{Place, Reference, is_loopback, mirror};
use crate::updates::tags::{Choice, Step};

pub(super) fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn references_are_read_as_docker_reads_them() {
    let check = |text: &str, registry: &str, repository: &str, tag: Option<&str>| {
        let read = Reference::parse(text).unwrap();
        let found = (&*read.registry, &*read.repository, read.effective_tag());
        assert_eq!(found, (registry, repository, tag), "{text}");
    };
    check("nginx", "docker.io", "library/nginx", Some("latest"));
    check("nginx:1.27", "docker.io", "library/nginx", Some("1.27"));
    check("docker.io/library/nginx:1.27", "docker.io", "library/nginx", Some("1.27"));
    check("index.docker.io/grafana/grafana", "docker.io", "grafana/grafana", Some("latest"));
    check("ghcr.io/Owner/app:v2".replace('O', "o").as_str(), "ghcr.io", "owner/app", Some("v2"));
    check("127.0.0.1:5000/lab/app:1", "127.0.0.1:5000", "lab/app", Some("1"));
    check("localhost/app", "localhost", "app", Some("latest"));
    check("[::1]:5000/app:2", "[::1]:5000", "app", Some("2"));
    let pinned = format!("nginx:1.27@{}", digest('a'));
    check(&pinned, "docker.io", "library/nginx", Some("1.27"));
    check(&format!("nginx@{}", digest('a')), "docker.io", "library/nginx", None);
}

#[test]
fn what_is_no_reference_is_named() {
    for text in [
        "",
        "Nginx",
        "nginx:",
        "nginx:a/b:c d",
        "nginx@sha256:short",
        "a//b",
        "../etc",
        "host.example:99999/app",
        "user@host.example/app",
        &digest('a'),
        &"a".repeat(64),
        &"a".repeat(600),
    ] {
        let fault = Reference::parse(text).unwrap_err();
        assert!(fault.contains("expected a form such as"), "{text}: {fault}");
    }
}

#[test]
fn a_repository_is_asked_for_at_its_registry_or_at_a_mirror() {
    let reference = Reference::parse("nginx:1.27").unwrap();
    let place = |host: &str| Place { host: host.into(), repository: "library/nginx".into() };
    assert_eq!(reference.place(None), place("registry-1.docker.io"));
    assert_eq!(reference.place(Some("mirror.example:5000")), place("mirror.example:5000"));
    assert_eq!(mirror(" https://GHCR.io/ ").as_deref(), Ok("ghcr.io"));
    for bad in ["http://ghcr.io", "ghcr.io/owner", "nowhere", "a@b.example", ""] {
        assert!(mirror(bad).is_err(), "{bad}");
    }
    for (host, local) in [
        ("127.0.0.1:5000", true),
        ("127.9.9.9", true),
        ("localhost:5000", true),
        ("[::1]:5000", true),
        ("10.0.0.1:5000", false),
        ("localhost.example", false),
        ("127.0.0.1.example:80", false),
    ] {
        assert_eq!(is_loopback(host), local, "{host}");
    }
}

fn policy(labels: &[(&str, &str)]) -> (Policy, Vec<String>) {
    let labels: BTreeMap<_, _> = labels
        .iter()
        .map(|(name, value)| (format!("maintenant.update.{name}"), (*value).to_owned()))
        .collect();
    let (policy, faults) = Policy::read(&labels);
    (policy, faults.into_iter().map(|fault| fault.label_key).collect())
}

#[test]
fn every_label_has_its_effect() {
    let (none, faults) = policy(&[]);
    assert!(none.enabled && none.pin.is_none() && faults.is_empty());
    assert!(!policy(&[("enabled", "no")]).0.enabled);
    assert_eq!(policy(&[("pin", "incident 7")]).0.pin.as_deref(), Some("incident 7"));
    let track = |labels: &[(&str, &str)]| policy(labels).0.track;
    assert_eq!(track(&[]), Track::UpTo(Step::Major));
    assert_eq!(track(&[("track", "Minor")]), Track::UpTo(Step::Minor));
    assert_eq!(track(&[("track", "digest")]), Track::Digest);
    assert_eq!(track(&[("ignore_major", "true")]), Track::UpTo(Step::Minor));
    let both = [("ignore_major", "true"), ("track", "patch")];
    assert_eq!(track(&both), Track::UpTo(Step::Patch));
    let all = [("digest_only", "1"), ("ignore_major", "true"), ("track", "patch")];
    assert_eq!(track(&all), Track::Digest);
    assert_eq!(policy(&[("registry", "ghcr.io")]).0.registry.as_deref(), Some("ghcr.io"));
    assert_eq!(policy(&[("alert_on", "critical")]).0.alert_on, AlertOn::Critical);
    assert_eq!(policy(&[("alert_on", "none")]).0.alert_on, AlertOn::None);
    let (filtered, _) = policy(&[("tag-include", r"^20\."), ("tag-exclude", "(rc|beta)")]);
    assert!(filtered.wants("20.1.0"));
    assert!(!filtered.wants("21.1.0") && !filtered.wants("20.1.0-rc1"));
}

#[test]
fn a_label_that_cannot_be_read_is_named_and_has_no_effect() {
    let (read, faults) = policy(&[
        ("alert_on", "always"),
        ("enabled", "maybe"),
        ("registry", "not a host"),
        ("tag-include", "("),
        ("tag-exclude", "a{1000}{1000}"),
        ("track", "everything"),
        ("unheard-of", "x"),
    ]);
    assert_eq!(faults.len(), 7, "{faults:?}");
    assert!(read.enabled && read.include.is_none() && read.registry.is_none());
    assert_eq!(read.track, Track::UpTo(Step::Major));
}

#[test]
fn exclusions_are_shell_patterns() {
    let check = |subject, pattern: &str, image: &str, excluded: bool| {
        let exclusions = Exclusions::new([(subject, pattern.to_owned())]);
        let found = exclusions.find(&Reference::parse(image).unwrap()).is_some();
        assert_eq!(found, excluded, "{pattern} {image}");
    };
    check(Subject::Image, "nginx", "nginx:1.27", true);
    check(Subject::Image, "nginx:1.2?", "nginx:1.27", true);
    check(Subject::Image, "docker.io/library/*", "nginx:1.27", true);
    check(Subject::Image, "ghcr.io/acme/*", "ghcr.io/acme/app:1", true);
    check(Subject::Image, "ngin", "nginx:1.27", false);
    check(Subject::Tag, "*-rc[0-9]", "app:1.0-rc1", true);
    check(Subject::Tag, "*-rc[!0-9]", "app:1.0-rc1", false);
    check(Subject::Tag, "latest", "nginx", true);
    check(Subject::Tag, "1.0", "app:1x0", false);
    assert!(!Exclusions::new([(Subject::Tag, "*-rc*".to_owned())]).wants("1.1-rc2"));
    for bad in ["[]", "[&&a]"] {
        assert!(glob(bad).is_err(), "{bad}");
    }
}

fn platform(architecture: &str, variant: &str) -> Platform {
    let (os, architecture) = ("linux".to_owned(), architecture.to_owned());
    Platform { os, architecture, variant: variant.to_owned() }
}

fn child(letter: char, architecture: &str, variant: &str) -> Child {
    Child { digest: digest(letter), platform: platform(architecture, variant) }
}

fn running(digests: &[char]) -> Running {
    Running {
        platform: platform("amd64", ""),
        digests: digests.iter().map(|letter| digest(*letter)).collect(),
        own_digest: digests.first().map(|letter| digest(*letter)),
    }
}

#[test]
fn what_runs_is_the_same_by_any_of_its_digests_or_its_platform() {
    // Indexes 1 and 2 have the same image for amd64; 3 has another.
    let known = |wanted: &str| {
        let indexes = [
            ('1', vec![child('a', "amd64", ""), child('b', "arm64", "v8")]),
            ('2', vec![child('c', "arm64", "v8"), child('a', "amd64", "")]),
            ('3', vec![child('d', "amd64", "")]),
        ];
        let found = indexes.into_iter().find(|(letter, _)| digest(*letter) == wanted);
        found.map(|(_, children)| children)
    };
    let check = |runs: &[char], remote: char, expected: Sameness| {
        let found = compare(&running(runs), &digest(remote), &known);
        assert_eq!(found, expected, "{runs:?} {remote}");
    };
    check(&['1'], '1', Sameness::Same);
    check(&['9', '1'], '1', Sameness::Same);
    check(&['a'], '1', Sameness::SamePlatform);
    check(&['1'], '2', Sameness::SamePlatform);
    check(&['1'], '3', Sameness::Different);
    check(&['9'], '8', Sameness::Different);
}

#[test]
fn variants_that_nobody_names_and_images_without_an_index_are_compared() {
    let known = |wanted: &str| {
        let indexes = [
            ('1', vec![child('a', "arm", "v6"), child('b', "arm", "v7")]),
            ('2', vec![child('c', "amd64", "")]),
            ('b', vec![]),
        ];
        let found = indexes.into_iter().find(|(letter, _)| digest(*letter) == wanted);
        found.map(|(_, children)| children)
    };
    let check = |variant: &str, runs: char, remote: char, expected: Sameness| {
        let runs = Running { platform: platform("arm", variant), ..running(&[runs]) };
        assert_eq!(compare(&runs, &digest(remote), &known), expected, "{variant} {remote}");
    };
    check("", 'b', '1', Sameness::SamePlatform);
    check("v7", 'b', '1', Sameness::SamePlatform);
    check("v6", 'b', '1', Sameness::Different);
    check("v7", '1', 'b', Sameness::SamePlatform);
    check("v6", '1', 'b', Sameness::Different);
    check("v7", '1', '2', Sameness::Absent);
}

#[test]
fn the_image_of_a_platform_is_its_own_variant() {
    let children = [child('6', "arm", "v6"), child('7', "arm", "v7"), child('8', "arm64", "v8")];
    let check = |architecture: &str, variant: &str, expected: &[char]| {
        let expected: Vec<_> = expected.iter().map(|letter| digest(*letter)).collect();
        assert_eq!(children_for(&children, &platform(architecture, variant)), expected);
    };
    check("arm", "v7", &['7']);
    check("arm64", "", &['8']);
    check("arm", "", &['6', '7']);
    check("riscv64", "", &[]);
    check("", "", &['6', '7', '8']);
}

fn newest(tag: &str, step: Step) -> Choice {
    Choice { newest: Some((tag.to_owned(), step)), comparable: 3, ..Choice::default() }
}

#[test]
fn a_verdict_says_what_and_why() {
    let decide = |image: &str, present: Option<(char, Sameness)>, choice: Option<Choice>| {
        let learnt = Learnt {
            present: present.map(|(letter, sameness)| (digest(letter), sameness)),
            choice,
            newest_digest: digest('n'),
        };
        decide(&Reference::parse(image).unwrap(), &running(&['1']), &learnt)
    };
    let verdict =
        decide("nginx:1.27", Some(('1', Sameness::Same)), Some(newest("1.29", Step::Minor)));
    assert_eq!((verdict.status, verdict.update_type), (Status::Available, Some(UpdateType::Minor)));
    assert_eq!((&*verdict.latest_tag, verdict.latest_digest), ("1.29", digest('n')));
    let why = "`1.29` is the newest of 3 tags of the form N.N at `docker.io`, and the container runs \
               `1.27`";
    assert_eq!(verdict.why, why);

    let verdict = decide("nginx", Some(('2', Sameness::Different)), None);
    assert_eq!(verdict.update_type, Some(UpdateType::DigestOnly));
    assert_eq!(verdict.latest_tag, "latest");
    let why = "`latest` at `docker.io` now names sha256:222222222222, and the container runs \
               sha256:111111111111";
    assert_eq!(verdict.why, why);

    let quiet = Choice { comparable: 5, elsewhere: Some("17".into()), ..Choice::default() };
    let verdict = decide("nginx:1.27", Some(('1', Sameness::Same)), Some(quiet));
    assert_eq!(verdict.status, Status::UpToDate);
    assert!(verdict.why.contains("no tag of the form N.N is newer"), "{}", verdict.why);
    assert!(verdict.why.contains("`17` exists, which is another line"), "{}", verdict.why);

    let verdict = decide("nginx", Some(('2', Sameness::SamePlatform)), None);
    assert!(verdict.why.contains("rebuilt for other platforms"), "{}", verdict.why);

    let verdict = decide("nginx", Some(('2', Sameness::Absent)), None);
    assert_eq!(verdict.status, Status::UpToDate);
    assert_eq!(verdict.why, "`latest` at `docker.io` has no image for linux/amd64");

    let pinned = format!("nginx:1.27@{}", digest('1'));
    assert_eq!(decide(&pinned, None, Some(Choice::default())).status, Status::UpToDate);
    let newer = decide(&pinned, None, Some(newest("1.29", Step::Minor)));
    assert_eq!(newer.status, Status::Available, "its digest never ages, its tag does");
}

#[test]
fn risk_and_severity_follow_the_contract() {
    let risks = [UpdateType::Major, UpdateType::Minor, UpdateType::Patch, UpdateType::DigestOnly];
    assert_eq!(risks.map(UpdateType::risk), [85, 50, 15, 5]);
    let severities = risks.map(|kind| kind.severity().as_str());
    assert_eq!(severities, ["critical", "info", "info", "info"]);
}

fn check_of(image: &str, tag: &str) -> Check {
    Check { image: image.into(), current_tag: tag.into(), ..Check::default() }
}

fn available(tag: &str, letter: char) -> Outcome {
    let verdict = Verdict {
        status: Status::Available,
        update_type: Some(UpdateType::DigestOnly),
        latest_tag: tag.to_owned(),
        latest_digest: digest(letter),
        why: "because".to_owned(),
    };
    Outcome::Found(verdict, None)
}

#[test]
fn a_failed_check_keeps_the_verdict_and_says_that_it_is_old() {
    let image = || check_of("nginx:latest", "latest");
    let runs = running(&['1']);
    let first = after(None, image(), available("latest", '2'), &runs, at(10));
    assert_eq!((first.detected_at, first.checked_at, first.stale), (at(10), Some(at(10)), false));

    let failed = || Outcome::Failed("registry is down".to_owned());
    let stale = after(Some(first.clone()), image(), failed(), &runs, at(20));
    assert_eq!(stale.verdict, first.verdict);
    assert_eq!((stale.stale, stale.checked_at), (true, Some(at(10))));
    assert_eq!(stale.error.as_deref(), Some("registry is down"));

    let again = after(Some(stale.clone()), image(), available("latest", '2'), &runs, at(30));
    assert_eq!((again.detected_at, again.stale, again.error), (at(10), false, None));

    let newer = after(Some(stale.clone()), image(), available("latest", '3'), &runs, at(30));
    assert_eq!(newer.detected_at, at(30), "another image is another update");

    let updated = after(Some(stale.clone()), image(), failed(), &running(&['2']), at(40));
    assert_eq!(updated.verdict.status, Status::UpToDate, "what was found runs now");

    let other = after(Some(stale), check_of("redis:7", "7"), failed(), &runs, at(50));
    assert_eq!((other.verdict.status, other.stale), (Status::Unknown, false));
}

#[test]
fn an_update_that_was_made_is_known_without_the_registry() {
    let found = Outcome::Found(
        Verdict {
            status: Status::Available,
            update_type: Some(UpdateType::Minor),
            latest_tag: "1.29".into(),
            latest_digest: digest('9'),
            why: String::new(),
        },
        None,
    );
    let before = after(None, check_of("nginx:1.27", "1.27"), found, &running(&['7']), at(10));
    let failed = Outcome::Failed("down".into());
    let now = check_of("nginx:1.29", "1.29");
    let now = after(Some(before), now, failed, &running(&['9']), at(20));
    assert_eq!(now.verdict.status, Status::UpToDate);
}

#[test]
fn credentials_are_those_of_docker_login() {
    let text = br#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0OndpdGgtY29sb24="},
            "registry.example:5000": {"username": "you", "password": "other"},
            "idp.example": {"identitytoken": "refresh"},
            "empty.example": {}
        },
        "credHelpers": {"gcr.io": "gcloud"},
        "credsStore": "desktop"
    }"#;
    let credentials = Credentials::parse(text).unwrap();
    let password = |host: &str| match credentials.find(host) {
        Some(Credential::Password { user, password }) => {
            Some((user.clone(), password.expose().to_owned()))
        }
        _ => None,
    };
    let hub = Some(("me".to_owned(), "secret:with-colon".to_owned()));
    assert_eq!(password("registry-1.docker.io"), hub);
    assert_eq!(password("registry.example:5000"), Some(("you".into(), "other".into())));
    assert!(matches!(credentials.find("idp.example"), Some(Credential::Identity(_))));
    assert!(credentials.find("empty.example").is_none());
    assert_eq!(credentials.helper("gcr.io"), Some("gcloud"));
    assert_eq!(credentials.helper("ghcr.io"), Some("desktop"));
    let fault = Credentials::parse(b"{\"auths\": \"secret\"}").unwrap_err();
    assert!(!fault.contains("secret"), "{fault}");
    let absent = Credentials::read(std::path::Path::new("/no/such/config.json"));
    assert!(absent.fault.is_none());
}
