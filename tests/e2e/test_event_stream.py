"""`/containers/events` and the live log stream."""

import time
from collections.abc import Iterator

import pytest
from support.docker import UNTIL_TOLD, Docker
from support.programs import Workshop
from support.rest import Rest
from support.sse import EventStream
from support.wait import wait_until

EVENTS = "/containers/events"


@pytest.fixture
def stream(rest: Rest) -> Iterator[EventStream]:
    with rest.stream(EVENTS) as opened:
        yield opened


def test_headers_are_sent_before_anything_happens(rest: Rest) -> None:
    begin = time.monotonic()
    with rest.stream(EVENTS) as stream:
        waited = time.monotonic() - begin
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache"
    # A stream that says nothing gives its first sign of life after 15 seconds.
    assert waited < 10, f"the answer's head took {waited:.1f} s"


def test_a_quiet_stream_is_kept_alive_by_comments(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    with collector.rest().stream(EVENTS) as stream:
        # The first may be a greeting; the second is the heartbeat of a silent stream.
        wait_until(lambda: len(stream.comments) >= 2, "a second comment arrives")
        assert stream.events == []


def test_a_life_is_told_in_events_with_rising_ids(
    stream: EventStream, docker: Docker, rest: Rest
) -> None:
    name = docker.name("told")
    container = docker.shell(name, f"{UNTIL_TOLD}; exit 4")
    found = stream.expect("container.discovered", name=name)
    row = found.data["id"]
    rest.until(name, state="running")
    docker.tell(container)
    ended = stream.expect("container.state_changed", id=row, state="exited")
    assert (ended.data["exit_code"], ended.data["previous_state"]) == (4, "running")
    docker.remove(container)
    stream.expect("container.archived", id=row)
    # Samples are shown as they come; they are not kept, and have no id of their own.
    ids = [event.id for event in stream.events if event.event != "resource.snapshot"]
    assert all(ids) and len(set(ids)) == len(ids), ids


def test_a_change_of_health_is_an_event(stream: EventStream, docker: Docker) -> None:
    name = docker.name("feverish")
    docker.run(name, healthcheck=["false"])
    row = stream.expect("container.discovered", name=name).data["id"]
    stream.expect("container.health_changed", id=row, health_status="unhealthy")


def test_what_was_missed_is_replayed_after_the_last_event_id(rest: Rest, docker: Docker) -> None:
    first, second = docker.name("first"), docker.name("second")
    with rest.stream(EVENTS) as stream:
        docker.run(first)
        row = stream.expect("container.discovered", name=first).data["id"]
        last = stream.expect("container.discovered", name=first).id
    assert last
    docker.run(second)
    rest.until(second)

    with rest.stream(EVENTS, headers={"Last-Event-ID": last}) as again:
        again.expect("container.discovered", name=second)
        found = [e.data["id"] for e in again.events if e.event == "container.discovered"]
        assert row not in found, "the event already seen was sent again"
        assert "stream.gap" not in [event.event for event in again.events]


@pytest.mark.parametrize("last", ["0-0", "1", "from-another-life"])
def test_an_id_that_cannot_be_resumed_is_answered_with_a_gap(rest: Rest, last: str) -> None:
    with rest.stream(EVENTS, headers={"Last-Event-ID": last}) as stream:
        wait_until(lambda: stream.events, "the first event arrives")
        assert stream.events[0].event == "stream.gap", stream.events


@pytest.fixture(scope="module")
def counting(docker: Docker, rest: Rest) -> int:
    """Counts for a while and ends; the id of its row."""
    name = docker.name("counting-live")
    docker.shell(name, "for i in 1 2 3 4 5 6; do echo tick $i; sleep 0.3; done; sleep 0.5; exit 0")
    return rest.until(name)["id"]


def test_the_log_stream_follows_to_the_end(rest: Rest, counting: int) -> None:
    with rest.stream(f"/containers/{counting}/logs/stream", lines=100) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        stream.expect("container.log_error", container_id=counting)
        lines = [event.data for event in stream.events if event.event == "container.log_line"]
    assert [line["line"] for line in lines] == [f"tick {i}" for i in range(1, 7)]
    assert {line["stream"] for line in lines} == {"stdout"}
    assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)


def test_the_log_stream_of_no_container_is_404(rest: Rest) -> None:
    answer = rest.http.get("/containers/987654321/logs/stream")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "CONTAINER_NOT_FOUND")


def test_sigterm_ends_open_streams_and_the_process(place: Workshop, docker: Docker) -> None:
    collector = place.collector(docker.host)
    with collector.rest().stream(EVENTS) as stream:
        collector.stop()
        assert stream.ended.wait(20)
