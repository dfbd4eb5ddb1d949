"""Heartbeats as an assistant sees them, and the two things it may do with them."""

from collections.abc import Iterator

import httpx
import pytest
from conftest import System
from support.mcp_clients import LEGACY, Reader, Target
from support.programs import Workshop
from support.rest import Rest


def ping(system: System, heartbeat: dict[str, object], signal: str = "") -> None:
    """One ping; the answer says that it is stored."""
    url = f"{system.collector.url}/ping/{heartbeat['uuid']}{signal}"
    answer = httpx.get(url, timeout=20)
    assert answer.status_code == 200, answer.text


def create(rest: Rest, name: str, **settings: object) -> dict[str, object]:
    body = {"name": name, "interval_seconds": 3600, "grace_seconds": 300, **settings}
    answer = rest.http.post("/heartbeats", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, object] = answer.json()
    return made


@pytest.fixture(scope="module")
def beats(system: System, rest: Rest) -> Iterator[dict[str, dict[str, object]]]:
    """One that is well, one that failed, one that runs, one that never pinged, one of a schedule."""
    made = {word: create(rest, f"beat-{word}") for word in ("well", "failed", "running", "new")}
    schedule = {"interval_seconds": None, "schedule": "30 2 * * *", "timezone": "Europe/Paris"}
    made["nightly"] = create(rest, "beat-nightly", **schedule)
    ping(system, made["well"])
    ping(system, made["nightly"])
    ping(system, made["failed"], "/3")
    ping(system, made["running"], "/start")
    try:
        yield made
    finally:
        for heartbeat in made.values():
            rest.http.delete(f"/heartbeats/{heartbeat['id']}")


def test_each_state_is_told_worst_first(
    reader: Reader, beats: dict[str, dict[str, object]]
) -> None:
    page = reader.call("list_heartbeats", name="beat-", limit=100)
    rows = {row["name"]: row for row in page["heartbeats"]}
    states = {name: rows[f"beat-{name}"]["status"] for name in beats}
    assert states == {
        "well": "up",
        "nightly": "up",
        "failed": "down",
        "running": "started",
        "new": "new",
    }
    assert page["heartbeats"][0]["name"] == "beat-failed"
    assert rows["beat-failed"]["problem"] == "failed"
    assert rows["beat-failed"]["last_exit_code"] == 3
    assert "Europe/Paris" in rows["beat-nightly"]["schedule"]
    assert page["summary"]["down"] == 1


def test_no_ping_address_is_told(reader: Reader, beats: dict[str, dict[str, object]]) -> None:
    told = reader.ask("list_heartbeats", limit=100).text
    assert "beat-well" in told
    for heartbeat in beats.values():
        assert str(heartbeat["uuid"]) not in told


def test_a_heartbeat_is_paused_and_resumed(reader: Reader, system: System, rest: Rest) -> None:
    heartbeat = create(rest, "beat-backup-check")
    monitor = {"monitor_type": "heartbeat", "monitor_id": heartbeat["id"]}
    try:
        ping(system, heartbeat)
        paused = reader.call("pause_monitor", **monitor)
        assert "beat-backup-check" in paused["message"] and "paused" in paused["message"]
        # A ping is kept and does not un-pause.
        ping(system, heartbeat)
        now = rest.get(f"/heartbeats/{heartbeat['id']}")["heartbeat"]
        assert now["status"] == "paused"
        assert "next_deadline_at" not in now
        reader.call("pause_monitor", **monitor)
        resumed = reader.call("resume_monitor", **monitor)
        assert "resumed" in resumed["message"]
        assert rest.get(f"/heartbeats/{heartbeat['id']}")["heartbeat"]["status"] == "up"
        assert "not paused" in reader.refusal("resume_monitor", **monitor)
    finally:
        rest.http.delete(f"/heartbeats/{heartbeat['id']}")


def test_what_cannot_be_paused_is_refused_with_what_can(reader: Reader) -> None:
    text = reader.refusal("pause_monitor", monitor_type="endpoint", monitor_id=1)
    assert "heartbeat" in text, text
    text = reader.refusal("pause_monitor", monitor_type="heartbeat", monitor_id=999_999_999)
    assert "list_heartbeats" in text, text


def test_a_read_only_gateway_offers_no_writing(system: System, place: Workshop) -> None:
    settings = {"MAINTENANT_URL": system.collector.url, "MAINTENANT_MCP_READ_ONLY": "true"}
    reader = Reader("read-only", Target.stdio("maintenant-gateway", settings), LEGACY)
    try:
        tools = reader.tools()
        assert "list_heartbeats" in tools
        assert not {"pause_monitor", "resume_monitor"} & set(tools)
    finally:
        reader.close()
