use serde_json::json;

use super::super::channels::{create, masked, update};
use super::super::kinds::Kind;
use super::super::post::scrubbed;
use super::super::subscriptions::Webhook;
use super::*;
use maintenant_api::channels::WebhookInput;

fn refused(input: &ChannelInput, field: &str) {
    match create(input, false) {
        Ok(draft) => panic!("{draft:?} was taken"),
        Err(fault) => assert_eq!(fault.field, field, "{fault}"),
    }
}

#[test]
fn addresses_are_those_of_their_kind() {
    let good = [
        ("webhook", "https://hooks.example.org/x?y=z"),
        ("webhook", "https://user:secret@hooks.example.org:8443/"),
        ("discord", "https://discord.com/api/webhooks/1/token"),
        ("slack", "https://hooks.slack.com/services/T/B/secret"),
        ("teams", "https://prod.example.org/workflows/1?sig=x"),
        ("ntfy", "https://ntfy.sh/my_topic-1"),
        ("ntfy", "https://example.org/ntfy/topic/"),
        ("telegram", "https://api.telegram.org/bot1:aa/sendMessage?chat_id=-100"),
        ("telegram", "telegram://123:aBc_-@-100200"),
        ("telegram", "telegram://123:abc@channel"),
        ("email", "ops@example.org"),
        ("email", "Ops <ops@example.org>, mailto@example.org"),
    ];
    for (kind, url) in good {
        create(&input("ops", kind, url), false).unwrap_or_else(|fault| panic!("{url}: {fault}"));
    }
    let bad = [
        ("webhook", ""),
        ("webhook", "hooks.example.org"),
        ("webhook", "http://hooks.example.org/"),
        ("webhook", "file:///etc/passwd"),
        ("webhook", "https://hooks.example.org/#part"),
        ("discord", "https://discord.com/api/webhooks/1/***"),
        ("ntfy", "https://ntfy.sh/"),
        ("ntfy", "https://ntfy.sh/a%20b"),
        ("telegram", "https://api.telegram.org/bot1:aa/sendMessage"),
        ("telegram", "https://api.telegram.org/bot1:aa/getMe?chat_id=1"),
        ("telegram", "telegram://notoken@1"),
        ("telegram", "telegram://1:a/../b@1"),
        ("telegram", "telegram://1:a@"),
        ("email", "nobody"),
        ("email", "ops@example.org\r\nBcc: all@example.org"),
        ("email", "https://example.org/"),
    ];
    for (kind, url) in bad {
        refused(&input("ops", kind, url), "url");
    }
    assert!(create(&input("ops", "webhook", "http://192.168.1.1/"), true).is_ok());
    refused(&input("ops", "pigeon", "https://example.org/"), "type");
    refused(&ChannelInput { url: None, ..input("ops", "webhook", "") }, "url");
    for name in ["", "  ", "a,b", "a\nb", &"x".repeat(101)] {
        refused(&input(name, "webhook", "https://example.org/"), "name");
    }
}

#[test]
fn headers_are_a_json_object_of_what_may_be_sent() {
    let with = |headers: &str| ChannelInput {
        headers: Some(headers.into()),
        ..input("ops", "webhook", "https://example.org/")
    };
    for headers in ["", "{}", r#"{"Authorization":"Bearer x","X-Tag":"1"}"#] {
        create(&with(headers), false).unwrap();
    }
    for headers in [
        "x",
        "[]",
        r#"{"A":1}"#,
        r#"{"a b":"x"}"#,
        r#"{"A":"x\r\nB: y"}"#,
        r#"{"Host":"x"}"#,
        r#"{"Content-Length":"1"}"#,
        r#"{"X-Maintenant-Signature":"x"}"#,
        r#"{"Authorization":"***"}"#,
    ] {
        refused(&with(headers), "headers");
    }
    let many: std::collections::BTreeMap<String, String> =
        (0..21).map(|n| (format!("x-{n}"), String::new())).collect();
    refused(&with(&serde_json::to_string(&many).unwrap()), "headers");
    let mail =
        ChannelInput { headers: Some(r#"{"A":"b"}"#.into()), ..input("m", "email", "a@b.c") };
    refused(&mail, "headers");
}

#[test]
fn what_is_secret_in_an_address_is_not_shown() {
    let check = |kind: &str, url: &str, expected: &str| {
        assert_eq!(masked(Kind::parse(kind).unwrap(), url), expected);
    };
    check("webhook", "https://h.example/a/b", "https://h.example/a/b");
    check("webhook", "https://u:p@h.example/a?key=1&b=2", "https://***@h.example/a?key=***&b=***");
    check("webhook", "https://token@h.example/", "https://***@h.example/");
    check(
        "discord",
        "https://discord.com/api/webhooks/1/tok",
        "https://discord.com/api/webhooks/1/***",
    );
    check(
        "slack",
        "https://hooks.slack.com/services/T/B/x",
        "https://hooks.slack.com/services/T/B/***",
    );
    check("teams", "https://a.example/w/1?sig=x", "https://a.example/w/***?sig=***");
    check("ntfy", "https://ntfy.sh/topic/", "https://ntfy.sh/***");
    // What follows a secret does not show it.
    let tail = "https://discord.com/api/webhooks/1/tok/slack";
    check("discord", tail, "https://discord.com/api/webhooks/1/***");
    check("discord", "https://proxy.example/hooks/tok/", "https://proxy.example/***");
    check(
        "slack",
        "https://hooks.slack.com/services/T/B/x/y",
        "https://hooks.slack.com/services/T/B/***",
    );
    check("slack", "https://hooks.slack.com/workflows/T/A/1/x/", "https://hooks.slack.com/***");
    check("slack", "https://chat.example/services/tok/", "https://chat.example/services/***");
    let old = "https://a.webhook.office.com/webhookb2/1@2/IncomingWebhook/tok/3";
    check("teams", old, "https://a.webhook.office.com/webhookb2/***");
    check("teams", "https://a.example/tok", "https://a.example/***");
    check("ntfy", "https://ntfy.sh/topic/json", "https://ntfy.sh/***");
    check("slack", "https://hooks.slack.com/", "https://hooks.slack.com/");
    let encoded = "https://api.telegram.org/%62ot1:a/sendMessage?chat_id=5";
    check("telegram", encoded, "https://api.telegram.org/***/sendMessage?chat_id=***");
    let bot = "https://api.telegram.org/bot1:a/sendMessage?chat_id=5";
    check("telegram", bot, "https://api.telegram.org/***/sendMessage?chat_id=***");
    check("telegram", "telegram://1:a@-100", "telegram://***@-100");
    check("email", "ops@example.org", "ops@example.org");
}

#[test]
fn secrets_that_come_back_hidden_stay_and_do_not_move_to_another_server() {
    let db = database();
    let url = "https://hooks.example.org/a?key=secret";
    let given = ChannelInput {
        headers: Some(r#"{"Authorization":"Bearer 1","X-Tag":"2"}"#.into()),
        ..input("ops", "webhook", url)
    };
    let id = sql::insert_channel(&db, &create(&given, false).unwrap(), at(0)).unwrap();
    let old = sql::find_channel(&db, id).unwrap().unwrap();
    let shown = old.to_wire();
    assert!(!serde_json::to_string(&shown).unwrap().contains("secret"));
    assert_eq!(shown.headers.as_deref(), Some(r#"{"authorization":"***","x-tag":"***"}"#));
    let change =
        |edit: serde_json::Value| update(&serde_json::from_value(edit).unwrap(), &old, false);

    let same = change(json!({ "url": shown.url, "headers": shown.headers, "type": "webhook" }));
    let same = same.unwrap();
    assert_eq!((same.url.as_str(), &same.headers), (url, &old.headers));
    assert_eq!(change(json!({})).unwrap(), same);
    let edited = change(json!({ "headers": r#"{"X-Tag":"3","AUTHORIZATION":"***"}"# })).unwrap();
    assert_eq!(edited.headers["x-tag"], "3");
    assert_eq!(edited.headers["authorization"], "Bearer 1");
    assert!(change(json!({ "headers": "" })).unwrap().headers.is_empty());
    // On the same server another path keeps them.
    let moved = change(json!({ "url": "https://hooks.example.org/b" })).unwrap();
    assert_eq!(moved.headers, old.headers);

    let fields = |edit| change(edit).unwrap_err().field;
    let elsewhere = "https://thief.example/";
    assert_eq!(fields(json!({ "url": elsewhere })), "headers");
    assert_eq!(fields(json!({ "url": elsewhere, "headers": shown.headers })), "headers");
    assert!(change(json!({ "url": elsewhere, "headers": "" })).is_ok());
    assert_eq!(fields(json!({ "type": "discord" })), "url");
    assert_eq!(fields(json!({ "url": "http://hooks.example.org/a" })), "url");
    assert_eq!(fields(json!({ "url": "https://hooks.example.org/b?key=***" })), "url");
    assert_eq!(fields(json!({ "name": "" })), "name");
}

#[test]
fn subscriptions_name_known_events_and_no_service_with_a_form_of_its_own() {
    let check = |name: &str, url: &str, types: &[&str], field: Option<&str>| {
        let input = WebhookInput {
            name: Some(name.into()),
            url: Some(url.into()),
            secret: None,
            event_types: Some(types.iter().map(|one| (*one).to_owned()).collect()),
        };
        let made = Webhook::create(input, false, at(0));
        assert_eq!(made.as_ref().err().map(|fault| fault.field), field, "{name} {url} {types:?}");
    };
    let url = "https://hooks.example.org/";
    check("a", url, &[], None);
    check("a", url, &["alert.fired", "container.state_changed"], None);
    check("", url, &[], Some("name"));
    check(&"x".repeat(101), url, &[], Some("name"));
    check("a", url, &["alert.silenced"], Some("event_types"));
    for url in [
        "",
        "http://hooks.example.org/",
        "https://discord.com/api/webhooks/1/x",
        "https://DISCORDAPP.com/api/webhooks/1/x",
        "https://hooks.slack.com/services/x",
        "https://a.webhook.office.com/webhookb2/x",
    ] {
        check("a", url, &[], Some("url"));
    }
}

#[test]
fn what_a_receiver_repeats_of_our_secrets_is_not_shown() {
    let check = |url: &str, header: &str, said: &str, expected: &str| {
        let headers = [("authorization".to_owned(), header.to_owned())].into();
        let url = url::Url::parse(url).unwrap();
        assert_eq!(scrubbed(said, &url, &headers), expected, "{url} {header}");
    };
    let plain = "https://h.example/";
    check(plain, "Bearer s3cret-token", "no s3cret-token", "no ***");
    check(plain, "Bearer s3cret-token", "Bearer s3cret-token?", "***?");
    check(plain, "key=\"s3cret-key\", user=operator", "s3cret-key operator", "*** ***");
    check("https://t.example/bot123:s3cret/sendMessage", "", "no bot 123:s3cret", "no bot ***");
    check("https://t0ken-user@h.example/", "", "who is t0ken-user", "who is ***");
    check("https://h.example/a%2Fs3cret%20path", "", "a/s3cret path a%2Fs3cret%20path", "*** ***");
    check("https://h.example/?k=s3cret%20key", "", "s3cret%20key s3cret key", "*** ***");
    check("https://h.example/?s3cret-alone", "", "s3cret-alone", "***");
    // The longer one first: nothing is left of it.
    check("https://h.example/s3cret-a/s3cret-a-and-b", "", "s3cret-a-and-b", "***");
}
