use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use maintenant_api::channels::WebhookInput;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::receiver::{Receiver, Reply, World, wait_for};
use super::*;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::resolve::Resolver;
use crate::net::testing::{NOW, Pki, Server, closed_port, hold, reply, stand_still};
use crate::net::tls::Trust;
use crate::notify::Settings;
use crate::notify::kinds::Request;
use crate::notify::post::{Parcel, Post, Smtp, SmtpTls};
use crate::notify::retry::Why;
use crate::notify::sender::Sender;
use crate::notify::subscriptions::{Webhook, sign};

fn nobody() -> Trust {
    Trust::of(rustls::RootCertStore::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_posted_with_its_key_and_the_channels_headers() {
    let world = World::new();
    let receiver = Receiver::new(|_, _| Reply::Status(204)).await;
    let input = ChannelInput {
        headers: Some(r#"{"Authorization":"Bearer secret"}"#.into()),
        ..input("ops", "webhook", &receiver.url())
    };
    let draft = channels::create(&input, true).unwrap();
    let id = world.store.write(move |tx| sql::insert_channel(tx, &draft, at(0))).await.unwrap();
    world.tell(vec![fired(12)]).await;
    let message = world.all(id, "delivered").await.remove(0);
    assert_eq!((message.attempts, message.last_error, message.next_try_at), (1, None, None));
    assert!(message.delivered_at.is_some());
    let seen = receiver.seen().remove(0);
    assert_eq!(seen.path, "/hook");
    assert_eq!(seen.json(), message.payload);
    for name in ["idempotency-key", "x-maintenant-delivery"] {
        assert_eq!(seen.header(name), message.idempotency_key);
    }
    assert_eq!(seen.header("x-maintenant-event"), "alert.fired");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("authorization"), "Bearer secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_comes_again_under_its_key_and_before_what_follows_it() {
    let world = World::new();
    let receiver = Receiver::new(|seen, _| {
        // The first try of the first message of entity 1.
        static FAILED: std::sync::Once = std::sync::Once::new();
        let mut status = 200;
        if seen.what() == "alert.fired 1" {
            FAILED.call_once(|| status = 503);
        }
        Reply::Status(status)
    })
    .await;
    let id = world.channel("ops", receiver.url()).await;
    world.tell(vec![fired(1), resolved(1), fired(2), resolved(2)]).await;
    let messages = world.all(id, "delivered").await;
    assert_eq!(messages.iter().map(|one| one.attempts).collect::<Vec<_>>(), [2, 1, 1, 1]);
    let of = |entity: &str| -> Vec<String> {
        let all = receiver.seen().into_iter();
        all.map(|one| one.what()).filter(|what| what.ends_with(entity)).collect()
    };
    assert_eq!(of("1"), ["alert.fired 1", "alert.fired 1", "alert.resolved 1"]);
    assert_eq!(of("2"), ["alert.fired 2", "alert.resolved 2"]);
    let seen = receiver.seen();
    let tries: Vec<_> = seen.iter().filter(|one| one.what() == "alert.fired 1").collect();
    assert_eq!(tries[0].header("idempotency-key"), tries[1].header("idempotency-key"));
    assert_eq!(tries[0].body, tries[1].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_hangs_holds_up_no_other() {
    let world = World::new();
    let hanging = Receiver::new(|_, _| Reply::Never).await;
    let healthy = Receiver::new(|_, _| Reply::Status(200)).await;
    let stuck = world.channel("stuck", hanging.url()).await;
    world.tell((1..=20).map(fired).collect()).await;
    wait_for("it hangs", || hanging.count() == 4).await;
    let id = world.channel("ops", healthy.url()).await;
    world.tell((1..=20).map(fired).collect()).await;
    assert_eq!(world.all(id, "delivered").await.len(), 20);
    // All the while the other had no more than its places.
    assert_eq!(hanging.count(), 4);
    assert!(world.messages(stuck).await.iter().all(|one| one.attempts == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_or_waiting_is_delivered_after_a_restart() {
    let mut world = World::new();
    let (_held, port) = closed_port();
    let hanging = Receiver::at(port, |_, _| Reply::Never).await;
    let id = world.channel("ops", hanging.url()).await;
    world.tell((1..=10).flat_map(|id| [fired(id), resolved(id)]).collect()).await;
    wait_for("they are under way", || hanging.count() == 4).await;
    let first = hanging.seen();
    hanging.end().await;
    world.restart().await;
    let receiver = Receiver::at(port, |_, _| Reply::Status(200)).await;
    let delivered = world.all(id, "delivered").await;
    assert_eq!(delivered.len(), 20);
    let seen = receiver.seen();
    for entity in 1..=10 {
        let of: Vec<String> = seen
            .iter()
            .map(receiver::Seen::what)
            .filter(|what| what.ends_with(&format!(" {entity}")))
            .collect();
        assert_eq!(of, [format!("alert.fired {entity}"), format!("alert.resolved {entity}")]);
    }
    // What the first run had begun came again, marked as the same.
    for begun in first {
        let key = begun.header("idempotency-key");
        assert_eq!(seen.iter().filter(|one| one.header("idempotency-key") == key).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_gets_everything_when_it_is_back() {
    let world = World::new();
    let (_held, port) = closed_port();
    let id = world.channel("ops", format!("http://127.0.0.1:{port}/hook")).await;
    world.tell(vec![fired(1), resolved(1)]).await;
    wait_for_failure(&world, id).await;
    let message = world.messages(id).await.remove(0);
    assert_eq!(message.status, "pending");
    assert!(message.last_error.unwrap().contains("refused"));
    let receiver = Receiver::at(port, |_, _| Reply::Status(200)).await;
    world.all(id, "delivered").await;
    let seen: Vec<String> = receiver.seen().iter().map(receiver::Seen::what).collect();
    assert_eq!(seen, ["alert.fired 1", "alert.resolved 1"]);
}

async fn wait_for_failure(world: &World, id: i64) {
    for _ in 0..3000 {
        if world.messages(id).await.first().is_some_and(|one| one.attempts > 0) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it was not tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_not_asked_again() {
    let world = World::new();
    let receiver = Receiver::new(|_, _| Reply::Status(410)).await;
    let id = world.channel("ops", receiver.url()).await;
    world.tell(vec![fired(1)]).await;
    let message = world.all(id, "dead").await.remove(0);
    assert_eq!(message.last_error.as_deref(), Some("it answered 410 Gone"));
    let channel = world.store.read(move |db| sql::find_channel(db, id)).await.unwrap().unwrap();
    assert!(channel.failing_since.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_secrets_are_not_repeated() {
    let world = World::new();
    let target = Receiver::new(|_, _| Reply::Status(200)).await;
    let location = target.url();
    let redirecting =
        Receiver::new(move |_, _| Reply::With(307, "location", location.clone())).await;
    let id = world.channel("ops", redirecting.url()).await;
    let echoing = Receiver::new(|seen, _| {
        let said = format!("{} {}", seen.path, seen.header("authorization"));
        Reply::With(400, "x-said", said)
    })
    .await;
    let input = ChannelInput {
        headers: Some(r#"{"Authorization":"Bearer s3cret-token"}"#.into()),
        ..input("echo", "webhook", &format!("{}/s3cret-path?key=s3cret-key", echoing.url()))
    };
    let draft = channels::create(&input, true).unwrap();
    let echo = world.store.write(move |tx| sql::insert_channel(tx, &draft, at(0))).await.unwrap();
    world.tell(vec![fired(1)]).await;
    let error = world.tried(id).await.remove(0).last_error.unwrap();
    assert!(error.contains("307") && error.contains("redirects are not followed"), "{error}");
    assert_eq!(target.count(), 0);
    let error = world.tried(echo).await.remove(0).last_error.unwrap();
    assert!(error.starts_with("it answered 400 Bad Request: `"), "{error}");
    assert!(error.contains("***") && !error.contains("s3cret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_not_reached_by_number_or_by_name() {
    let receiver = Receiver::new(|_, _| Reply::Status(200)).await;
    let mut net = Net::new(Guard::default(), nobody());
    // Each name leads here, as that of an attacker may after it was looked at.
    net.resolver = Resolver::asking(|_| Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]));
    let world = World::with(false, net);
    for (name, host) in [("number", "127.0.0.1"), ("name", "hooks.example.org")] {
        let url = format!("https://{host}:{}/", receiver.port);
        let id = world.channel(name, url).await;
        world.tell(vec![fired(id)]).await;
        let error = world.tried(id).await.remove(0).last_error.unwrap();
        assert!(error.contains("127.0.0.1 is a private address"), "{error}");
    }
    let plain = world.channel("plain", "http://hooks.example.org/".into()).await;
    world.tell(vec![fired(9)]).await;
    let error = world.tried(plain).await.remove(0).last_error.unwrap();
    assert!(error.contains("use https"), "{error}");
    assert_eq!(receiver.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_accepted_only_from_a_trusted_authority() {
    let (pki, stranger) = (Pki::named("ours"), Pki::named("theirs"));
    let good = || reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let ours = Server::https(pki.issue(&["localhost"], NOW), move |_| good()).await;
    let theirs = Server::https(stranger.issue(&["localhost"], NOW), move |_| good()).await;
    let mut net = Net::new(Guard::default(), pki.trust());
    net.resolver = Resolver::asking(|_| Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]));
    let world = World::with(true, net);
    let id = world.channel("ours", format!("https://localhost:{}/", ours.port())).await;
    let other = world.channel("theirs", format!("https://localhost:{}/", theirs.port())).await;
    world.tell(vec![fired(1)]).await;
    world.all(id, "delivered").await;
    assert!(ours.only().contains("POST / HTTP/1.1"));
    let error = world.tried(other).await.remove(0).last_error.unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert!(theirs.seen.lock().unwrap().iter().all(String::is_empty), "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_gets_changes_of_state_signed_over_the_bytes_sent() {
    let world = World::new();
    let receiver =
        Receiver::new(|_, number| Reply::Status(if number == 1 { 500 } else { 200 })).await;
    let input = WebhookInput {
        name: Some("all".into()),
        url: Some(receiver.url()),
        secret: Some("key".into()),
        event_types: None,
    };
    let webhook = Webhook::create(input, true, at(0)).unwrap();
    let id = webhook.id.clone();
    world.store.write(move |tx| sql::insert_webhook(tx, &webhook)).await.unwrap();
    let data = json!({ "id": 5, "state": "exited", "previous_state": "running" });
    world.events.publish("heartbeat.ping_received", &json!({ "heartbeat_id": 1 }));
    world.events.publish("container.state_changed", &data);
    wait_for("it comes again", || receiver.count() > 1).await;
    for seen in receiver.seen() {
        assert_eq!(seen.json()["type"], "container.state_changed");
        assert_eq!(seen.json()["data"], data);
        assert_eq!(seen.header("x-maintenant-event"), "container.state_changed");
        assert_eq!(seen.header("x-maintenant-signature"), sign("key", &seen.body));
    }
    for _ in 0..3000 {
        let id = id.clone();
        let webhook = world.store.read(move |db| sql::find_webhook(db, &id)).await.unwrap();
        let webhook = webhook.unwrap();
        if webhook.last_delivery_status.as_deref() == Some("delivered") {
            assert_eq!(webhook.failure_count, 0);
            assert!(webhook.last_delivery_at.is_some());
            return;
        }
        assert!(webhook.failure_count <= 1);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the subscription does not say that it was delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_is_not_sent_again_because_the_store_is_in_trouble() {
    let world = World::new();
    let receiver = Receiver::new(|_, _| Reply::Status(200)).await;
    let id = world.channel("ops", receiver.url()).await;
    world.break_store("UPDATE", 3500).await;
    world.tell(vec![fired(1), fired(2), resolved(1)]).await;
    let messages = world.all(id, "delivered").await;
    assert!(messages.iter().all(|one| one.attempts == 1), "{messages:#?}");
    assert_eq!((receiver.count(), world.failures()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_read_later_and_ends_no_try() {
    let world = World::new();
    let mut sender = Sender::new(&world.notifications);
    let hide = |tx: &Connection| tx.execute_batch("ALTER TABLE webhooks RENAME TO hidden");
    world.store.write(hide).await.unwrap();
    assert_eq!(sender.launch(at(0)).await, std::time::Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_state_is_told_although_the_store_was_in_trouble() {
    let world = World::new();
    let receiver = Receiver::new(|_, _| Reply::Status(200)).await;
    subscribe(&world, &receiver.url()).await;
    world.break_store("INSERT", 1500).await;
    for id in 1..=2 {
        let data = json!({ "id": id, "state": "exited" });
        world.events.publish("container.state_changed", &data);
    }
    wait_for("both are told", || receiver.count() == 2).await;
    assert_eq!(world.failures(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_not_told_what_is_secret_in_a_checked_address() {
    let world = World::new();
    let receiver = Receiver::new(|_, _| Reply::Status(200)).await;
    subscribe(&world, &receiver.url()).await;
    let target = "https://me:s3cret@shop.test/cart?key=s3cret";
    let data = json!({ "endpoint_id": 1, "target": target, "new_status": "down" });
    world.events.publish("endpoint.status_changed", &data);
    wait_for("it is told", || receiver.count() == 1).await;
    assert_eq!(receiver.seen()[0].json()["data"]["target"], "https://shop.test/cart?…");
}

async fn subscribe(world: &World, url: &str) {
    let input = WebhookInput {
        name: Some("all".into()),
        url: Some(url.to_owned()),
        secret: None,
        event_types: None,
    };
    let webhook = Webhook::create(input, true, at(0)).unwrap();
    world.store.write(move |tx| sql::insert_webhook(tx, &webhook)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_the_answer_whatever_becomes_of_its_body() {
    let world = World::new();
    let head = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 10\r\n\r\n");
    let good = Server::http(move |_| hold(head("200 OK"))).await;
    let bad = Server::http(move |_| hold(head("410 Gone"))).await;
    let id = world.channel("good", format!("http://{}/", good.address)).await;
    let other = world.channel("bad", format!("http://{}/", bad.address)).await;
    world.tell(vec![fired(1)]).await;
    assert_eq!(world.all(id, "delivered").await[0].attempts, 1);
    let error = world.all(other, "dead").await.remove(0).last_error.unwrap();
    assert_eq!(error, "it answered 410 Gone");
}

/// Speaks SMTP until its first mail is there; that one is answered when `late` says so.
async fn mail_server(
    late: Arc<tokio::sync::Notify>,
) -> (u16, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let keep = taken.clone();
    let serve = async move {
        let mut connections = JoinSet::new();
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (keep, late) = (keep.clone(), late.clone());
            connections.spawn(async move {
                let (reading, mut writing) = stream.into_split();
                let mut lines = BufReader::new(reading).lines();
                let mut is_data = false;
                writing.write_all(b"220 hello\r\n").await.unwrap();
                while let Ok(Some(line)) = lines.next_line().await {
                    keep.lock().unwrap().push(format!("{number} {line}"));
                    let answer: &[u8] = match line.as_str() {
                        "." => {
                            if number == 1 {
                                late.notified().await;
                            }
                            is_data = false;
                            b"250 taken\r\n"
                        }
                        _ if is_data => continue,
                        "DATA" => {
                            is_data = true;
                            b"354 go on\r\n"
                        }
                        _ => b"250 ok\r\n",
                    };
                    let _ = writing.write_all(answer).await;
                }
            });
        }
    };
    let mut task = JoinSet::new();
    task.spawn(serve);
    (port, taken, task)
}

#[tokio::test]
async fn a_mail_that_was_cut_short_does_not_answer_for_the_next() {
    let late = Arc::new(tokio::sync::Notify::new());
    let (port, taken, _task) = mail_server(late.clone()).await;
    let smtp = Smtp {
        host: "127.0.0.1".into(),
        port,
        tls: SmtpTls::None,
        credentials: None,
        from: "watch@example.org".parse().unwrap(),
    };
    let settings = Settings { allow_private: true, smtp: Some(smtp) };
    let post = Post::new(Net::new(Guard::default(), nobody()), &settings).unwrap();
    let mail = |subject: &str| Parcel {
        request: Request::Mail {
            to: vec!["ops@example.org".parse().unwrap()],
            subject: subject.to_owned(),
            text: "text".into(),
            unsubscribe: None,
        },
        key: subject.to_owned(),
        event: "alert.fired".into(),
        signature: None,
    };
    assert_eq!(mail("x").request.deadline(), std::time::Duration::from_mins(1));
    let (first, soon) = (mail("first"), std::time::Duration::from_secs(1));
    // Its time goes on once it is there.
    let still = stand_still();
    let there = async {
        while !taken.lock().unwrap().contains(&"1 .".to_owned()) {
            tokio::task::yield_now().await;
        }
        drop(still);
    };
    let (cut, ()) = tokio::join!(post.send_within(soon, &first, at(0)), there);
    tokio::time::resume();
    let cut = cut.unwrap_err();
    assert_eq!((cut.why, cut.text.as_str()), (Why::Passing, "no answer within 1 seconds"));
    assert!(taken.lock().unwrap().contains(&"1 Subject: first".to_owned()));
    late.notify_one();
    for (number, subject) in [(2, "second"), (3, "third")] {
        assert_eq!(post.send(&mail(subject), at(0)).await, Ok(250));
        let line = format!("{number} Subject: {subject}");
        assert!(taken.lock().unwrap().contains(&line), "{:#?}", taken.lock().unwrap());
    }
}
