//! What the public gets, and what subscribers are written.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::super::maintenance::{self, Step};
use super::super::model::{DAY_MS, Day, day};
use super::super::sql;
use super::super::sql::subscribers::{Mail, Outcome, list};
use super::super::subscribers::{self, whole_text};
use super::{Site, at, endpoint};
use crate::config::Edition;

const BAD: StatusCode = StatusCode::BAD_REQUEST;
const HOSTILE: &str = "</title><script>alert(1)</script>&\"'\u{7f}";

#[tokio::test]
async fn everything_foreign_is_escaped() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    let name = HOSTILE.replace('\u{7f}', "");
    let shop = site.component(&name, &[1], json!({})).await;
    for severity in ["minor", "major", "critical"] {
        let incident = json!({
            "title": name, "severity": severity, "message": name, "component_ids": [shop],
        });
        site.done(Method::POST, "/incidents", incident).await;
    }
    let window = json!({
        "title": name, "description": name, "component_ids": [shop],
        "starts_at": "2090-01-01T00:00:00Z", "ends_at": "2090-01-02T00:00:00Z",
    });
    site.done(Method::POST, "/maintenance", window).await;
    let (code, page) = site.get("/status/").await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(page.matches("<script").count(), 1, "ours alone");
    assert_eq!(page.matches("alert(1)").count(), page.matches("&lt;script&gt;alert(1)").count());
    let (_, feed) = site.get("/status/feed.atom").await;
    assert!(!feed.contains("<script") && feed.contains("&lt;script&gt;"), "{feed}");
    assert!(feed.starts_with("<?xml") && feed.ends_with("</feed>"), "{feed}");
}

#[tokio::test]
async fn the_policy_names_exactly_the_style_and_the_script_of_the_page() {
    use aws_lc_rs::digest;
    use base64::Engine;
    let site = Site::new();
    let request = Request::get("/status/").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(site.router.clone(), request).await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let (_, page) = site.get("/status/").await;
    for tag in ["style", "script"] {
        let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(hash);
        assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}'")), "{policy}");
    }
    assert!(!page.contains("style=") && !page.contains("onclick"), "no policy allows those");
}

#[tokio::test]
async fn the_page_of_nothing_says_so() {
    let site = Site::new();
    let (code, page) = site.get("/status/").await;
    assert_eq!(code, StatusCode::OK);
    assert!(page.contains("No components are shown yet."));
    let (_, api) = site.get("/status/api").await;
    let api: serde_json::Value = serde_json::from_str(&api).unwrap();
    assert_eq!(api["components"], json!([]));
    assert_eq!((&api["active_incidents"], &api["upcoming_maintenance"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn a_day_is_drawn_as_much_as_is_known_of_it() {
    let site = Site::new();
    let id = site.component("Web shop", &[1], json!({})).await;
    // Noon; of today a quarter is known, of yesterday half, of the day before less, which was out.
    let now = at(DAY_MS / 2000);
    let hours = |operational: i64, major_outage: i64| Day {
        operational: operational * 3_600_000,
        major_outage: major_outage * 3_600_000,
        ..Day::default()
    };
    let today = day(now);
    let known = [(0, hours(3, 0)), (1, hours(12, 0)), (2, hours(0, 2))];
    let known = known.map(|(ago, known)| ((id, today - ago), known)).into();
    site.store.write(move |tx| sql::days::add(tx, &known)).await.unwrap();
    let page = site.status.render(now).await.unwrap().html;
    let page = String::from_utf8(page.to_vec()).unwrap();
    for (class, path) in [
        ("s-operational", "M885 0V36M895 18V36"),
        ("s-major_outage", "M875 18V36"),
        ("s-unknown", "M5 26V36"),
    ] {
        assert!(page.contains(&format!(r#"<path class="{class}" d="{path}"#)), "{class}: {page}");
    }
    assert!(page.contains("2 h out of service, 22 h unknown"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_again_for_a_second_unless_something_changes() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    site.component("Web shop", &[1], json!({})).await;
    let begin = Instant::now();
    let asked = async |after| {
        let rendered = site.status.rendered(begin + Duration::from_millis(after)).await.unwrap();
        String::from_utf8(rendered.json.to_vec()).unwrap()
    };
    let first = asked(0).await;
    assert!(first.contains("operational"), "{first}");
    site.world.set(endpoint(1), "major_outage");
    assert_eq!(asked(999).await, first);
    assert!(asked(1000).await.contains("major_outage"));
    site.world.set(endpoint(1), "degraded");
    site.component("Other", &[1], json!({})).await;
    assert!(asked(1001).await.contains("degraded"), "there is another component");
}

/// Keeps every read waiting until what it returns is dropped.
fn stick(site: &Site) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel();
    let (stuck, is_stuck) = std::sync::mpsc::channel();
    let world = site.world.clone();
    std::thread::spawn(move || {
        let _held = world.monitors.lock().unwrap();
        stuck.send(()).unwrap();
        let _ = released.recv();
    });
    is_stuck.recv().unwrap();
    release
}

#[tokio::test(start_paused = true)]
async fn a_database_that_does_not_answer_is_not_asked_by_every_visitor() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    site.component("Web shop", &[1], json!({})).await;
    let begin = Instant::now();
    let first = site.status.rendered(begin).await.unwrap();
    let before = site.world.asked.load(Ordering::Relaxed);
    let stuck_until = stick(&site);
    let mut visitors = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let status = site.status.clone();
        let later = begin + Duration::from_secs(1);
        visitors.spawn(async move { status.rendered(later).await.unwrap().json });
    }
    // The clock stands still while a read is under way.
    while site.world.asked.load(Ordering::Relaxed) == before {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_mins(1)).await;
    let all = visitors.join_all().await;
    assert!(all.iter().all(|json| *json == first.json), "each gets what was known last");
    assert_eq!(site.world.asked.load(Ordering::Relaxed) - before, 1, "and one waited for more");
    drop(stuck_until);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_too_often_has_to_wait() {
    let site = Site::new();
    let mut codes = Vec::new();
    for _ in 0..25 {
        codes.push(site.get("/status").await.0.as_u16());
    }
    assert_eq!(codes.iter().filter(|code| **code == 308).count(), 20);
    let (_, refused) = site.get("/status").await;
    assert!(refused.contains(r#""code":"rate_limited""#), "{refused}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(site.get("/status").await.0, 308);
}

async fn subscribe(site: &Site, kind: &str, body: &str) -> (StatusCode, String) {
    let request = Request::post("/status/subscribe").header("content-type", kind);
    site.fetch(request.body(Body::from(body.to_owned())).unwrap()).await
}

fn token(text: &str) -> String {
    text.split("token=").nth(1).unwrap().chars().take_while(char::is_ascii_hexdigit).collect()
}

async fn press(site: &Site, path: &str) -> StatusCode {
    site.fetch(Request::post(path).body(Body::empty()).unwrap()).await.0
}

#[tokio::test]
async fn nobody_is_told_before_they_confirm_nor_after_they_leave() {
    let site = Site::new();
    let sent = r#"{"status":"confirmation_sent"}"#;
    let asked = subscribe(&site, "application/json", r#"{"email":"Ada@Example.org"}"#).await;
    assert_eq!(asked, (StatusCode::OK, sent.to_owned()));
    let form = "application/x-www-form-urlencoded";
    assert_eq!(subscribe(&site, form, "email=ada%40example.org").await.1, sent);
    let [Mail { to, text, .. }] = site.mails().await.try_into().unwrap();
    assert_eq!(to, "ada@example.org");
    let incident = json!({ "title": "It broke", "severity": "minor", "message": "We look." });
    site.done(Method::POST, "/incidents", incident.clone()).await;
    assert_eq!(site.mails().await.len(), 1, "not confirmed yet");
    let path = format!("/status/confirm?token={}", token(&text));
    for wrong in ["/status/confirm?token=0", "/status/confirm"] {
        assert_eq!((site.get(wrong).await.0, press(&site, wrong).await.as_u16()), (BAD, 400));
    }
    let confirmed = async || site.read("/subscribers").await["confirmed"].clone();
    // Who only opens the link, as mail gateways do, changes nothing.
    let (code, asked) = site.get(&path).await;
    assert!(code == 200 && asked.contains(r#"<form method="post"><button"#), "{asked}");
    let head = Request::head(&path).body(Body::empty()).unwrap();
    assert_eq!(site.fetch(head).await.0, 200);
    assert_eq!(confirmed().await, 0);
    assert_eq!(press(&site, &path).await, 200);
    assert_eq!(press(&site, &path).await, 200, "a button may be pressed twice");
    let listed = site.read("/subscribers").await;
    assert_eq!((&listed["total"], &listed["confirmed"]), (&json!(1), &json!(1)));
    assert_eq!(listed["subscribers"][0]["email"], "a***@example.org");
    assert_eq!(
        subscribe(&site, form, "email=ada%40example.org").await.1,
        sent,
        "nobody learns of it"
    );
    site.done(Method::POST, "/incidents", incident).await;
    let all = site.mails().await;
    let mail = all.last().unwrap();
    assert_eq!((all.len(), mail.subject.as_str()), (2, "[Example] Investigating: It broke"));
    let (text, unsubscribe) = whole_text(mail, &site.status.0.voice);
    assert!(text.contains("We look.") && text.contains("#incident-2"), "{text}");
    assert!(text.contains(&unsubscribe.unwrap()), "{text}");
    let path = format!("/status/unsubscribe?token={}", token(&text));
    assert_eq!(site.get(&path).await.0, 200);
    assert_eq!(confirmed().await, 1);
    assert_eq!(press(&site, &path).await, 200);
    assert_eq!((site.get(&path).await.0, press(&site, &path).await.as_u16()), (BAD, 400));
    assert_eq!(site.store.read(|db| list(db, 9)).await.unwrap().1, 0);
    assert!(site.mails().await.is_empty(), "nor what still waited");
    let letters = "SELECT count(*) FROM status_letters";
    let left = site.store.read(move |db| db.query_row(letters, [], |row| row.get::<_, i64>(0)));
    assert_eq!(left.await.unwrap(), 0, "nor what was written");
}

#[tokio::test]
async fn nobody_is_asked_more_than_once_an_hour_and_no_answer_tells_who_is_known() {
    let site = Site::new();
    let voice = site.status.0.voice.clone();
    let ask = move |tx: &rusqlite::Connection, email: &str, second: i64| {
        let wish = subscribers::wanted(email.to_owned(), at(second)).unwrap();
        subscribers::subscribe(tx, &wish, &voice, at(second)).unwrap()
    };
    let work = move |tx: &rusqlite::Connection| {
        assert!(matches!(ask(tx, "ada@example.org", 0), Outcome::Asked(_)));
        assert_eq!(ask(tx, "ada@example.org", 3599), Outcome::Known);
        assert!(matches!(ask(tx, "ada@example.org", 3600), Outcome::Asked(_)));
        // 60 in an hour, whoever asks.
        for number in 0..59 {
            let email = format!("a{number}@example.org");
            assert!(matches!(ask(tx, &email, 3600), Outcome::Asked(_)), "{number}");
        }
        for email in ["ada@example.org", "a1@example.org", "new@example.org"] {
            assert_eq!(ask(tx, email, 3601), Outcome::Full, "{email}");
        }
        // 200 in a day.
        for number in 60..200 {
            let email = format!("a{number}@example.org");
            let hour = 2 + i64::from(number / 50);
            assert!(matches!(ask(tx, &email, hour * 3600), Outcome::Asked(_)), "{number}");
        }
        for email in ["ada@example.org", "a1@example.org", "new@example.org"] {
            assert_eq!(ask(tx, email, 8 * 3600), Outcome::Full, "{email}");
        }
        // Who did not confirm in time leaves room at once.
        assert!(matches!(ask(tx, "new@example.org", 26 * 3600), Outcome::Asked(_)));
        Ok(())
    };
    site.store.write(work).await.unwrap();
}

#[tokio::test]
async fn a_page_of_another_site_subscribes_nobody() {
    let site = Site::new();
    for (from, code) in [("cross-site", 403), ("same-origin", 200)] {
        let request = Request::post("/status/subscribe").header("sec-fetch-site", from);
        let body = Body::from("email=ada@example.org");
        assert_eq!(site.fetch(request.body(body).unwrap()).await.0, code, "{from}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_has_so_many_streams_and_each_ends() {
    let site = Site::new();
    let open = async || {
        let request = Request::get("/status/events").body(Body::empty()).unwrap();
        tower::ServiceExt::oneshot(site.router.clone(), request).await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(open().await);
    }
    assert!(streams.iter().all(|stream| stream.status() == 200));
    assert_eq!(open().await.status(), 503);
    drop(streams.pop());
    let last = open().await;
    assert_eq!(last.status(), 200, "who leaves makes room");
    let begin = Instant::now();
    http_body_util::BodyExt::collect(last.into_body()).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 3600, "and none is for ever");
    assert_eq!(open().await.status(), 200);
}

#[tokio::test]
async fn links_to_incidents_and_windows_lead_somewhere_as_long_as_the_feed_tells_of_them() {
    let site = Site::new();
    let now = maintenant_serve::clock::now();
    let ago = move |days: i64| now - jiff::SignedDuration::from_hours(24 * days);
    let voice = site.status.0.voice.clone();
    let work = move |tx: &rusqlite::Connection| {
        let window = maintenant_api::status::Maintenance {
            id: 0,
            title: "Upgrade".into(),
            description: String::new(),
            starts_at: ago(28),
            ends_at: ago(27),
            active: false,
            incident_id: None,
            components: Vec::new(),
            created_at: ago(30),
            updated_at: ago(30),
            url: None,
        };
        let id = sql::maintenance::insert(tx, &window, &[])?;
        for (step, day) in [(Step::Start, 28), (Step::End, 27)] {
            let window = sql::maintenance::find(tx, id)?.unwrap();
            maintenance::apply(tx, &window, step, &voice, ago(day))?;
        }
        Ok(())
    };
    site.store.write(work).await.unwrap();
    let feed = site.get("/status/feed.atom").await.1;
    let page = site.get("/status/").await.1;
    assert!(feed.contains("#incident-1") && page.contains(r#"id="incident-1""#), "{feed}");
    assert!(page.contains(r#"id="maintenance-1""#));
}

#[tokio::test]
async fn what_is_no_address_is_refused_and_too_many_are_too() {
    let site = Site::new();
    for (kind, body) in [
        ("application/json", "{}"),
        ("application/json", "nonsense"),
        ("application/json", r#"{"email":"a@b.c\r\nBcc: d@e.f"}"#),
        ("text/plain", "email=nobody"),
        ("", ""),
    ] {
        assert_eq!(subscribe(&site, kind, body).await.0, 400, "{body}");
    }
    let mut codes = Vec::new();
    for number in 0..7 {
        codes.push(subscribe(&site, "", &format!("email=a{number}@example.org")).await.0.as_u16());
    }
    assert_eq!(codes, [200, 200, 200, 200, 200, 429, 429]);
    let without = Site::with(Edition::Extended, false);
    assert_eq!(subscribe(&without, "", "email=ada@example.org").await.0, 503);
    let page = without.get("/status/").await.1;
    assert!(!page.contains("action=\"subscribe\""));
}
