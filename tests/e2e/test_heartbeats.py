"""Heartbeats on the real collector: deadlines under a moved clock, signals, proxies, limits."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from support.clock import Clock, moment
from support.pings import Heartbeat
from support.programs import Program, Workshop, workshop
from support.rest import Rest
from support.wait import wait_until


def start(place: Workshop, **settings: str) -> Program:
    return place.collector("", MAINTENANT_RUNTIME="none", **settings)


@pytest.fixture(scope="module")
def collector() -> Iterator[Program]:
    """One collector with the real clock, for tests that need no other."""
    with workshop() as place:
        yield start(place, MAINTENANT_LOG_LEVEL="trace")


@pytest.fixture
def rest(collector: Program) -> Rest:
    return collector.rest()


# --- the clock ----------------------------------------------------------------------------------

NIGHTLY = {"schedule": "30 2 * * *", "timezone": "Europe/Paris", "grace_seconds": 60}


def test_a_nightly_job_is_due_right_after_an_hour_that_is_skipped(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-03-28T12:00:00Z")
    rest = start(place, **clock.settings).rest()
    nightly = Heartbeat.create(rest, **NIGHTLY)
    nightly.ping()
    # 02:30 does not exist that night: it is 03:00 in summer time, and a minute of grace.
    nightly.expect(status="up", next_deadline_at="2026-03-29T01:01:00Z")
    clock.set("2026-03-29T00:59:00Z")
    nightly.expect(status="up", problem=None)
    clock.run_until(lambda: nightly.is_so(status="down"), "the night's run is missed")
    nightly.expect(problem="missed", status_since="2026-03-29T01:01:00Z", alert_state="alerting")
    nightly.ping()
    nightly.expect(status="up", alert_state="normal", next_deadline_at="2026-03-30T00:31:00Z")


def test_a_nightly_job_is_due_once_when_an_hour_is_repeated(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-10-24T12:00:00Z")
    rest = start(place, **clock.settings).rest()
    nightly = Heartbeat.create(rest, **NIGHTLY)
    hourly = Heartbeat.create(
        rest, schedule="30 * * * *", timezone="Europe/Paris", grace_seconds=60
    )
    nightly.ping()
    nightly.expect(next_deadline_at="2026-10-25T00:31:00Z")
    clock.set("2026-10-25T00:30:10Z")
    nightly.ping()
    hourly.ping()
    nightly.expect(status="up", next_deadline_at="2026-10-26T01:31:00Z")
    hourly.expect(next_deadline_at="2026-10-25T01:31:00Z")
    # The second 02:30 of the night comes: the hourly job has it, the nightly one has not.
    clock.set("2026-10-25T01:30:05Z")
    clock.run_until(lambda: hourly.is_so(status="down"), "the hourly job is missed")
    hourly.expect(status_since="2026-10-25T01:31:00Z")
    nightly.expect(status="up", problem=None)
    clock.set("2026-10-26T01:30:30Z")
    clock.run_until(lambda: nightly.is_so(status="down"), "the next night's run is missed")
    nightly.expect(status_since="2026-10-26T01:31:00Z")


def test_new_york_changes_its_clocks_on_other_days(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-03-07T20:00:00Z")
    rest = start(place, **clock.settings).rest()
    zone = {"timezone": "America/New_York", "grace_seconds": 60}
    nightly = Heartbeat.create(rest, schedule="30 2 * * *", **zone)
    early = Heartbeat.create(rest, schedule="30 1 * * *", **zone)
    nightly.ping()
    nightly.expect(next_deadline_at="2026-03-08T07:01:00Z")
    clock.set("2026-10-31T20:00:00Z")
    early.ping()
    early.expect(next_deadline_at="2026-11-01T05:31:00Z")
    clock.set("2026-11-01T05:30:20Z")
    early.ping()
    early.expect(next_deadline_at="2026-11-02T06:31:00Z")


def test_a_ping_is_expected_late_missed_and_welcome_again(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-05-05T10:00:00Z")
    rest = start(place, **clock.settings).rest()
    job = Heartbeat.create(rest)
    idle = Heartbeat.create(rest, "idle", interval_seconds=60, grace_seconds=0)
    with rest.stream("/containers/events") as events:
        job.ping()
        due = moment(job.expect(status="up", problem=None)["next_deadline_at"])
        # Within the minute of grace, however long the start took.
        clock.set((due - timedelta(seconds=40)).isoformat())
        job.expect(status="up", problem="late", alert_state="normal")
        assert [late["id"] for late in rest.get("/heartbeats", status="late")["heartbeats"]]
        clock.run_until(lambda: job.is_so(status="down"), "the ping is missed")
        told = job.expect(problem="missed", consecutive_failures=1)
        assert moment(told["status_since"]) == due
        alert = events.expect("heartbeat.alert", heartbeat_id=job.id)
        assert alert.data["alert_type"] == "deadline_missed"
        job.ping()
        job.expect(status="up", problem=None, alert_state="normal", consecutive_failures=0)
        events.expect("heartbeat.recovery", heartbeat_id=job.id)
        # The other one was never pinged, and that is told too.
        clock.run_until(lambda: idle.is_so(problem="never_pinged"), "the idle one is seen")
        idle.expect(status="new", alert_state="alerting")
        events.expect("heartbeat.alert", heartbeat_id=idle.id)


def test_a_start_that_never_ends_is_found(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-05-05T10:00:00Z")
    rest = start(place, **clock.settings).rest()
    limited = Heartbeat.create(rest, "limited", max_runtime_seconds=90)
    restless = Heartbeat.create(rest, "restless")
    limited.ping("start")
    restless.ping()
    clock.run_until(lambda: limited.is_so(status="down"), "the run takes too long")
    told = limited.expect(problem="runs_too_long", alert_state="alerting")
    run = limited.runs()[0]
    assert run["outcome"] == "timeout"
    assert (moment(told["status_since"]) - moment(run["started_at"])).total_seconds() == 90
    for at in ("10:20", "10:40", "11:00"):
        clock.set(f"2026-05-05T{at}:00Z")
        restless.ping("start")
        restless.expect(status="started")
    clock.run_until(lambda: restless.is_so(status="down"), "no start moves the deadline")
    restless.expect(problem="runs_too_long")
    assert [run["outcome"] for run in restless.runs()] == ["timeout"] * 3 + ["success"]


def test_a_restart_is_no_storm_and_its_gap_is_unknown(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-05-05T10:00:00Z")
    collector = start(place, **clock.settings)
    rest = collector.rest()
    missed, queued = Heartbeat.create(rest, "missed"), Heartbeat.create(rest, "queued")
    for job in (missed, queued):
        job.ping()
    due = missed.expect(status="up")["next_deadline_at"]
    clock.advance(minutes=30)
    # The collector must have looked after the jump: its mark is what a restart goes by.
    wait_until(lambda: "could not be heard" in collector.log, "the jump is noticed")
    collector.kill()

    clock.set("2026-05-05T14:00:00Z")
    collector = start(place, **clock.settings)
    rest = collector.rest()
    missed = Heartbeat(rest, missed.id, f"{collector.url}/ping/{missed.uuid}")
    queued = Heartbeat(rest, queued.id, f"{collector.url}/ping/{queued.uuid}")
    with rest.stream("/containers/events") as events:
        missed.expect(status="up", problem="late", next_deadline_at=due)
        queued.ping()
        clock.run_until(lambda: missed.is_so(status="down"), "the verdict comes after a pause")
        missed.expect(status_since=due, problem="missed")
        queued.expect(status="up", problem=None, alert_state="normal")
        events.expect("heartbeat.alert", heartbeat_id=missed.id)
        told = [frame.data for frame in events.events if frame.event == "heartbeat.alert"]
        assert [alert["heartbeat_id"] for alert in told] == [missed.id]
    day = queued.today()
    assert day["uptime_percent"] == 100 and day["coverage_percent"] < 5, day
    day = missed.today()
    assert day["uptime_percent"] < 50 and day["incident_count"] == 1, day


def test_a_clock_that_is_set_back_makes_no_negative_time(place: Workshop) -> None:
    clock = Clock(place.folder, "2026-05-05T10:00:00Z")
    job = Heartbeat.create(start(place, **clock.settings).rest())
    job.ping("start")
    clock.advance(hours=-1)
    job.ping("0")
    run = job.runs()[0]
    assert (run["outcome"], run["duration_ms"]) == ("success", 0)
    job.expect(status="up", last_duration_ms=0)
    assert moment(job.read()["next_deadline_at"]) > clock.now


# --- signals ------------------------------------------------------------------------------------


def test_exit_codes_are_failures_and_any_success_ends_them(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    for signal, body in (("3", {"ok": True, "exit_code": 3}), ("fail", {"ok": True})):
        assert job.ping(signal).json() == body
        job.expect(status="down", problem="failed", alert_state="alerting")
        job.ping("start")
        job.expect(status="started", alert_state="alerting")
        job.ping()
        job.expect(status="up", problem=None, alert_state="normal", consecutive_failures=0)
    assert job.ping("0").json() == {"ok": True, "exit_code": 0}
    job.ping("log", method="POST", content="a line")
    job.expect(status="up", last_exit_code=0)
    types = [ping["ping_type"] for ping in job.pings()]
    assert types == "log exit_code success start fail success start exit_code".split()


def test_signals_that_are_none_are_refused(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    for signal in ("256", "-1", "done", "1e2"):
        answer = job.ping(signal, status=400)
        assert answer.json()["error"]["code"] == "INVALID_EXIT_CODE"
    assert job.pings() == []


def test_runs_that_overlap_are_told_apart(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    for signal, rid in (("start", "a"), ("start", "b"), ("0", "a"), ("7", "b")):
        job.ping(signal, params={"rid": rid})
    runs = {run["run_id"]: (run["outcome"], run["exit_code"]) for run in job.runs()}
    assert runs == {"a": ("success", 0), "b": ("failure", 7)}


def test_get_head_and_post_count_and_are_not_to_be_kept(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    for method in ("GET", "HEAD", "POST"):
        answer = job.ping(method=method)
        assert (answer.text == "") == (method == "HEAD")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-robots-tag"] == "noindex"
    assert [ping["http_method"] for ping in job.pings()] == ["POST", "HEAD", "GET"]


def test_ten_kibibytes_of_a_body_are_kept(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    job.ping("1", method="POST", content=b"no space left on device\n\xff")
    assert job.runs()[0]["payload"] == "no space left on device\n\ufffd"
    job.ping(method="POST", content=b"x" * 1_000_000)
    assert job.pings()[0]["payload"] == "x" * 10_240
    job.ping(method="POST", content=b"x" * 3_000_000)
    assert job.pings()[0]["payload"] == "x" * 10_240


def test_a_body_that_stops_half_way_does_not_hold_the_ping_back(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    address = urlsplit(job.url)
    assert address.hostname and address.port
    with socket.create_connection((address.hostname, address.port), timeout=15) as connection:
        head = f"POST {address.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b"so far")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert job.pings()[0]["payload"] == "so far"


def test_a_ping_does_not_resume_what_is_paused(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    assert rest.http.post(f"/heartbeats/{job.id}/pause").json()["status"] == "paused"
    for signal in ("", "start", "5"):
        job.ping(signal)
    told = job.expect(status="paused", alert_state="normal", next_deadline_at=None)
    assert told["last_ping_at"] == job.pings()[0]["timestamp"]
    assert rest.http.post(f"/heartbeats/{job.id}/resume").json()["status"] == "up"
    again = rest.http.post(f"/heartbeats/{job.id}/resume")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "INVALID_INPUT")


def test_heartbeats_outlive_the_collector(place: Workshop) -> None:
    collector = start(place)
    job = Heartbeat.create(collector.rest(), **NIGHTLY)
    job.ping("start")
    before = job.read()
    collector.stop()
    rest = start(place).rest()
    again = Heartbeat(rest, job.id, f"{str(rest.http.base_url)[:-8]}/ping/{job.uuid}")
    assert again.read() == before
    again.ping()
    again.expect(status="up", schedule=NIGHTLY["schedule"], timezone=NIGHTLY["timezone"])
    assert again.runs()[0]["duration_ms"] >= 0


# --- who, and how often -------------------------------------------------------------------------


def test_an_address_that_is_unknown_or_deleted_is_not_found(rest: Rest) -> None:
    job = Heartbeat.create(rest)
    unknown = httpx.get(job.url.replace(job.uuid, "00000000-0000-4000-8000-000000000000"))
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "HEARTBEAT_NOT_FOUND"
    assert rest.http.delete(f"/heartbeats/{job.id}").status_code == 204
    assert job.ping(status=404).json() == unknown.json()


def test_forwarded_addresses_are_believed_of_trusted_proxies_alone(
    rest: Rest, place: Workshop
) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    job = Heartbeat.create(rest)
    job.ping(headers=headers)
    assert job.pings()[0]["source_ip"] == "127.0.0.1"
    trusting = start(place, MAINTENANT_TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8").rest()
    job = Heartbeat.create(trusting)
    job.ping(headers=headers)
    job.ping(headers={"X-Forwarded-For": "198.51.100.7, 10.1.2.3"})
    job.ping(headers={"X-Forwarded-For": "nonsense"})
    sources = [ping["source_ip"] for ping in job.pings()]
    assert sources == ["127.0.0.1", "198.51.100.7", "198.51.100.7"]


def test_too_many_pings_are_told_when_to_come_again(place: Workshop) -> None:
    rest = start(place, MAINTENANT_TRUSTED_PROXIES="127.0.0.1").rest()
    job, other = Heartbeat.create(rest), Heartbeat.create(rest)
    # At once: one after the other, on a slow machine, they would not be too many.
    with httpx.Client(timeout=20) as client, ThreadPoolExecutor(30) as crowd:
        answers = list(crowd.map(client.get, [job.url] * 120))
        refused = [answer for answer in answers if answer.status_code == 429]
        taken = [answer for answer in answers if answer.status_code == 200]
        assert refused and len(taken) >= 60, [answer.status_code for answer in answers]
        assert refused[0].json()["error"]["code"] == "RATE_LIMITED"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert len(job.all_pings()) == len(taken)
        # Guessing addresses costs the guesser alone.
        unknown = job.url[:-4] + "0000"
        guesses = {answer.status_code for answer in crowd.map(client.get, [unknown] * 30)}
        assert guesses == {404, 429}
        other.ping()
        elsewhere = client.get(unknown, headers={"X-Forwarded-For": "198.51.100.7"})
        assert elsewhere.status_code == 404


def test_ping_addresses_are_in_no_log(collector: Program, rest: Rest) -> None:
    job = Heartbeat.create(rest)
    for signal in ("", "start", "999", "log/more"):
        httpx.get(f"{job.url}/{signal}" if signal else job.url)
    answer = httpx.get(f"{job.url}/log/more")
    assert answer.status_code == 404 and job.uuid not in answer.text
    assert collector.log and job.uuid not in collector.log
