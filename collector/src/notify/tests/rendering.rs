use serde_json::{Value, json};

use super::super::channels::Headers;
use super::super::kinds::{Kind, Request, render};
use super::super::snapshot;
use super::*;

/// Text that every service would act upon.
const HOSTILE: &str = "@everyone <!channel> <@U1> *b* _i_ `c` [x](https://evil.example) <b>&amp;\
    {{DATE(2026-01-01)}} \u{202e}\u{1b}[2J\r\nBcc: all@example.org";

fn payload(alert: &Alert, event: Event) -> String {
    snapshot::of_channel(event.as_str(), &snapshot::alert_map(alert), at(1))
}

fn post(kind: Kind, url: &str, alert: &Alert, event: Event) -> (String, Value) {
    match render(kind, url, &Headers::new(), &payload(alert, event)).unwrap() {
        Request::Http { url, body, .. } => (url.into(), serde_json::from_str(&body).unwrap()),
        Request::Mail { .. } => panic!("a mail"),
    }
}

fn hostile(length: usize) -> Alert {
    let text = HOSTILE.repeat(length.div_ceil(HOSTILE.len()));
    Alert { entity_name: text.clone(), message: text, ..alert() }
}

#[test]
fn a_webhook_gets_the_contracts_body() {
    let (url, body) = post(Kind::Webhook, "https://h.example/x?y=1", &alert(), Event::Fired);
    assert_eq!(url, "https://h.example/x?y=1");
    assert_eq!(
        body,
        json!({
            "event": "alert.fired",
            "alert": {
                "id": 7,
                "source": "container",
                "alert_type": "container_down",
                "severity": "critical",
                "status": "active",
                "message": "it stopped with exit code 137",
                "entity_type": "container",
                "entity_id": 12,
                "entity_name": "web",
                "details": { "exit_code": 137 },
                "fired_at": "2026-01-01T00:00:00Z",
                "created_at": "2026-01-01T00:00:00Z",
            },
            "timestamp": "2026-01-01T00:00:01Z",
        })
    );
    for details in ["{}", r#"{"last_log_lines":["password=s3cret"]}"#] {
        let plain = Alert { details: details.into(), ..alert() };
        let (_, body) = post(Kind::Webhook, "https://h.example/", &plain, Event::Fired);
        assert!(body["alert"].get("details").is_none());
    }
    let details = r#"{"exit_code":1,"last_log_lines":["password=s3cret"],"since":"x"}"#;
    let logged = Alert { details: details.into(), ..alert() };
    let (_, body) = post(Kind::Webhook, "https://h.example/", &logged, Event::Fired);
    assert_eq!(body["alert"]["details"], json!({ "exit_code": 1, "since": "x" }));
}

#[test]
fn discord_gets_one_embed_in_the_colour_of_the_severity() {
    let check = |severity, event, colour: u32, title: &str| {
        let alert = Alert { severity, ..alert() };
        let (_, body) = post(Kind::Discord, "https://discord.com/api/webhooks/1/t", &alert, event);
        let embed = &body["embeds"][0];
        assert_eq!(embed["color"], colour);
        assert_eq!(embed["title"], title);
        assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
    };
    let title = "Alert: container\\_down on container web";
    check(Severity::Critical, Event::Fired, 0xEF_44_44, title);
    check(Severity::Warning, Event::Fired, 0xF5_9E_0B, title);
    let title = "Resolved: container\\_down on container web";
    check(Severity::Info, Event::Resolved, 0x22_C5_5E, title);
}

#[test]
fn discord_acts_upon_nothing_in_foreign_text() {
    let (_, body) = post(Kind::Discord, "https://d.example/", &hostile(1), Event::Fired);
    let text = body["embeds"][0]["description"].as_str().unwrap();
    assert!(!text.contains("@everyone") && !text.contains("\u{202e}") && !text.contains('\u{1b}'));
    assert!(
        text.contains("\\*b\\*") && text.contains("\\[x\\]\\(") && text.contains("\\<"),
        "{text}"
    );
    assert!(!text.replace("\\<", "").contains('<'));
}

#[test]
fn slack_gets_plain_text_and_no_markup() {
    let (_, body) = post(Kind::Slack, "https://hooks.slack.com/x", &hostile(1), Event::Fired);
    let all = body.to_string();
    assert!(!all.contains("<!channel>") && !all.contains("<@U1>"), "{all}");
    assert!(all.contains("&lt;!channel&gt;"), "{all}");
    for block in body["blocks"].as_array().unwrap() {
        for text in
            block.get("text").into_iter().chain(block["fields"].as_array().into_iter().flatten())
        {
            assert_eq!(text["type"], "plain_text", "{block}");
        }
    }
    let empty = Alert { message: String::new(), ..alert() };
    let (_, body) = post(Kind::Slack, "https://hooks.slack.com/x", &empty, Event::Fired);
    assert_eq!(body["blocks"][1]["text"]["text"], "-");
}

#[test]
fn teams_gets_an_adaptive_card_of_text_runs() {
    let (_, body) = post(Kind::Teams, "https://t.example/", &hostile(1), Event::Fired);
    assert_eq!(body["type"], "message");
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(attachment["content"]["type"], "AdaptiveCard");
    for block in attachment["content"]["body"].as_array().unwrap() {
        assert_eq!(block["type"], "RichTextBlock");
    }
    assert!(!body.to_string().contains("{{DATE"));
}

#[test]
fn ntfy_is_published_to_the_root_with_a_priority() {
    let check = |url: &str, severity, event, root: &str, priority: i64| {
        let (posted, body) = post(Kind::Ntfy, url, &Alert { severity, ..alert() }, event);
        assert_eq!((posted.as_str(), &body["topic"]), (root, &json!("ops")));
        assert_eq!(body["priority"], priority);
        assert!(body["message"].as_str().unwrap().starts_with("it stopped"), "{body}");
    };
    let (sh, root) = ("https://ntfy.sh/ops", "https://ntfy.sh/");
    check(sh, Severity::Critical, Event::Fired, root, 5);
    check(sh, Severity::Warning, Event::Fired, root, 4);
    check(sh, Severity::Info, Event::Fired, root, 3);
    check(sh, Severity::Critical, Event::Resolved, root, 3);
    let below = "https://u:p@h.example/ntfy/";
    check(&format!("{below}ops/"), Severity::Info, Event::Fired, below, 3);
}

#[test]
fn telegram_is_posted_to_the_chat_of_its_address() {
    let check = |address: &str, chat: &str| {
        let (url, body) = post(Kind::Telegram, address, &alert(), Event::Fired);
        assert_eq!(url, "https://api.telegram.org/bot1:a/sendMessage");
        assert_eq!(body["chat_id"], chat);
        assert_eq!(body["parse_mode"], "HTML");
        let text = body["text"].as_str().unwrap();
        assert!(text.starts_with("<b>Alert: container_down on container web</b>\n"), "{text}");
    };
    check("telegram://1:a@-100", "-100");
    check("telegram://1:a@ops", "@ops");
    check("telegram://1:a@@ops", "@ops");
    check("https://api.telegram.org/bot1:a/sendMessage?chat_id=-100&message_thread_id=3", "-100");
    let (_, body) = post(Kind::Telegram, "telegram://1:a@1", &hostile(1), Event::Fired);
    let text = body["text"].as_str().unwrap();
    assert!(!text.contains("@everyone") && text.contains("&lt;b&gt;&amp;amp;"), "{text}");
    assert_eq!(text.matches('<').count(), 2, "{text}");
}

#[test]
fn a_mail_has_one_line_of_subject() {
    let headers = Headers::new();
    let payload = payload(&hostile(1), Event::Fired);
    let address = "Ops <ops@example.org>, two@example.org";
    let Request::Mail { to, subject, text, .. } =
        render(Kind::Email, address, &headers, &payload).unwrap()
    else {
        panic!("no mail")
    };
    assert_eq!(to.len(), 2);
    assert!(!subject.contains(['\r', '\n']), "{subject}");
    assert!(subject.starts_with("Alert: container_down on container @everyone"), "{subject}");
    assert!(text.contains("Severity: critical\n"), "{text}");
}

#[test]
fn the_longest_text_fits_every_service() {
    let length = |value: &Value| value.as_str().unwrap().len();
    for size in [300, 5_000, 200_000] {
        for text in [hostile(size), Alert { message: "é\u{1f600}<".repeat(size), ..hostile(size) }]
        {
            let (_, body) = post(Kind::Discord, "https://d.example/", &text, Event::Fired);
            let embed = &body["embeds"][0];
            assert!(length(&embed["title"]) <= 256 && length(&embed["description"]) <= 4096);
            let fields = embed["fields"].as_array().unwrap();
            assert!(fields.iter().all(|field| length(&field["value"]) <= 1024));
            let values: usize = fields.iter().map(|one| length(&one["value"]) + 10).sum();
            assert!(length(&embed["title"]) + length(&embed["description"]) + values <= 6000);

            let (_, body) = post(Kind::Slack, "https://s.example/", &text, Event::Fired);
            assert!(length(&body["blocks"][0]["text"]["text"]) <= 150);
            assert!(length(&body["blocks"][1]["text"]["text"]) <= 3000);
            let (_, body) = post(Kind::Teams, "https://t.example/", &text, Event::Fired);
            assert!(body.to_string().len() <= 28_000);
            let (_, body) = post(Kind::Ntfy, "https://ntfy.sh/ops", &text, Event::Fired);
            assert!(length(&body["message"]) <= 4096 && length(&body["title"]) <= 250);
            let (_, body) = post(Kind::Telegram, "telegram://1:a@1", &text, Event::Fired);
            assert!(length(&body["text"]) <= 4096);
        }
    }
}
