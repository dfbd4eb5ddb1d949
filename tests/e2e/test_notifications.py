"""Channels, subscriptions and the outbox of the real collector, with real receivers."""

import hashlib
import hmac
import sqlite3
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from support.pings import Heartbeat
from support.pki import authority, server, write
from support.programs import Program, Workshop, workshop
from support.receiver import Receiver, mail_server, receiver
from support.rest import Rest
from support.wait import wait_until


def start(place: Workshop, **settings: str) -> Program:
    private = {"MAINTENANT_ALLOW_PRIVATE_WEBHOOKS": "true", "MAINTENANT_LOG_LEVEL": "debug"}
    return place.collector("", MAINTENANT_RUNTIME="none", **{**private, **settings})


@pytest.fixture(scope="module")
def collector() -> Iterator[Program]:
    with workshop() as place:
        yield start(place)


@pytest.fixture
def rest(collector: Program) -> Rest:
    return collector.rest()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


def create(rest: Rest, **facts: Any) -> dict[str, Any]:
    answer = rest.http.post("/channels", json=facts)
    assert answer.status_code == 201, answer.text
    return answer.json()


def send_test(rest: Rest, channel: dict[str, Any]) -> dict[str, Any]:
    answer = rest.http.post(f"/channels/{channel['id']}/test")
    assert answer.status_code == 200, answer.text
    return answer.json()


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# --- channels -----------------------------------------------------------------------------------


def test_a_channel_lives_and_tells_its_life_without_its_secrets(
    collector: Program, rest: Rest, hook: Receiver
) -> None:
    headers = '{"Authorization": "Bearer s3cret-header"}'
    url = hook.url("/hook?key=s3cret-query")
    with rest.stream("/containers/events") as events:
        made = create(rest, name="life", url=url, headers=headers, enabled=True)
        assert made["url"] == hook.url("/hook?key=***")
        assert send_test(rest, made) == {"status": "delivered", "response_code": 200}
        path = f"/channels/{made['id']}"
        kept = rest.http.put(
            path, json={"name": "life 2", "url": made["url"], "headers": made["headers"]}
        )
        assert kept.status_code == 200, kept.text
        send_test(rest, made)
        assert rest.http.delete(path).status_code == 204
        told = [
            events.expect("channel.created", id=made["id"]),
            events.expect("channel.updated", name="life 2"),
            events.expect("channel.deleted", id=made["id"]),
        ]
    assert [post.headers["authorization"] for post in hook.posts] == ["Bearer s3cret-header"] * 2
    assert [post.path for post in hook.posts] == ["/hook?key=s3cret-query"] * 2
    shown = [str(made), kept.text, collector.log, *(str(frame.data) for frame in told)]
    assert not [text for text in shown if "s3cret" in text]


def test_what_cannot_be_is_refused(rest: Rest, hook: Receiver) -> None:
    create(rest, name="taken", url=hook.url())
    other = create(rest, name="other", url=hook.url())
    post, put = rest.http.post, rest.http.put
    assert code(post("/channels", content="[")) == (400, "INVALID_BODY")
    assert code(post("/channels", json={"name": "x"})) == (400, "VALIDATION_ERROR")
    taken = {"name": "TAKEN", "url": hook.url()}
    assert code(post("/channels", json=taken)) == (409, "DUPLICATE_NAME")
    assert code(put(f"/channels/{other['id']}", json=taken)) == (409, "DUPLICATE_NAME")
    metadata = {"url": "http://169.254.169.254/latest"}
    assert code(put(f"/channels/{other['id']}", json=metadata)) == (400, "VALIDATION_ERROR")
    assert code(put("/channels/999", json={})) == (404, "NOT_FOUND")
    assert code(post("/channels/1/rules", content="[")) == (403, "PRO_REQUIRED")


def test_private_receivers_need_a_decision_of_the_operator(place: Workshop, hook: Receiver) -> None:
    rest = start(place, MAINTENANT_ALLOW_PRIVATE_WEBHOOKS="false").rest()
    for url in (hook.url(), f"https://127.0.0.1:{hook.port}/", "https://localhost/", "https://0/"):
        answer = rest.http.post("/channels", json={"name": "x", "url": url})
        assert code(answer) == (400, "VALIDATION_ERROR"), url
    assert hook.posts == []


def test_rules_belong_to_the_extended_edition(place: Workshop, hook: Receiver) -> None:
    rest = start(place, MAINTENANT_EDITION="extended").rest()
    channel = create(rest, name="ops", url=hook.url())
    rule = rest.http.post(
        f"/channels/{channel['id']}/rules", json={"severity_filter": "critical,warning"}
    )
    assert rule.status_code == 201, rule.text
    assert rest.get("/channels")["channels"][0]["routing_rules"] == [rule.json()]
    assert code(rest.http.post("/channels/99/rules", json={})) == (404, "NOT_FOUND")
    path = f"/channels/{channel['id']}/rules/{rule.json()['id']}"
    assert rest.http.delete(path).status_code == 204


@pytest.mark.parametrize(
    ("kind", "path", "posted", "facts"),
    [
        ("webhook", "/hook", "/hook", {"event": "test"}),
        ("discord", "/api/webhooks/1/token", None, {"allowed_mentions": {"parse": []}}),
        ("slack", "/services/T/B/x", None, {"mrkdwn": False}),
        ("teams", "/workflows/1?sig=x", None, {"type": "message"}),
        ("ntfy", "/base/topic", "/base/", {"topic": "topic", "priority": 3}),
        (
            "telegram",
            "/bot1:a/sendMessage?chat_id=-5",
            "/bot1:a/sendMessage",
            {"chat_id": "-5", "parse_mode": "HTML"},
        ),
    ],
)
def test_every_kind_speaks_to_its_service(
    rest: Rest, hook: Receiver, kind: str, path: str, posted: str | None, facts: dict[str, Any]
) -> None:
    channel = create(rest, name=f"kind {kind}", type=kind, url=hook.url(path))
    assert send_test(rest, channel)["status"] == "delivered"
    post = hook.posts[0]
    assert post.path == (posted or path)
    assert {name: post.json.get(name) for name in facts} == facts
    assert post.headers["idempotency-key"] == post.headers["x-maintenant-delivery"]
    hook.status = 404
    failed = send_test(rest, channel)
    assert failed["status"] == "failed"
    assert "404" in failed["error"]


def test_mail_is_handed_to_the_server_of_the_settings(place: Workshop) -> None:
    with mail_server(check=lambda user, password: (user, password) == ("me", "pass")) as mails:
        settings = {
            "MAINTENANT_SMTP_HOST": "127.0.0.1",
            "MAINTENANT_SMTP_PORT": str(mails.port),
            "MAINTENANT_SMTP_TLS": "none",
            "MAINTENANT_SMTP_USERNAME": "me",
            "MAINTENANT_SMTP_PASSWORD": "pass",
            "MAINTENANT_SMTP_FROM": "Watch <watch@example.org>",
        }
        rest = start(place, **settings).rest()
        assert rest.get("/edition")["features"]["smtp"] is True
        to = "Ops <ops@example.org>, two@example.org"
        channel = create(rest, name="mail", type="email", url=to)
        assert send_test(rest, channel) == {"status": "delivered", "response_code": 250}
        message = mails.messages[0]
    assert message["From"] == "Watch <watch@example.org>"
    assert "ops@example.org" in message["To"] and "two@example.org" in message["To"]
    assert message["Subject"] == "Test: test on channel test"
    assert message["Message-ID"] == f"<{message['X-maintenant-Delivery']}@example.org>"
    assert "This is a test" in message.get_payload()
    gone = send_test(rest, channel)
    assert gone["status"] == "failed", gone


def test_mail_is_encrypted_and_only_for_a_server_that_is_trusted(place: Workshop) -> None:
    root = authority("mail root")
    (place.folder / "root.pem").write_text(root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write(place.folder, "mail", server(root, sans=["127.0.0.1"])))
    with mail_server(tls=context) as mails:
        settings = {
            "MAINTENANT_SMTP_HOST": "127.0.0.1",
            "MAINTENANT_SMTP_PORT": str(mails.port),
        }
        mail = {"name": "mail", "type": "email", "url": "ops@example.org"}
        distrusts = start(place, **settings)
        failed = send_test(distrusts.rest(), create(distrusts.rest(), **mail))
        assert failed["status"] == "failed" and "certificate" in failed["error"], failed
        assert mails.messages == []
        distrusts.stop()
        trusts = start(place, SSL_CERT_FILE=str(place.folder / "root.pem"), **settings).rest()
        assert send_test(trusts, trusts.get("/channels")["channels"][0])["status"] == "delivered"
        assert len(mails.messages) == 1


def test_without_a_mail_server_there_is_no_mail(rest: Rest) -> None:
    mail = {"name": "mail", "type": "email", "url": "ops@example.org"}
    answer = rest.http.post("/channels", json=mail)
    assert code(answer) == (400, "VALIDATION_ERROR")
    assert "MAINTENANT_SMTP_HOST" in answer.text
    assert rest.get("/edition")["features"]["smtp"] is False


# --- subscriptions and the outbox ---------------------------------------------------------------


def subscribe(rest: Rest, hook: Receiver, **facts: Any) -> str:
    answer = rest.http.post("/webhooks", json={"name": "bot", "url": hook.url(), **facts})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def webhook(rest: Rest, row: str) -> dict[str, Any]:
    return next(one for one in rest.get("/webhooks")["webhooks"] if one["id"] == row)


def test_a_subscription_is_sent_what_it_signs(rest: Rest, hook: Receiver) -> None:
    row = subscribe(rest, hook, secret="k3y", event_types=["heartbeat.status_changed"])
    answer = rest.http.post(f"/webhooks/{row}/test")
    assert answer.json() == {"status": "delivered", "http_status": 200}
    beat = Heartbeat.create(rest, interval_seconds=3600)
    beat.ping()
    post = wait_until(lambda: hook.posts[1:], "the change is told")[0]
    assert post.headers["x-maintenant-event"] == "heartbeat.status_changed"
    assert post.json["type"] == "heartbeat.status_changed"
    assert post.json["data"]["new_status"] == "up"
    signed = hmac.new(b"k3y", post.body, hashlib.sha256).hexdigest()
    assert post.headers["x-maintenant-signature"] == f"sha256={signed}"
    wait_until(
        lambda: webhook(rest, row)["last_delivery_status"] == "delivered", "the delivery is noted"
    )
    assert "k3y" not in str(rest.get("/webhooks"))
    assert rest.http.delete(f"/webhooks/{row}").status_code == 204
    assert code(rest.http.delete(f"/webhooks/{row}")) == (404, "not_found")


def test_what_a_receiver_refuses_is_counted_and_comes_again(rest: Rest, hook: Receiver) -> None:
    hook.status = 503
    row = subscribe(rest, hook, event_types=["heartbeat.status_changed"])
    Heartbeat.create(rest, interval_seconds=3600).ping()
    wait_until(lambda: webhook(rest, row)["failure_count"] > 0, "the failure is counted")
    pending = rest.get("/notifications", status="pending")["notifications"]
    assert [one["webhook_id"] for one in pending] == [row]
    assert "503" in pending[0]["last_error"]
    hook.status = 200
    # The fourth try comes half a minute after the third.
    wait_until(lambda: webhook(rest, row)["failure_count"] == 0, "it is delivered")
    assert len({post.headers["idempotency-key"] for post in hook.posts}) == 1
    assert len({post.body for post in hook.posts}) == 1
    rest.http.delete(f"/webhooks/{row}")


def test_nothing_is_lost_when_the_collector_is_killed_amid_deliveries(place: Workshop) -> None:
    with receiver() as hook:
        port, hook.status = hook.port, None
        first = start(place)
        rest = first.rest()
        row = subscribe(rest, hook, event_types=["heartbeat.status_changed"])
        beats = [Heartbeat.create(rest, interval_seconds=3600) for _ in range(12)]
        for beat in beats:
            beat.ping()
            beat.ping("fail")
        wait_until(lambda: len(hook.posts) >= 4, "its places are taken")
        what = "all changes are stored"
        wait_until(lambda: len(rest.get("/notifications", limit=200)["notifications"]) == 24, what)
        first.kill()
        begun = [post.headers["idempotency-key"] for post in hook.posts]
    with receiver(port) as hook:
        rest = start(place).rest()

        def is_done() -> bool:
            return not rest.get("/notifications", status="pending")["notifications"]

        wait_until(is_done, "all are delivered")
        posts = list(hook.posts)
        assert webhook(rest, row)["last_delivery_status"] == "delivered"
    keys = [post.headers["idempotency-key"] for post in posts]
    assert len(keys) == len(set(keys)) == 24
    assert set(begun) <= set(keys)
    order: dict[int, list[str]] = {}
    for post in posts:
        data = post.json["data"]
        order.setdefault(data["heartbeat_id"], []).append(data["new_status"])
    assert list(order.values()) == [["up", "down"]] * 12


def test_what_was_taken_but_not_recorded_before_a_kill_comes_again_as_the_same(
    place: Workshop, hook: Receiver
) -> None:
    first = start(place)
    rest = first.rest()
    row = subscribe(rest, hook, event_types=["heartbeat.status_changed"])
    # From its first answer on nothing can be written.
    lock = sqlite3.connect(
        place.database, timeout=60, isolation_level=None, check_same_thread=False
    )
    hook.before_answer = lambda: lock.execute("BEGIN IMMEDIATE")
    Heartbeat.create(rest, interval_seconds=3600).ping()
    wait_until(lambda: hook.posts, "it is taken")
    first.kill()
    hook.before_answer = lambda: None
    lock.close()
    rest = start(place).rest()
    wait_until(lambda: len(hook.posts) > 1, "it comes again")
    wait_until(
        lambda: webhook(rest, row)["last_delivery_status"] == "delivered", "the delivery is noted"
    )
    taken, again = hook.posts
    assert (taken.answer, again.answer) == (200, 200)
    assert (again.key, again.body) == (taken.key, taken.body)
    (message,) = rest.get("/notifications")["notifications"]
    assert (message["status"], message["idempotency_key"]) == ("delivered", taken.key)
