use std::collections::BTreeMap;

use maintenant_api::certificates::{CertificateSource, CertificateStatus, Verdict};
use rusqlite::Connection;

use super::changes::{found, monitor};
use super::pki::{day, pki, server, shows};
use crate::certificates::model::Event;
use crate::certificates::sources::{Asked, Server, differ};
use crate::certificates::sql::{self, Wanted};
use crate::certificates::starttls::StartTls;
use crate::certificates::verdict::Finding;
use crate::net::tls::server_name;

struct Database {
    connection: Connection,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

fn database() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    drop(crate::store::Store::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = OFF").unwrap();
    Database { connection, _folder: folder }
}

fn asked(source: CertificateSource) -> Asked {
    let endpoint_id = (source == CertificateSource::Auto).then_some(9);
    let external_id = if source == CertificateSource::Label { "abc" } else { "" };
    Asked { source, endpoint_id, external_id: external_id.to_owned(), server_name: None }
}

fn wanted(host: &str) -> Wanted {
    let mut target = monitor().target;
    target.host = host.to_owned();
    Wanted { target, interval_seconds: 43_200, thresholds: vec![30, 7] }
}

fn create(db: &Connection, host: &str, source: CertificateSource) -> i64 {
    sql::create(db, &wanted(host), &asked(source), day(0)).unwrap().unwrap()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|(name, _)| *name).collect()
}

#[test]
fn what_is_stored_is_read_back() {
    let db = database();
    let mut all = wanted("mail.test");
    all.target.port = 25;
    all.target.server_name = Some("mx.test".to_owned());
    all.target.starttls = Some(StartTls::Smtp);
    all.target.ca_certificates = Some("PEM".to_owned());
    let id = sql::create(&db, &all, &asked(CertificateSource::Label), day(0)).unwrap().unwrap();
    let monitor = sql::find(&db, id).unwrap().unwrap();
    assert_eq!((&monitor.target, &monitor.thresholds), (&all.target, &all.thresholds));
    assert_eq!((monitor.external_id.as_str(), monitor.state.next_check_at), ("abc", day(0)));

    let pki = pki();
    let leaf = server().issued_by(&pki.intermediate);
    let name = server_name("lab.test").unwrap();
    let finding =
        Finding::of(&shows(&[&leaf, &pki.intermediate]), &name, &pki.trust, None, day(340));
    let events = sql::record(&db, &monitor, &finding, day(340)).unwrap();
    assert_eq!(names(&events)[2..], ["certificate.alert"]);
    let (after, check) = sql::find_with_check(&db, id).unwrap().unwrap();
    assert_eq!(check.as_ref().unwrap().finding, finding);
    assert_eq!(after.state.status, CertificateStatus::Expiring);
    assert_eq!(after.state.alerts.expiring.map(|(_, days)| days), Some(30));
    assert_eq!(sql::list(&db, None, None).unwrap(), [(after.clone(), check)]);
    let status = Some(CertificateStatus::Valid);
    assert_eq!(sql::list(&db, status, None).unwrap(), []);
    // Told once, also after a restart.
    let again = sql::record(&db, &after, &finding, day(340)).unwrap();
    assert_eq!(names(&again), ["certificate.check_completed"]);
    assert_eq!(sql::checks(&db, id, 1, 0).unwrap().1, 2);
    assert_eq!(sql::checks(&db, id, 5, 1).unwrap().0.len(), 1);
}

#[test]
fn a_server_is_watched_once() {
    let db = database();
    create(&db, "a.test", CertificateSource::Auto);
    let again = asked(CertificateSource::Standalone);
    let outcome = sql::create(&db, &wanted("a.test"), &again, day(0)).unwrap();
    assert_eq!(outcome, Err(CertificateSource::Auto));
}

#[test]
fn a_check_of_what_was_changed_or_deleted_meanwhile_is_dropped() {
    let db = database();
    let id = create(&db, "a.test", CertificateSource::Standalone);
    let before = sql::find(&db, id).unwrap().unwrap();
    sql::update(&db, id, &wanted("a.test"), day(1)).unwrap();
    let finding = found(Verdict::Ok, day(-1), day(364));
    assert!(sql::record(&db, &before, &finding, day(1)).unwrap().is_empty());
    let now = sql::find(&db, id).unwrap().unwrap();
    assert_eq!((now.state.last_check_at, now.state.next_check_at), (None, day(1)));
    sql::delete(&db, id).unwrap();
    assert!(sql::record(&db, &now, &finding, day(1)).unwrap().is_empty());
}

#[test]
fn what_is_due_survives_a_clock_set_back() {
    let db = database();
    let id = create(&db, "a.test", CertificateSource::Standalone);
    let ids = |at| -> Vec<i64> { sql::due(&db, at).unwrap().iter().map(|one| one.id).collect() };
    assert_eq!(ids(day(0)), [id]);
    sql::defer(&db, id, day(0) + super::pki::hours(5)).unwrap();
    assert_eq!(ids(day(0)), [0; 0]);
    assert_eq!(sql::next_due(&db, day(0)).unwrap(), Some(day(0) + super::pki::hours(5)));
    assert_eq!(ids(day(1)), [id]);
    assert_eq!(ids(day(-300)), [id], "scheduled further ahead than its interval");
}

#[test]
fn the_table_becomes_what_labels_and_endpoints_ask_for() {
    let db = database();
    let server = |host: &str| -> Server { (host.to_owned(), 443) };
    let declare = |wanted: &BTreeMap<Server, Asked>| {
        let differs = differ(&sql::sources(&db).unwrap(), wanted);
        let events = sql::declare(&db, wanted, day(0)).unwrap();
        assert!(!differ(&sql::sources(&db).unwrap(), wanted));
        (differs, names(&events).join(" "))
    };
    let standalone = create(&db, "own.test", CertificateSource::Standalone);
    let (label, auto) = (asked(CertificateSource::Label), asked(CertificateSource::Auto));
    let mut wanted: BTreeMap<_, _> =
        [(server("own.test"), auto.clone()), (server("a.test"), auto.clone())].into();
    assert_eq!(declare(&wanted), (true, "certificate.created".to_owned()));
    assert_eq!(declare(&wanted), (false, String::new()));
    // A label takes over what an endpoint asked for, with its history.
    let id = sql::sources(&db).unwrap()[&server("a.test")].0;
    wanted.insert(server("a.test"), label.clone());
    assert_eq!(declare(&wanted), (true, String::new()));
    assert_eq!(sql::sources(&db).unwrap()[&server("a.test")], (id, label));
    wanted.clear();
    assert_eq!(declare(&wanted), (true, "certificate.deleted".to_owned()));
    let left = sql::sources(&db).unwrap();
    assert_eq!(left[&server("own.test")].0, standalone);
    assert_eq!(left.len(), 1);
}

#[test]
fn what_is_asked_for_again_comes_back_as_it_was() {
    let db = database();
    let a: Server = ("a.test".to_owned(), 443);
    let label = asked(CertificateSource::Label);
    let wanted_now: BTreeMap<_, _> = [(a.clone(), label.clone())].into();
    sql::declare(&db, &wanted_now, day(0)).unwrap();
    let id = sql::sources(&db).unwrap()[&a].0;
    let mut settings = wanted("a.test");
    settings.thresholds = vec![100];
    sql::update(&db, id, &settings, day(0)).unwrap();
    let before = sql::find(&db, id).unwrap().unwrap();
    let bad = found(Verdict::NameMismatch, day(-1), day(364));
    sql::record(&db, &before, &bad, day(0)).unwrap();
    let before = sql::find(&db, id).unwrap().unwrap();

    let none = BTreeMap::new();
    assert_eq!(names(&sql::declare(&db, &none, day(1)).unwrap()), ["certificate.deleted"]);
    assert_eq!(sql::declare(&db, &none, day(1)).unwrap(), []);
    assert_eq!(sql::find(&db, id).unwrap(), None);
    assert!(sql::find_with_check(&db, id).unwrap().is_none());
    assert_eq!(sql::list(&db, None, None).unwrap(), []);
    assert_eq!(sql::due(&db, day(9)).unwrap(), []);
    assert_eq!(sql::next_due(&db, day(-9)).unwrap(), None);
    assert!(sql::record(&db, &before, &bad, day(1)).unwrap().is_empty());

    let events = sql::declare(&db, &wanted_now, day(2)).unwrap();
    assert_eq!(names(&events), ["certificate.created"]);
    let after = sql::find(&db, id).unwrap().unwrap();
    assert_eq!(after.thresholds, [100]);
    assert!(after.state.alerts.hostname_mismatch);
    assert_eq!((after.state.next_check_at, &after.source), (day(2), &label.source));
    assert_eq!(sql::checks(&db, id, 9, 0).unwrap().1, 1);
    // A check of before is none of now.
    assert!(sql::record(&db, &before, &bad, day(2)).unwrap().is_empty());

    sql::declare(&db, &none, day(3)).unwrap();
    let own = asked(CertificateSource::Standalone);
    assert_eq!(sql::create(&db, &wanted("a.test"), &own, day(4)).unwrap(), Ok(id));
    let after = sql::find(&db, id).unwrap().unwrap();
    assert_eq!((after.source, after.thresholds), (own.source, vec![30, 7]));
    assert_eq!(sql::declare(&db, &none, day(4)).unwrap(), []);
}

#[test]
fn what_nobody_asks_for_is_forgotten_in_the_end() {
    let db = database();
    let (kept, gone) = ("kept.test", "gone.test");
    create(&db, kept, CertificateSource::Standalone);
    create(&db, gone, CertificateSource::Label);
    sql::declare(&db, &BTreeMap::new(), day(0)).unwrap();
    let [unwanted, ..] = sql::KEEPS;
    assert_eq!(unwanted.days, 30);
    assert_eq!((unwanted.delete)(&db, day(0).as_millisecond(), 2000).unwrap(), 0);
    assert_eq!((unwanted.delete)(&db, day(1).as_millisecond(), 2000).unwrap(), 1);
    let left: String =
        db.query_row("SELECT hostname FROM certificate_monitors", [], |row| row.get(0)).unwrap();
    assert_eq!(left, kept);
}

#[test]
fn the_name_of_an_endpoint_is_used_until_a_user_sets_another() {
    let db = database();
    let a: Server = ("a.test".to_owned(), 443);
    let declare = |name: Option<&str>, at| {
        let mut asked = asked(CertificateSource::Auto);
        asked.server_name = name.map(str::to_owned);
        let wanted: BTreeMap<_, _> = [(a.clone(), asked)].into();
        assert!(differ(&sql::sources(&db).unwrap(), &wanted));
        sql::declare(&db, &wanted, day(at)).unwrap();
        assert!(!differ(&sql::sources(&db).unwrap(), &wanted));
    };
    let now = || sql::list(&db, None, None).unwrap().remove(0).0;
    let name = || now().target.server_name;
    declare(Some("shop.test"), 0);
    assert_eq!(name().as_deref(), Some("shop.test"));
    // Another change by the user keeps it the endpoint's.
    let set = |target| {
        let wanted = Wanted { target, ..wanted("a.test") };
        sql::update(&db, now().id, &wanted, day(1)).unwrap();
    };
    set(now().target);
    let before = now().revision;
    declare(Some("other.test"), 2);
    assert_eq!(name().as_deref(), Some("other.test"));
    assert_eq!((now().state.next_check_at, now().revision), (day(2), before + 1));
    // The user wants the host itself, or none.
    for own in [None, Some(String::new()), Some("own.test".to_owned())] {
        let mut target = now().target;
        target.server_name.clone_from(&own);
        set(target);
        assert_eq!(name(), own);
        set(now().target);
        assert_eq!(name(), own);
    }
    declare(None, 3);
    assert_eq!(name().as_deref(), Some("own.test"));
}

#[test]
fn a_busy_host_does_not_hide_the_others() {
    let db = database();
    for port in 1..=300 {
        let mut one = wanted("busy.test");
        one.target.port = port;
        sql::create(&db, &one, &asked(CertificateSource::Label), day(0)).unwrap().unwrap();
    }
    let mut other = wanted("other.test");
    other.target.port = 1;
    sql::create(&db, &other, &asked(CertificateSource::Label), day(1)).unwrap().unwrap();
    let due = sql::due(&db, day(1)).unwrap();
    let hosts: Vec<_> = due.iter().map(|one| one.target.host.as_str()).collect();
    assert_eq!(hosts, ["busy.test", "other.test"]);
}

#[test]
fn old_checks_go_and_the_newest_stays() {
    let db = database();
    let id = create(&db, "a.test", CertificateSource::Standalone);
    let monitor = sql::find(&db, id).unwrap().unwrap();
    let finding = found(Verdict::Ok, day(-1), day(364));
    for _ in 0..598 {
        sql::record(&db, &monitor, &finding, day(1)).unwrap();
    }
    let count = || sql::checks(&db, id, 1, 0).unwrap().1;
    let [_, old, excess, unused] = sql::KEEPS;
    let findings = || -> i64 {
        db.query_row("SELECT count(*) FROM certificate_findings", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(findings(), 1, "the same is stored once");
    let other = found(Verdict::NameMismatch, day(-1), day(364));
    sql::record(&db, &monitor, &other, day(1)).unwrap();
    sql::record(&db, &monitor, &finding, day(1)).unwrap();
    assert_eq!(findings(), 3);
    assert_eq!((excess.delete)(&db, 0, 60).unwrap(), 60);
    assert_eq!((excess.delete)(&db, 0, 60).unwrap(), 40);
    assert_eq!(count(), 500);
    assert_eq!((old.delete)(&db, day(1).as_millisecond(), 2000).unwrap(), 0);
    assert_eq!((old.delete)(&db, day(2).as_millisecond(), 2000).unwrap(), 499);
    assert_eq!(sql::list(&db, None, None).unwrap()[0].1.as_ref().unwrap().finding, finding);
    assert_eq!((unused.delete)(&db, 0, 2000).unwrap(), 2);
    assert_eq!(findings(), 1);
    sql::delete(&db, id).unwrap();
    assert_eq!(findings(), 0);
}
