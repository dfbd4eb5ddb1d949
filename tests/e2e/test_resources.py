"""What containers and the host use, measured on the real engine."""

import os
from typing import Any

import pytest
from support.docker import Docker
from support.mcp_clients import Answer, Reader
from support.rest import Rest
from support.wait import wait_until

# It holds more memory than the many others that idle on this engine.
BUSY = "head -c 32000000 /dev/zero >/dev/shm/held; while :; do :; done"


def current(rest: Rest, row: int) -> dict[str, Any] | None:
    answer = rest.http.get(f"/containers/{row}/resources/current")
    return answer.json() if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def busy(docker: Docker, rest: Rest) -> tuple[str, int]:
    """A loop that may use a fifth of a core."""
    name = docker.name("busy")
    docker.shell(name, BUSY, cpus=0.2, memory=64 * 2**20)
    row = rest.until(name, state="running")["id"]
    wait_until(lambda: current(rest, row), "it is sampled")
    return name, row


def test_a_loop_at_a_fifth_of_a_core_reads_20_percent(rest: Rest, busy: tuple[str, int]) -> None:
    seen: list[float] = []

    def reads_so() -> bool:
        sample = current(rest, busy[1])
        assert sample is not None
        if not seen or sample["cpu_percent"] != seen[-1]:
            seen.append(sample["cpu_percent"])
        return 19 <= seen[-1] <= 21

    # A machine that is too busy does not give it all that it may use.
    wait_until(reads_so, "it reads 19 to 21 %", within=150, every=1, context=lambda: seen)
    assert max(seen) < 22, seen


def test_its_limits_and_throttling_are_told(rest: Rest, busy: tuple[str, int]) -> None:
    def held_back() -> dict[str, Any]:
        sample = current(rest, busy[1])
        assert sample is not None
        assert sample["cpu_throttled_percent"] > 50, sample
        return sample

    sample = wait_until(held_back, "it is held back")
    assert sample["cpu_limit_cores"] == pytest.approx(0.2)
    assert sample["mem_limit"] == 64 * 2**20
    assert 0 < sample["mem_used"] < sample["mem_limit"]
    assert sample["mem_percent"] == pytest.approx(sample["mem_used"] / 2**26 * 100, rel=0.01)


def test_the_host_is_the_machine(rest: Rest, busy: tuple[str, int]) -> None:
    summary = wait_until(
        lambda: (s := rest.get("/resources/summary")) and s.get("host") and s,
        "the host is sampled",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    root = os.statvfs("/")
    assert summary["cpu_count"] == os.cpu_count()
    assert summary["total_mem_limit"] == pytest.approx(memory, rel=0.01)
    assert 0 < summary["total_cpu_percent"] <= 100
    assert summary["disk_total"] == pytest.approx(root.f_blocks * root.f_frsize, rel=0.01)
    mounts = [filesystem["mount"] for filesystem in summary["host"]["filesystems"]]
    assert "/" in mounts and len(mounts) == len(set(mounts)), mounts


def test_history_is_open_in_the_community_edition(rest: Rest, busy: tuple[str, int]) -> None:
    path = f"/containers/{busy[1]}/resources/history"
    # The last sample is told before it is stored.
    wait_until(lambda: rest.get(path, range="1h")["points"], "a sample is stored")
    history = rest.get(path, range="1h")
    assert (history["granularity"], len(history["points"]) > 0) == ("raw", True)
    times = [point["timestamp"] for point in history["points"]]
    assert times == sorted(times)
    refused = rest.http.get(path, params={"range": "2h"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "INVALID_RANGE")


@pytest.mark.parametrize("period", ["current", "1h", "24h", "7d", "30d"])
def test_the_top_consumers_of_every_period_are_told(
    reader: Reader, busy: tuple[str, int], period: str
) -> None:
    def told(metric: str) -> dict[str, Any]:
        top = reader.call("get_top_consumers", metric=metric, period=period, limit=20)
        ranked = {row["container_name"]: row for row in top["consumers"]}
        assert busy[0] in ranked, top
        return ranked[busy[0]]

    def so() -> bool:
        assert 0.1 < told("cpu")["absolute"] < 0.25, told("cpu")
        return bool(told("memory"))

    wait_until(so, "it is among those that use most")


def test_what_is_no_metric_or_period_is_refused_with_what_is(
    reader: Reader, rest: Rest
) -> None:
    assert "memory" in reader.refusal("get_top_consumers", metric="disk")
    assert "30d" in reader.refusal("get_top_consumers", metric="cpu", period="2h")
    for query, field in ((("metric", "disk"), "metric"), (("period", "2h"), "period")):
        params = {"metric": "cpu", **dict([query])}
        answer = rest.http.get("/resources/top", params=params)
        assert answer.status_code == 400 and field in answer.text, answer.text


def test_the_host_is_told_in_one_call(reader: Reader, busy: tuple[str, int]) -> None:
    def so() -> Answer:
        told = reader.ask("get_resources")
        assert not told.is_error, told.text
        assert busy[0] in told.text
        return told

    told = wait_until(so, "it is told of")
    assert len(told.text.encode()) < 4000, len(told.text)


def test_a_threshold_opens_one_alert_and_closes_it(
    docker: Docker, rest: Rest, busy: tuple[str, int]
) -> None:
    path = f"/containers/{busy[1]}/resources/alerts"
    for bad in ({"cpu_threshold": 0.5}, {"cpu_threshold": 1001}, {"mem_threshold": 101}):
        answer = rest.http.put(path, json={"enabled": True, **bad})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_THRESHOLD")
        assert next(iter(bad)) in answer.text
    # As low as may be: also on a busy machine it is always beyond.
    body = {"cpu_threshold": 1, "mem_threshold": 90, "enabled": True}
    assert rest.http.put(path, json=body).status_code == 200

    def alerts() -> list[dict[str, Any]]:
        query = {"source": "resource", "entity_type": "container", "entity_id": busy[1]}
        found = rest.get("/alerts", **query)["alerts"]
        return [a for a in found if a["alert_type"] == "cpu_threshold" and a["severity"] != "info"]

    wait_until(lambda: [a["status"] for a in alerts()] == ["active"], "it alerts")
    assert rest.get(path)["alert_state"] == "cpu_alert"
    assert rest.http.put(path, json={**body, "cpu_threshold": 90}).status_code == 200
    wait_until(lambda: [a["status"] for a in alerts()] == ["resolved"], "it ends")
    assert rest.get(path)["alert_state"] == "normal"
    unknown = rest.http.put("/containers/999999999/resources/alerts", json=body)
    assert unknown.status_code == 404
