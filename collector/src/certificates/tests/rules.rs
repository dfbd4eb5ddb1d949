//! What is wrong with a certificate, by what checks found, on a real database.

use maintenant_api::alerts::Severity;
use maintenant_api::certificates::{CertificateSource, Verdict};
use rusqlite::Connection;

use super::changes::{found, monitor};
use super::pki::day;
use crate::certificates::rules::Rules;
use crate::certificates::sources::Asked;
use crate::certificates::sql::{self, Wanted};
use crate::certificates::thresholds;
use crate::certificates::verdict::Finding;
use crate::signals::{Entity, Findings, Signal, Source};

/// One server that an endpoint brought, its checks recorded day by day.
struct World {
    db: Connection,
    id: i64,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(source: CertificateSource) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.db");
        drop(crate::store::Store::open(&path).unwrap());
        let db = Connection::open(&path).unwrap();
        let endpoint_id = (source == CertificateSource::Auto).then_some(9);
        let asked = Asked { source, endpoint_id, external_id: String::new(), server_name: None };
        let wanted = Wanted {
            target: monitor().target,
            interval_seconds: 43_200,
            thresholds: thresholds::DEFAULT.into(),
        };
        let id = sql::create(&db, &wanted, &asked, day(0)).unwrap().unwrap();
        Self { db, id, _folder: folder }
    }

    fn record(&self, on: i64, finding: &Finding) {
        let monitor = sql::find(&self.db, self.id).unwrap().unwrap();
        sql::record(&self.db, &monitor, finding, day(on)).unwrap();
    }

    fn find(&self, on: i64) -> Findings {
        Rules.find(&self.db, day(on)).unwrap()
    }
}

fn ok() -> Finding {
    found(Verdict::Ok, day(-265), day(100))
}

fn gone() -> Finding {
    let error = "nobody listens there".to_owned();
    Finding::without_chain(Verdict::Unreachable, error, "Look at the server.")
}

fn told(signal: &Signal) -> String {
    let since = signal.since.duration_since(day(0)).as_secs().div_euclid(86_400);
    format!("{} {} {since}", signal.alert_type, signal.severity.as_str())
}

/// What is wrong after these checks, each on its day.
fn check(checks: &[(i64, Finding)], expected: &[&str]) {
    let world = World::new(CertificateSource::Standalone);
    for (on, finding) in checks {
        world.record(*on, finding);
    }
    let last = checks.last().map_or(0, |(on, _)| *on);
    let signals = world.find(last).signals;
    assert_eq!(signals.iter().map(told).collect::<Vec<_>>(), expected);
}

#[test]
fn an_end_is_told_by_thresholds_since_the_first_was_crossed() {
    check(&[(69, ok())], &[]);
    // "30 days" are left from a millisecond after 31 days on.
    check(&[(70, ok())], &["expiring info 69"]);
    check(&[(86, ok())], &["expiring warning 69"]);
    check(&[(93, ok())], &["expiring critical 69"]);
    let renewed = found(Verdict::Ok, day(90), day(455));
    check(&[(93, ok()), (94, renewed)], &[]);
    let expired = found(Verdict::Expired, day(-265), day(100));
    check(&[(93, ok()), (101, expired)], &["expired critical 100"]);
}

#[test]
fn each_verdict_has_its_type() {
    for (verdict, expected) in [
        (Verdict::NotYetValid, "not_yet_valid critical 3"),
        (Verdict::NameMismatch, "hostname_mismatch critical 3"),
        (Verdict::CommonNameOnly, "hostname_mismatch critical 3"),
        (Verdict::SelfSigned, "chain_invalid critical 3"),
        (Verdict::IncompleteChain, "chain_invalid critical 3"),
        (Verdict::UntrustedRoot, "chain_invalid critical 3"),
        (Verdict::Unacceptable, "chain_invalid critical 3"),
        (Verdict::Revoked, "revoked critical 3"),
    ] {
        let finding = found(verdict, day(-265), day(100));
        check(&[(1, ok()), (3, finding.clone())], &[expected]);
        check(&[(3, finding), (4, ok())], &[]);
    }
}

#[test]
fn a_server_is_out_of_reach_after_two_checks() {
    check(&[(1, ok()), (3, gone())], &[]);
    check(&[(1, ok()), (3, gone()), (4, gone())], &["unreachable warning 3"]);
    check(&[(3, gone()), (4, gone()), (5, gone())], &["unreachable warning 3"]);
    check(&[(3, gone()), (4, gone()), (5, ok())], &[]);
}

#[test]
fn what_was_last_found_still_counts_while_a_server_is_out_of_reach() {
    let expired = found(Verdict::Expired, day(-265), day(1));
    check(&[(3, expired.clone()), (4, gone())], &["expired critical 1"]);
    let checks = [(3, expired), (4, gone()), (5, gone())];
    check(&checks, &["expired critical 1", "unreachable warning 4"]);
    // It may have been renewed: nobody saw it expire.
    let checks = [(95, ok()), (99, gone()), (101, gone())];
    check(&checks, &["expiring critical 69", "unreachable warning 99"]);
}

#[test]
fn a_server_that_an_endpoint_brought_is_out_of_reach_because_of_it() {
    let world = World::new(CertificateSource::Auto);
    assert_eq!(world.find(0).unknown, [Entity { kind: "certificate", id: world.id }].into());
    world.record(95, &ok());
    world.record(96, &gone());
    world.record(97, &gone());
    let found = world.find(97);
    let by: Vec<_> = found.signals.iter().map(|signal| signal.explained_by.clone()).collect();
    assert_eq!(by, [None, Some(Entity { kind: "endpoint", id: 9 })]);
    let [expiring, unreachable] = found.signals.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        unreachable.message,
        "No certificate is seen of `lab.test:443`, which cannot be reached"
    );
    assert_eq!(unreachable.details["hint"], "Look at the server.");
    assert_eq!(unreachable.due, day(97));
    assert!(expiring.message.starts_with("The certificate of `lab.test:443` ends on 20"));
    assert_eq!(expiring.severity, Severity::Critical);
    assert_eq!(expiring.details["days_remaining"], 3, "counted from now");
}

#[test]
fn what_was_out_of_reach_with_its_endpoint_is_due_when_that_recovers() {
    let world = World::new(CertificateSource::Auto);
    let find = || sql::find(&world.db, world.id).unwrap().unwrap();
    world.record(1, &ok());
    assert!(!sql::is_missed(&world.db, None).unwrap());
    assert_eq!(sql::hasten(&world.db, Some(9), day(1)).unwrap(), 0, "it was seen");
    let under_way = find();
    world.record(2, &gone());
    assert!(sql::is_missed(&world.db, Some(9)).unwrap());
    assert_eq!(sql::hasten(&world.db, Some(8), day(2)).unwrap(), 0, "of another endpoint");
    assert_eq!(sql::hasten(&world.db, Some(9), day(2)).unwrap(), 1);
    assert_eq!(find().state.next_check_at, day(2));
    // What began before says nothing any more.
    sql::record(&world.db, &under_way, &gone(), day(2)).unwrap();
    assert_eq!(find().state.next_check_at, day(2));
    world.record(2, &ok());
    assert!(world.find(2).signals.is_empty());
    let alone = World::new(CertificateSource::Standalone);
    alone.record(2, &gone());
    assert_eq!(sql::hasten(&alone.db, None, day(2)).unwrap(), 0);
}

#[test]
fn what_is_watched_no_more_is_no_trouble() {
    let world = World::new(CertificateSource::Auto);
    let entity = Entity { kind: "certificate", id: world.id };
    world.record(95, &ok());
    assert!(Rules.exists(&world.db, &entity).unwrap());
    sql::declare(&world.db, &[].into(), day(96)).unwrap();
    assert_eq!(world.find(96), Findings::default());
    assert!(!Rules.exists(&world.db, &entity).unwrap());
}
