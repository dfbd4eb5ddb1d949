"""What goes wrong with real containers opens one alert, and the alert closes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import READERS, System
from support.alerts import Alerts
from support.clock import Clock
from support.docker import UNTIL_TOLD, Docker
from support.mcp_clients import Reader
from support.pings import Heartbeat
from support.programs import Workshop, workshop
from support.receiver import Receiver
from support.receiver import receiver as listening
from support.rest import Rest
from support.wait import wait_until

EAT_MEMORY = "x=a; while true; do x=$x$x; done"
SOON = {"MAINTENANT_CONTAINER_DOWN_AFTER": "1s", "MAINTENANT_ALLOW_PRIVATE_WEBHOOKS": "true"}
# Longer than Docker waits before it starts one again, and than it takes to tell why one ended.
PATIENT = SOON | {"MAINTENANT_CONTAINER_DOWN_AFTER": "30s"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


def tell(rest: Rest, receiver: Receiver) -> None:
    """Makes the receiver the one channel."""
    body = {"name": "receiver", "url": receiver.url(), "type": "webhook", "enabled": True}
    answer = rest.http.post("/channels", json=body)
    assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def noticed(docker: Docker, receiver: Receiver) -> Iterator[System]:
    """A system of the extended edition that tells a receiver soon."""
    with workshop() as place:
        system = System(place, docker.host, **SOON, MAINTENANT_EDITION="extended")
        tell(system.rest, receiver)
        try:
            yield system
        finally:
            system.close()


@pytest.fixture(scope="module")
def rest(noticed: System) -> Rest:
    return noticed.rest


@pytest.fixture(scope="module")
def alerts(rest: Rest) -> Alerts:
    return Alerts(rest)


@contextmanager
def clocked(docker: Docker, place: Workshop) -> Iterator[tuple[Rest, Clock, Receiver]]:
    """A patient collector whose clock can be moved, and whom it tells."""
    clock = Clock(place.folder)
    rest = place.collector(docker.host, **PATIENT, **clock.settings).rest()
    # Of one that ended before, nobody knows that it ever ran.
    rest.until_connected(True)
    with listening() as receiver:
        tell(rest, receiver)
        yield rest, clock, receiver


def told_of(receiver: Receiver, alert: dict[str, Any]) -> list[str]:
    """What the receiver was told of it, in order."""
    entity = (alert["entity_type"], alert["entity_id"])
    bodies = [post.json for post in receiver.taken()]
    return [
        f"{body['event']} {body['alert']['alert_type']}"
        for body in bodies
        if (body["alert"]["entity_type"], body["alert"]["entity_id"]) == entity
    ]


def until_told(receiver: Receiver, alert: dict[str, Any], *events: str) -> None:
    wait_until(
        lambda: told_of(receiver, alert) == list(events),
        f"the receiver is told {events}",
        context=lambda: told_of(receiver, alert),
    )


def test_a_stop_opens_one_alert_and_a_start_closes_it(
    docker: Docker, rest: Rest, alerts: Alerts, receiver: Receiver
) -> None:
    name = docker.name("alert-stopped")
    container = docker.run(name)
    row = rest.until(name, state="running")["id"]
    docker.stop(container)
    alert = alerts.until_only("container", row, status="active", alert_type="container_down")
    assert name in alert["message"]
    assert alert["severity"] == "warning", "somebody asked for it"
    until_told(receiver, alert, "alert.fired container_down")
    docker.start(container)
    closed = alerts.until_only("container", row, status="resolved")
    assert closed["resolved_at"] >= closed["fired_at"]
    end = rest.get(f"/alerts/{closed['resolved_by_id']}")
    assert (end["status"], end["severity"], end["resolved_at"]) == ("resolved", "info", None)
    until_told(
        receiver, alert, "alert.fired container_down", "alert.resolved container_down"
    )


def test_an_unhealthy_flip_opens_one_alert_and_closes_it(
    docker: Docker, rest: Rest, alerts: Alerts, receiver: Receiver
) -> None:
    name = docker.name("flip")
    container = docker.run(name, healthcheck=["sh", "-c", "test ! -e /tmp/sick"])
    row = rest.until(name, health_status="healthy")["id"]
    docker.execute(container, ["touch", "/tmp/sick"])
    alert = alerts.until_only("container", row, status="active", alert_type="health_unhealthy")
    docker.execute(container, ["busybox", "rm", "/tmp/sick"])
    alerts.until_only("container", row, status="resolved")
    until_told(
        receiver, alert, "alert.fired health_unhealthy", "alert.resolved health_unhealthy"
    )


def test_an_oom_kill_opens_one_critical_alert_that_closes_after_it_ran_well(
    docker: Docker, place: Workshop
) -> None:
    with clocked(docker, place) as (rest, clock, receiver):
        name = docker.name("eater")
        script = f"test -e /tmp/fed && exec sleep 86400; touch /tmp/fed; {EAT_MEMORY}"
        container = docker.shell(name, script, memory=20 * 2**20)
        row = rest.until(name, state="exited")["id"]
        facts = {"alert_type": "oom_killed", "severity": "critical"}
        alert = Alerts(rest).until_only("container", row, status="active", **facts)
        until_told(receiver, alert, "alert.fired oom_killed")
        docker.start(container)
        rest.until(name, state="running")
        clock.advance(minutes=20)
        Alerts(rest).until_only("container", row, status="resolved", **facts)
        until_told(receiver, alert, "alert.fired oom_killed", "alert.resolved oom_killed")


def test_a_crash_loop_opens_one_alert_that_clears_by_time(
    docker: Docker, place: Workshop
) -> None:
    with clocked(docker, place) as (rest, clock, receiver):
        name = docker.name("crashing")
        script = "echo x >> /tmp/runs; test $(head -c 10 /tmp/runs | tr -d '\\n') = xxxxx && "
        script += "exec sleep 86400; echo 'fatal: no database' >&2; sleep 0.2; exit 7"
        docker.shell(name, script, restart="on-failure")
        row = rest.until(name, state="running", restart_count=4)["id"]
        facts = {"alert_type": "restart_loop", "severity": "warning"}
        alert = Alerts(rest).until_only("container", row, status="active", **facts)
        # The last lines are read after an end, and may come after the alert.
        details = Alerts(rest).until_detailed(alert, "last_log_lines")
        assert set(details["exit_codes"]) == {7}, details
        assert "fatal: no database" in details["last_log_lines"], details
        until_told(receiver, alert, "alert.fired restart_loop")
        clock.advance(minutes=30)
        Alerts(rest).until_only("container", row, status="resolved", **facts)
        until_told(receiver, alert, "alert.fired restart_loop", "alert.resolved restart_loop")


def test_an_endpoint_that_fails_with_its_container_is_told_in_the_containers_alert(
    docker: Docker, rest: Rest, alerts: Alerts
) -> None:
    name = docker.name("served")
    labels = {
        "maintenant.endpoint.tcp": "127.0.0.1:9",
        "maintenant.endpoint.interval": "1h",
    }
    # Nobody listens on the port: what matters is that the container's end explains it. One failed
    # check is no outage yet.
    container = docker.run(name, labels=labels)
    row = rest.until(name, state="running")["id"]
    docker.stop(container)
    facts = {"alert_type": "container_down", "severity": "warning"}
    alert = alerts.until_only("container", row, status="active", **facts)
    named = alerts.until_detailed(alert, "affected")["affected"]
    assert [one["entity_type"] for one in named] == ["endpoint"]
    assert alerts.of("endpoint", named[0]["entity_id"]) == []


def test_what_fails_under_a_silence_is_told_when_the_silence_ends(
    docker: Docker, rest: Rest, alerts: Alerts, receiver: Receiver
) -> None:
    name = docker.name("silenced")
    container = docker.run(name)
    row = rest.until(name, state="running")["id"]
    body = {"duration_seconds": 3600, "entity_type": "container", "entity_id": row}
    silence = rest.http.post("/silence", json=body)
    assert silence.status_code == 201, silence.text
    docker.stop(container)
    alert = alerts.until_only("container", row, status="silenced")
    assert told_of(receiver, alert) == []
    assert rest.http.delete(f"/silence/{silence.json()['id']}").status_code == 204
    alerts.until_only("container", row, status="active")
    until_told(receiver, alert, "alert.fired container_down")


def test_a_failure_that_is_over_before_its_silence_is_never_told(
    docker: Docker, rest: Rest, alerts: Alerts, receiver: Receiver
) -> None:
    name = docker.name("silenced-over")
    container = docker.run(name)
    row = rest.until(name, state="running")["id"]
    body = {"duration_seconds": 3600, "entity_type": "container", "entity_id": row}
    silence = rest.http.post("/silence", json=body).json()
    docker.stop(container)
    alert = alerts.until_only("container", row, status="silenced")
    docker.start(container)
    alerts.until_only("container", row, status="resolved")
    rest.http.delete(f"/silence/{silence['id']}")
    # Another container's outage is told after whatever could have been told of this one.
    other = docker.name("after-silence")
    stopped = docker.run(other)
    row = rest.until(other, state="running")["id"]
    docker.stop(stopped)
    until_told(
        receiver, {"entity_type": "container", "entity_id": row}, "alert.fired container_down"
    )
    assert told_of(receiver, alert) == []


def test_removing_the_container_ends_its_alert(
    docker: Docker, rest: Rest, alerts: Alerts, receiver: Receiver
) -> None:
    name = docker.name("alert-removed")
    container = docker.run(name)
    row = rest.until(name, state="running")["id"]
    docker.kill(container)
    alert = alerts.until_only("container", row, status="active")
    docker.remove(container)
    closed = alerts.until_only("container", row, status="resolved")
    assert closed["resolved_by_id"] is None, "it did not recover"
    until_told(
        receiver, alert, "alert.fired container_down", "alert.resolved container_down"
    )


def test_an_alert_is_acknowledged_once(docker: Docker, rest: Rest, alerts: Alerts) -> None:
    name = docker.name("acknowledged")
    container = docker.run(name)
    row = rest.until(name, state="running")["id"]
    docker.stop(container)
    alert = alerts.until_only("container", row, status="active")
    path = f"/alerts/{alert['id']}/acknowledge"
    answer = rest.http.post(path, json={"acknowledged_by": "ada"})
    assert (answer.status_code, answer.json()["status"]) == (200, "active")
    assert alert["id"] not in {
        one["id"] for group in rest.get("/alerts/active").values() for one in group
    }
    again = rest.http.post(path, json={"acknowledged_by": "bob"})
    assert again.status_code == 409 and "ada" in again.text, again.text
    unknown = rest.http.post("/alerts/999999999/acknowledge", json={"acknowledged_by": "bob"})
    assert unknown.status_code == 404


def test_an_engine_that_is_away_is_an_alert_and_its_containers_are_unknown(
    place: Workshop,
) -> None:
    clock = Clock(place.folder)
    socket = place.folder / "no-engine.sock"
    rest = place.collector(f"unix://{socket}", **SOON, **clock.settings).rest()
    clock.run_until(lambda: Alerts(rest).of("runtime", 0), "the engine is missed")
    Alerts(rest).until_only("runtime", 0, status="active", alert_type="runtime_unreachable")


# --- nothing is lost ----------------------------------------------------------------------------

JOBS = 12


def test_every_alert_reaches_a_receiver_that_fails_hangs_and_restarts_across_kill_9(
    place: Workshop,
) -> None:
    first = Receiver()
    settings = {"MAINTENANT_RUNTIME": "none", **SOON}
    collector = place.collector("", **settings)
    rest = collector.rest()
    body = {"name": "receiver", "type": "webhook", "url": first.url(), "enabled": True}
    assert rest.http.post("/channels", json=body).status_code == 201
    jobs = [Heartbeat.create(rest, f"job-{number}") for number in range(JOBS)]

    def each(signal: str, part: slice) -> None:
        for job in jobs[part]:
            job.ping(signal)

    def until_alerts(count: int, status: str) -> None:
        def so_many() -> bool:
            alerts = Alerts(rest).all(source="heartbeat")
            return sum(alert["status"] == status for alert in alerts) == count

        wait_until(so_many, f"{count} alerts are {status}")

    first.status = 503
    each("fail", slice(0, JOBS))
    wait_until(lambda: first.posts, "it was tried")
    # Soon: after every failure the pause before the next try is longer.
    first.status = None
    until_alerts(JOBS, "active")
    each("", slice(0, 6))
    until_alerts(6, "resolved")
    wait_until(lambda: first.posts[-1].answer is None, "a try hangs")
    first.close()
    each("", slice(6, 9))
    until_alerts(9, "resolved")
    collector.kill()
    with listening(first.port) as second:
        collector = place.collector("", **settings)
        rest = collector.rest()
        jobs = [Heartbeat(rest, job.id, _moved(job.url, collector.url)) for job in jobs]
        each("", slice(9, JOBS))
        until_alerts(JOBS, "resolved")
        wait_until(
            lambda: len(second.taken()) == 2 * JOBS,
            "every alert is told, and its end",
            within=150,
            context=lambda: [post.json["event"] for post in second.taken()],
        )
        for job in jobs:
            told = [post.json for post in second.taken()]
            events = [one["event"] for one in told if one["alert"]["entity_id"] == job.id]
            assert events == ["alert.fired", "alert.resolved"], (job.id, events)
        tries = first.posts + second.posts
        bodies = {post.key: {other.body for other in tries if other.key == post.key} for post in tries}
        assert {len(same) for same in bodies.values()} == {1}, "a message changed between two tries"


def _moved(url: str, to: str) -> str:
    """The same ping address on a collector that was started again."""
    return f"{to}/ping/{url.rpartition('/')[2]}"


# --- as an assistant sees it --------------------------------------------------------------------


@pytest.fixture(params=READERS)
def assistant(request: pytest.FixtureRequest, noticed: System) -> Reader:
    """A reader of the system whose alerts are told."""
    return noticed.reader(*request.param)


@pytest.fixture(scope="module")
def broken(docker: Docker, alerts: Alerts, rest: Rest) -> tuple[str, int]:
    """A container with one active alert."""
    name = docker.name("alert-told")
    script = f"{UNTIL_TOLD}; echo 'fatal: disk quota' >&2; sleep 0.5; exit 3"
    container = docker.shell(name, script)
    row = rest.until(name, state="running")["id"]
    docker.tell(container)
    alert = alerts.until_only("container", row, status="active", alert_type="container_down")
    alerts.until_detailed(alert, "last_log_lines")
    return name, row


def test_an_active_alert_is_told_with_its_cause(
    assistant: Reader, broken: tuple[str, int]
) -> None:
    told = assistant.call("list_alerts", entity=f"container:{broken[1]}")
    (alert,) = told["alerts"]
    assert (alert["type"], alert["severity"]) == ("container_down", "critical")
    assert alert["entity_name"] == broken[0]
    assert "fatal: disk quota" in json.dumps(alert), alert
    assert told["summary"]["active"] >= 1, told


def test_history_is_told_when_it_is_asked_for(
    assistant: Reader, docker: Docker, rest: Rest, alerts: Alerts
) -> None:
    name = docker.name(f"past-{assistant.name.replace(' ', '-')}")
    container = docker.run(name)
    row = rest.until(name, state="running")["id"]
    docker.stop(container)
    alerts.until_only("container", row, status="active")
    docker.start(container)
    alerts.until_only("container", row, status="resolved")
    entity = f"container:{row}"
    assert assistant.call("list_alerts", entity=entity)["alerts"] == []
    (alert,) = assistant.call("list_alerts", entity=entity, active_only=False)["alerts"]
    assert (alert["status"], alert["type"]) == ("resolved", "container_down")


def test_an_assistant_acknowledges_in_its_own_name(
    assistant: Reader, docker: Docker, rest: Rest, alerts: Alerts
) -> None:
    name = docker.name(f"ack-{assistant.name.replace(' ', '-')}")
    container = docker.run(name)
    row = rest.until(name, state="running")["id"]
    docker.stop(container)
    alert = alerts.until_only("container", row, status="active")
    assistant.call("acknowledge_alert", alert_id=alert["id"])
    stored = rest.get(f"/alerts/{alert['id']}")
    assert stored["acknowledged_by"].startswith("mcp"), stored
    (listed,) = assistant.call("list_alerts", entity=f"container:{row}")["alerts"]
    assert listed["acknowledged_by"] == stored["acknowledged_by"]
    again = assistant.refusal("acknowledge_alert", alert_id=alert["id"])
    assert stored["acknowledged_by"] in again, again
    assert "list_alerts" in assistant.refusal("acknowledge_alert", alert_id=999_999_999)


def test_acknowledging_needs_the_extended_edition(reader: Reader) -> None:
    """`reader` asks a collector of the community edition."""
    assert "MAINTENANT_EDITION" in reader.refusal("acknowledge_alert", alert_id=1)
