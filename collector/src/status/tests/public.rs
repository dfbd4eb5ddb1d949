//! What the public gets, and what subscribers are written.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::json;

use super::super::sql::subscribers::{due, list};
use super::{Site, at, endpoint};
use crate::config::Edition;

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
async fn an_answer_is_given_again_until_something_changes() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    site.component("Web shop", &[1], json!({})).await;
    let (_, before) = site.get("/status/api").await;
    site.world.set(endpoint(1), "major_outage");
    assert_eq!(site.get("/status/api").await.1, before);
    site.watch().look(at(0)).await.unwrap();
    site.component("Other", &[1], json!({})).await;
    assert!(site.get("/status/api").await.1.contains("major_outage"));
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
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(site.get("/status").await.0, 308);
}

async fn subscribe(site: &Site, kind: &str, body: &str) -> (StatusCode, String) {
    let request = Request::post("/status/subscribe").header("content-type", kind);
    site.fetch(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// What waits to be sent: addressee, subject and text.
async fn mails(site: &Site) -> Vec<(String, String, String)> {
    let far = maintenant_serve::clock::now() + jiff::SignedDuration::from_hours(1);
    let mails = site.store.read(move |db| due(db, 100, far)).await.unwrap();
    mails.into_iter().map(|mail| (mail.to, mail.subject, mail.text)).collect()
}

fn token(text: &str) -> String {
    text.split("token=").nth(1).unwrap().chars().take_while(char::is_ascii_hexdigit).collect()
}

#[tokio::test]
async fn nobody_is_told_before_they_confirm_nor_after_they_leave() {
    let site = Site::new();
    let sent = r#"{"status":"confirmation_sent"}"#;
    let asked = subscribe(&site, "application/json", r#"{"email":"Ada@Example.org"}"#).await;
    assert_eq!(asked, (StatusCode::OK, sent.to_owned()));
    let form = "application/x-www-form-urlencoded";
    assert_eq!(subscribe(&site, form, "email=ada%40example.org").await.1, sent);
    let [(to, _, text)] = mails(&site).await.try_into().unwrap();
    assert_eq!(to, "ada@example.org");
    let incident = json!({ "title": "It broke", "severity": "minor", "message": "We look." });
    site.done(Method::POST, "/incidents", incident.clone()).await;
    assert_eq!(mails(&site).await.len(), 1, "not confirmed yet");
    assert_eq!(site.get("/status/confirm?token=0").await.0, 400);
    assert_eq!(site.get("/status/confirm").await.0, 400);
    let path = format!("/status/confirm?token={}", token(&text));
    assert_eq!(site.get(&path).await.0, 200);
    assert_eq!(site.get(&path).await.0, 200, "a mail may be opened twice");
    let listed = site.read("/subscribers").await;
    assert_eq!((&listed["total"], &listed["confirmed"]), (&json!(1), &json!(1)));
    assert_eq!(listed["subscribers"][0]["email"], "a***@example.org");
    assert_eq!(
        subscribe(&site, form, "email=ada%40example.org").await.1,
        sent,
        "nobody learns of it"
    );
    site.done(Method::POST, "/incidents", incident).await;
    let all = mails(&site).await;
    let (_, subject, text) = all.last().unwrap();
    assert_eq!((all.len(), subject.as_str()), (2, "[Example] Investigating: It broke"));
    assert!(text.contains("We look.") && text.contains("#incident-2"), "{text}");
    let path = format!("/status/unsubscribe?token={}", token(text));
    assert_eq!(site.get(&path).await.0, 200);
    assert_eq!(site.get(&path).await.0, 400);
    assert_eq!(site.store.read(|db| list(db, 9)).await.unwrap().1, 0);
    assert!(mails(&site).await.is_empty(), "nor what still waited");
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
