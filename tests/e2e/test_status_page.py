"""The status page: what the public sees in a real browser, windows under a moved clock, mail."""

import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from support.alerts import Alerts
from support.browser import PHONE, Browser
from support.clock import Clock
from support.pings import Heartbeat
from support.places import SCRATCH
from support.programs import Program, Workshop, workshop
from support.receiver import Mails, mail_server
from support.rest import Rest
from support.sse import EventStream
from support.wait import wait_until

PICTURES = SCRATCH / "status"
HOSTILE = "<script>alert(1)</script> & \"friends\""


class Page:
    """One collector's status page, and its owner's side."""

    def __init__(self, place: Workshop, **settings: str) -> None:
        settings = {
            "MAINTENANT_RUNTIME": "none",
            "MAINTENANT_EDITION": "extended",
            "MAINTENANT_ORGANISATION_NAME": "Example Works",
            **settings,
        }
        self.place = place
        self.collector: Program = place.collector("", **settings)
        self.rest: Rest = self.collector.rest()
        self.public = httpx.Client(base_url=self.collector.url, timeout=15)

    @property
    def url(self) -> str:
        return f"{self.collector.url}/status/"

    def ask(self, method: str, path: str, expected: int, **body: Any) -> Any:
        answer = self.rest.http.request(method, f"/status{path}", json=body)
        assert answer.status_code == expected, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def component(self, name: str, *heartbeats: Heartbeat, **more: Any) -> int:
        monitors = [{"type": "heartbeat", "id": one.id} for one in heartbeats]
        made = self.ask(
            "POST", "/components", 201, display_name=name, monitors=monitors, **more
        )
        return int(made["id"])

    def api(self) -> dict[str, Any]:
        answer = self.public.get("/status/api")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @contextmanager
    def events(self) -> Iterator[EventStream]:
        """What the public is told as it happens."""
        timeout = httpx.Timeout(10, read=120)
        request = self.public.build_request("GET", "/status/events", timeout=timeout)
        stream = EventStream(self.public.send(request, stream=True))
        try:
            yield stream
        finally:
            stream.close()

    def until(self, name: str, status: str) -> None:
        """Waits until a component is shown with this status."""

        def so() -> bool:
            shown = {one["name"]: one["status"] for one in self.api()["components"]}
            assert shown.get(name) == status, shown
            return True

        wait_until(so, f"{name} is {status}", every=0.25)

    def remember(self, component: int, days: dict[int, tuple[int, int, int]]) -> None:
        """Writes a past: minutes degraded, partly out and out of service by days ago; else well."""
        today = int(time.time() // 86_400)
        rows = []
        for ago in range(1, 90):
            degraded, partial, out = days.get(ago, (0, 0, 0))
            well = 1440 - degraded - partial - out
            minutes = [60_000 * one for one in (well, degraded, partial, out)]
            if ago < 62 or component % 2:
                rows.append((component, today - ago, *minutes, 0))
        with sqlite3.connect(self.place.database, timeout=10) as db:
            db.executemany("INSERT INTO status_days VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


    def days(self, component: int) -> int:
        """Of how many days something is known."""
        ask = "SELECT count(*) FROM status_days WHERE component_id = ?"
        with sqlite3.connect(self.place.database, timeout=10) as db:
            return int(db.execute(ask, [component]).fetchone()[0])


@pytest.fixture
def page(place: Workshop) -> Page:
    return Page(place)


@pytest.fixture(scope="module")
def browser() -> Browser:
    return Browser()


def up(rest: Rest, name: str) -> Heartbeat:
    heartbeat = Heartbeat.create(rest, name=name, interval_seconds=3600)
    heartbeat.ping()
    return heartbeat


def seen(browser: Browser, url: str, name: str) -> None:
    """Pictures of the page on a desk, in the dark, and on a phone. The browser objects to nothing."""
    for label, options in {
        "": {},
        "-dark": {"dark": True},
        "-phone": {"size": PHONE},
    }.items():
        said = browser.picture(url, PICTURES / f"{name}{label}.png", **options)  # type: ignore[arg-type]
        objections = [line for line in said.splitlines() if "CONSOLE" in line]
        assert not objections, objections


# A browser is started for each of its pictures.
@pytest.mark.timeout(600)
def test_the_page_tells_what_is_well_degraded_out_and_maintained(
    page: Page, browser: Browser
) -> None:
    shop, mail, pay = (up(page.rest, name) for name in ("shop", "mail", "pay"))
    ids = [
        page.component("Web shop", shop, display_order=1, auto_incident=True),
        page.component("E-mail", mail, display_order=2),
        page.component("Payments", shop, pay, display_order=3),
        page.component("Newsletter with quite a long name that has to wrap on a phone", mail, display_order=4),
    ]
    page.remember(ids[0], {3: (0, 0, 95), 17: (45, 0, 0), 40: (0, 12, 0)})
    page.remember(ids[1], {8: (200, 0, 0)})
    page.remember(ids[2], {})
    page.remember(ids[3], {30: (0, 0, 2)})
    page.component("Hidden", pay, visible=False)
    for name in ("Web shop", "E-mail", "Payments"):
        page.until(name, "operational")
    assert page.api()["global_status"] == "operational"
    seen(browser, page.url, "operational")

    page.ask("PUT", f"/components/{ids[1]}", 200, status_override="degraded")
    page.until("E-mail", "degraded")
    assert page.api()["global_status"] == "degraded"
    seen(browser, page.url, "degraded")
    page.ask("PUT", f"/components/{ids[1]}", 200, status_override="")
    page.until("E-mail", "operational")

    page.ask(
        "POST", "/incidents", 201, title="Orders are slow", severity="major",
        component_ids=[ids[0], ids[2]], message="Some orders take minutes to be confirmed.",
    )
    incident = page.rest.get("/status/incidents")["incidents"][0]["id"]
    page.ask(
        "POST", f"/incidents/{incident}/updates", 201, status="identified",
        message="A queue is full. More workers are being started.\n\nNothing is lost.",
    )
    page.ask("PUT", f"/components/{ids[0]}", 200, status_override="partial_outage")
    page.until("Web shop", "partial_outage")
    seen(browser, page.url, "incident")
    page.ask("POST", f"/incidents/{incident}/updates", 201, status="resolved", message="All is well.")
    page.ask("PUT", f"/components/{ids[0]}", 200, status_override="")

    begin = time.time()
    stamp = lambda after: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin + after))  # noqa: E731
    page.ask(
        "POST", "/maintenance", 201, title="Database upgrade", description="To a new version.",
        starts_at=stamp(-5), ends_at=stamp(3600), component_ids=[ids[2]],
    )
    page.ask(
        "POST", "/maintenance", 201, title="New firewall", starts_at=stamp(86_400),
        ends_at=stamp(90_000), component_ids=ids[:2], description="Short interruptions.",
    )
    page.until("Payments", "under_maintenance")
    wait_until(lambda: page.api()["active_incidents"], "the window is announced")
    seen(browser, page.url, "maintenance")
    text = page.public.get("/status/").text
    assert "Hidden" not in text and "Hidden" not in str(page.api())


def test_the_page_changes_while_it_is_open(page: Page, browser: Browser) -> None:
    page.component("Web shop", up(page.rest, "shop"))
    page.until("Web shop", "operational")
    with browser.open(page.url) as document:
        wait_until(lambda: "Web shop" in document(), "the page is open")
        document.until_stream("open")
        page.ask("POST", "/incidents", 201, title="It broke", severity="minor")
        wait_until(lambda: "It broke" in document(), "the incident is shown", every=0.5)


def test_what_a_reader_opened_stays_and_keeps_the_focus(page: Page, browser: Browser) -> None:
    component = page.component("Web shop", up(page.rest, "shop"))
    page.remember(component, {3: (0, 0, 95)})
    page.until("Web shop", "operational")
    # What is first known of today makes another bar.
    wait_until(lambda: page.days(component) == 90, "something is known of today")
    focus = "document.activeElement.parentElement.id"
    with browser.open(page.url) as document:
        wait_until(lambda: "Web shop" in document(), "the page is open")
        document.until_stream("open")
        document.run("document.querySelector('summary').click()")
        document.run("document.querySelector('summary').focus()")
        document.run("document.getElementById('main').dataset.old = 'yes'")
        assert document.run(focus) == f"days-{component}"

        page.ask("POST", "/incidents", 201, title="It broke", severity="minor")
        wait_until(lambda: "It broke" in document(), "the incident is shown", every=0.5)
        assert document.run("document.getElementById('main').dataset.old") is None
        assert document.run(focus) == f"days-{component}"
        assert document.run("document.querySelector('details').open") is True

        # Where nothing new is said nothing is replaced but the time.
        document.run("document.getElementById('main').dataset.old = 'yes'")
        document.run("document.getElementById('as-of').dataset.old = 'yes'")
        page.component("Hidden", up(page.rest, "hidden"), visible=False)
        fresh = "document.getElementById('as-of').dataset.old === undefined"
        wait_until(lambda: document.run(fresh), "the time is another", every=0.5)
        assert document.run("document.getElementById('main').dataset.old") == "yes"
        assert document.run(focus) == f"days-{component}"


def test_the_page_comes_back_to_its_events_after_they_were_refused(
    page: Page, browser: Browser
) -> None:
    page.component("Web shop", up(page.rest, "shop"))
    with ExitStack() as seats:
        for _ in range(8):
            seats.enter_context(page.events())
        assert page.public.get("/status/events").status_code == 503
        with browser.open(page.url) as document:
            wait_until(lambda: "Web shop" in document(), "the page is open")
            document.until_stream("error")
            # It tries again after half a minute at most, and asks for the page anew then.
            document.run("document.getElementById('as-of').dataset.old = 'yes'")
            seats.close()
            document.until_stream("open")
            fresh = "document.getElementById('as-of').dataset.old === undefined"
            wait_until(lambda: document.run(fresh), "the page is asked for anew", every=0.5)


def test_it_needs_nothing_from_elsewhere_and_runs_nothing_foreign(page: Page) -> None:
    component = page.component(HOSTILE, up(page.rest, HOSTILE))
    page.ask(
        "POST", "/incidents", 201, title=HOSTILE, severity="minor", message=HOSTILE,
        component_ids=[component],
    )
    page.ask(
        "POST", "/maintenance", 201, title=HOSTILE, description=HOSTILE,
        starts_at="2090-01-01T00:00:00Z", ends_at="2090-01-02T00:00:00Z",
    )
    answer = page.public.get("/status/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "alert(1)" in answer.text and "<script>alert" not in answer.text
    assert answer.text.count("<script>") == 1
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)
    feed = page.public.get("/status/feed.atom")
    assert "<script>" not in feed.text and feed.headers["cache-control"] == "public, max-age=60"
    assert page.public.get("/status").headers["location"] == "status/"


def test_a_public_client_is_limited(page: Page) -> None:
    answers: list[httpx.Response] = []

    def too_many() -> httpx.Response | None:
        # Together: one after the other may be slow enough to be let in.
        with ThreadPoolExecutor(20) as visitors:
            answers.extend(visitors.map(lambda _: page.public.get("/status/api"), range(60)))
        return next((answer for answer in answers if answer.status_code == 429), None)

    refused = wait_until(too_many, "one is refused")
    assert {answer.status_code for answer in answers} == {200, 429}
    assert refused.json()["error"]["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1


def test_what_is_marked_pro_is_closed_in_community(place: Workshop) -> None:
    page = Page(place, MAINTENANT_EDITION="community")
    component = page.component("Web shop", up(page.rest, "shop"))
    for method, path in [
        ("POST", "/incidents"),
        ("PUT", "/incidents/x"),
        ("DELETE", "/incidents/1"),
        ("POST", "/incidents/1/updates"),
        ("POST", "/maintenance"),
        ("PUT", "/maintenance/1"),
        ("DELETE", "/maintenance/1"),
        ("GET", "/subscribers"),
        ("GET", "/smtp"),
    ]:
        body = "nonsense" if method in ("POST", "PUT") else None
        answer = page.rest.http.request(method, f"/status{path}", content=body)
        assert answer.status_code == 403, (method, path, answer.text)
        assert answer.json()["error"]["code"] == "PRO_REQUIRED"
    assert page.rest.get("/status/incidents") == {"incidents": [], "total": 0}
    assert page.rest.get("/status/maintenance") == []
    assert page.rest.get("/status/components")[0]["id"] == component


# --- alerts and windows -------------------------------------------------------------------------


def test_an_alert_opens_an_incident_and_its_end_resolves_it(place: Workshop) -> None:
    page = Page(place, MAINTENANT_EDITION="community")
    shop = up(page.rest, "internal-name")
    page.component("Web shop", shop, auto_incident=True)
    page.until("Web shop", "operational")
    with page.events() as events:
        shop.ping("fail")
        events.expect("status.incident_created", severity="critical", components=["Web shop"])
        [incident] = wait_until(lambda: page.api()["active_incidents"], "an incident is open")
        assert "internal-name" not in str(page.api()) + page.public.get("/status/").text
        shop.ping()
        events.expect("status.incident_resolved", id=incident["id"])
        events.expect("status.component_changed", name="Web shop", status="operational")
    [incident] = page.rest.get("/status/incidents")["incidents"]
    assert [update["is_auto"] for update in incident["updates"]] == [True, True]
    assert incident["updates"][-1]["alert_id"] >= 1


def test_a_window_begins_and_ends_on_time_and_mutes_its_components(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-06-01T11:50:00Z")
    page = Page(place, **clock.settings)
    shop, other = up(page.rest, "shop"), up(page.rest, "other")
    shop_id = page.component("Web shop", shop, auto_incident=True)
    page.component("Other", other)
    window = page.ask(
        "POST", "/maintenance", 201, title="Upgrade", starts_at="2026-06-01T12:00:00Z",
        ends_at="2026-06-01T13:00:00Z", component_ids=[shop_id],
    )
    assert window["active"] is False and window["url"].endswith(f"#maintenance-{window['id']}")
    clock.set("2026-06-01T11:59:30Z")
    page.until("Web shop", "operational")
    clock.set("2026-06-01T11:59:57Z")
    page.until("Web shop", "under_maintenance")
    assert clock.now.isoformat() >= "2026-06-01T12:00:00"
    incident = wait_until(lambda: page.api()["active_incidents"], "the window is announced")[0]
    assert incident["title"] == "Scheduled Maintenance: Upgrade"
    assert page.rest.get("/status/maintenance", status="active")[0]["active"] is True
    page.ask("PUT", f"/maintenance/{window['id']}", 409, title="Later")

    # What breaks meanwhile is stored and told to nobody; elsewhere it is told.
    alerts = Alerts(page.rest)
    shop.ping("fail")
    other.ping("fail")
    muted = alerts.until_only("heartbeat", shop.id, status="silenced")
    alerts.until_only("heartbeat", other.id, status="active")

    # The window goes on after a restart within it: once announced, and still as quiet.
    page.collector.stop()
    clock.set("2026-06-01T12:30:00Z")
    page = Page(place, **clock.settings)
    page.until("Web shop", "under_maintenance")
    page.until("Other", "major_outage")
    Alerts(page.rest).until_only("heartbeat", shop.id, id=muted["id"], status="silenced")
    assert [one["id"] for one in page.api()["active_incidents"]] == [incident["id"]]

    # It ends while nobody looks.
    page.collector.stop()
    clock.set("2026-06-01T13:00:01Z")
    page = Page(place, **clock.settings)
    page.until("Web shop", "major_outage")
    alerts = Alerts(page.rest)
    alerts.until_only("heartbeat", shop.id, id=muted["id"], status="active")
    titles = lambda: {one["title"] for one in page.api()["active_incidents"]}  # noqa: E731
    wait_until(lambda: titles() == {"Web shop: outage"}, "what still lasts is told now")
    assert page.rest.get("/status/maintenance", status="completed")[0]["id"] == window["id"]


def test_nothing_is_half_made(page: Page) -> None:
    page.ask("POST", "/incidents", 404, title="It broke", severity="minor", component_ids=[7])
    day = {"starts_at": "2090-01-01T00:00:00Z", "ends_at": "2090-01-02T00:00:00Z"}
    page.ask("POST", "/maintenance", 404, title="Upgrade", component_ids=[7], **day)
    page.ask("POST", "/maintenance", 400, title="Upgrade", starts_at=day["ends_at"], ends_at=day["starts_at"])
    page.ask("POST", "/maintenance", 400, title="Upgrade", starts_at="2020-01-01T00:00:00Z", ends_at="2020-01-02T00:00:00Z")
    page.ask("POST", "/incidents/7/updates", 404, status="resolved", message="Done")
    page.ask("POST", "/components", 400, display_name="Nothing", monitors=[])
    assert page.rest.get("/status/incidents") == {"incidents": [], "total": 0}
    assert page.rest.get("/status/maintenance") == []
    assert page.rest.get("/status/components") == []


# --- mail ---------------------------------------------------------------------------------------


@pytest.fixture
def mails() -> Iterator[Mails]:
    with mail_server() as server:
        yield server


def text_of(mails: Mails, place: int) -> str:
    def there() -> str:
        assert len(mails.messages) > place
        return str(mails.messages[place].get_payload(decode=True).decode())  # type: ignore[union-attr]

    return wait_until(there, f"mail {place} has come")


def link(text: str, page: Page) -> str:
    """The path of the one link with a token."""
    found = re.findall(r"http\S+(/status/\w+\?token=[0-9a-f]{64})", text)
    assert len(found) == 1, text
    return str(found[0])


def test_a_subscriber_confirms_is_told_and_goes(mails: Mails) -> None:
    with workshop() as place:
        page = Page(
            place,
            MAINTENANT_SMTP_HOST="127.0.0.1",
            MAINTENANT_SMTP_PORT=str(mails.port),
            MAINTENANT_SMTP_TLS="none",
            MAINTENANT_SMTP_FROM="status@example.org",
            MAINTENANT_BASE_URL="https://status.example.org",
        )
        assert 'action="subscribe"' in page.public.get("/status/").text
        form = page.public.post("/status/subscribe", data={"email": "Ada@example.org"})
        assert (form.status_code, form.json()) == (200, {"status": "confirmation_sent"})
        confirm = link(text_of(mails, 0), page)
        assert mails.messages[0]["Auto-Submitted"] == "auto-generated"
        assert mails.messages[0]["List-Unsubscribe"] is None
        page.ask("POST", "/incidents", 201, title="Too early", severity="minor")
        assert page.public.get(confirm.replace("token=", "token=0")).status_code == 400
        # A gateway that opens links changes nothing; the reader presses a button.
        assert page.public.get(confirm).status_code == 200
        assert page.public.head(confirm).status_code == 200
        assert page.rest.get("/status/subscribers")["confirmed"] == 0
        assert page.public.post(confirm).status_code == 200
        listed = page.rest.get("/status/subscribers")
        assert (listed["total"], listed["confirmed"]) == (1, 1)
        assert listed["subscribers"][0]["email"] == "a***@example.org"
        # Nobody learns from outside who is subscribed.
        again = page.public.post("/status/subscribe", json={"email": "ada@example.org"})
        assert again.json() == {"status": "confirmation_sent"}

        page.ask("POST", "/incidents", 201, title="It broke", severity="major", message="We look.")
        told = text_of(mails, 1)
        assert mails.messages[1]["To"] == "ada@example.org"
        assert mails.messages[1]["Subject"] == "[Example Works] Investigating: It broke"
        assert "We look." in told and "Too early" not in told
        leave = link(told, page)
        assert str(mails.messages[1]["List-Unsubscribe"]) == f"<https://status.example.org{leave}>"
        assert mails.messages[1]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert page.public.get(leave).status_code == 200
        assert page.rest.get("/status/subscribers")["total"] == 1
        one_click = page.public.post(leave, data={"List-Unsubscribe": "One-Click"})
        assert one_click.status_code == 200
        assert page.rest.get("/status/subscribers")["total"] == 0
        assert page.public.post("/status/subscribe", data={"email": "nobody"}).status_code == 400


def test_without_a_mail_server_nobody_can_subscribe(page: Page) -> None:
    assert 'action="subscribe"' not in page.public.get("/status/").text
    answer = page.public.post("/status/subscribe", data={"email": "ada@example.org"})
    assert answer.status_code == 503
