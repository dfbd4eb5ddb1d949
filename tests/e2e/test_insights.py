"""What is dangerous about real containers is found, told, alerted, and gone when they are mended."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.alerts import Alerts
from support.docker import Docker
from support.mcp_clients import Reader
from support.programs import Workshop
from support.rest import Rest
from support.sse import EventStream
from support.wait import wait_until

SOCKET = "/var/run/docker.sock"
CONFINED: dict[str, Any] = {"Memory": 64 * 2**20, "NanoCpus": 500_000_000}


def bound(port: str, address: str, host_port: str = "") -> dict[str, Any]:
    return {"PortBindings": {port: [{"HostIp": address, "HostPort": host_port}]}}


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "confined": ({}, []),
    "privileged": ({"Privileged": True}, ["critical privileged_container"]),
    "host-net": ({"NetworkMode": "host"}, ["high host_network_mode"]),
    "socket": ({"Binds": [f"{SOCKET}:{SOCKET}:ro"]}, ["critical docker_socket_mounted"]),
    "socket-mount": (
        {"Mounts": [{"Type": "bind", "Source": SOCKET, "Target": "/tmp/d.sock"}]},
        ["critical docker_socket_mounted"],
    ),
    "cap-sys-admin": ({"CapAdd": ["SYS_ADMIN"]}, ["high capability_added"]),
    "cap-given-back": ({"CapDrop": ["ALL"], "CapAdd": ["NET_BIND_SERVICE"]}, []),
    "web-open": (bound("80/tcp", "0.0.0.0"), ["medium port_exposed_all_interfaces"]),
    "web-anywhere": (bound("80/tcp", ""), ["medium port_exposed_all_interfaces"]),
    "web-local": (bound("80/tcp", "127.0.0.1"), []),
    "database-open": (bound("5432/tcp", "0.0.0.0"), ["critical database_port_exposed"]),
    "database-local": (bound("5432/tcp", "127.0.0.1"), []),
    "root": ({"User": ""}, ["medium root_user"]),
    "unlimited": ({"Memory": 0, "NanoCpus": 0}, ["medium no_memory_limit", "medium no_cpu_limit"]),
}


def run(docker: Docker, name: str, labels: dict[str, str] | None = None, **host: Any) -> str:
    """A container that is confined but for `host`, in the Engine API's words."""
    user = host.pop("User", "1000:1000")
    return docker.run(name, labels=labels, user=user, host_config={**CONFINED, **host})


@pytest.fixture(scope="module")
def cases(docker: Docker, rest: Rest) -> dict[str, int]:
    """The row of each case, by its name."""
    for word, (host, _) in CASES.items():
        run(docker, docker.name(word), **host)
    rows = {word: rest.until(docker.name(word), state="running")["id"] for word in CASES}
    for row in rows.values():
        until_scanned(rest, row)
    return rows


def of(rest: Rest, row: int) -> dict[str, Any]:
    return rest.get(f"/security/insights/{row}")


def until_scanned(rest: Rest, row: int) -> None:
    wait_until(lambda: of(rest, row)["scanned"], f"container {row} is scanned")


def kinds(insights: dict[str, Any]) -> list[str]:
    return [f"{insight['severity']} {insight['type']}" for insight in insights["insights"]]


@pytest.mark.parametrize("word", CASES)
def test_a_real_container_has_the_insights_of_its_configuration(
    docker: Docker, rest: Rest, cases: dict[str, int], word: str
) -> None:
    expected = CASES[word][1]
    found = of(rest, cases[word])
    assert kinds(found) == expected
    worst = expected[0].split()[0] if expected else None
    assert (found["count"], found["highest_severity"]) == (len(expected), worst)
    for insight in found["insights"]:
        assert insight["remedy"].endswith("."), insight
        assert insight["container_name"] == docker.name(word)
    listed = rest.expect(docker.name(word))
    assert listed["security_insight_count"] == len(expected)
    assert listed["security_highest_severity"] == worst


def test_the_list_has_the_affected_worst_first_and_the_summary_adds_up(
    rest: Rest, cases: dict[str, int]
) -> None:
    answer = rest.get("/security/insights")
    summary = answer["summary"]
    rows = [container["container_id"] for container in answer["containers"]]
    for word, (_, expected) in CASES.items():
        assert (cases[word] in rows) is bool(expected), word
    rank = ["critical", "high", "medium"]
    ranks = [rank.index(container["highest_severity"]) for container in answer["containers"]]
    assert ranks == sorted(ranks)
    total = sum(container["count"] for container in answer["containers"])
    assert total == summary["total_insights"] == sum(summary["by_type"].values())
    assert sum(summary["by_severity"].values()) == total
    assert summary["total_containers_affected"] == len(rows)
    assert summary["total_containers_monitored"] >= len(CASES)


def test_a_reader_is_told_what_is_dangerous_and_what_to_do(
    reader: Reader, docker: Docker, cases: dict[str, int]
) -> None:
    name = docker.name("database-open")
    answer = reader.call("get_container", container_id=name)
    assert answer["security_insight_count"] == 1
    insight = answer["security_insights"][0]
    assert insight["severity"] == "critical"
    assert insight["title"] == "Database port 5432/tcp on all interfaces"
    assert "127.0.0.1" in insight["remedy"]
    confined = reader.call("get_container", container_id=docker.name("confined"))
    assert confined["security_insight_count"] == 0
    assert "security_insights" not in confined


def test_ids_have_their_codes(rest: Rest) -> None:
    for path, status, code in [("seven", 400, "INVALID_ID"), ("0", 404, "CONTAINER_NOT_FOUND")]:
        answer = rest.http.get(f"/security/insights/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.fixture
def stream(rest: Rest) -> Iterator[EventStream]:
    with rest.stream("/containers/events") as opened:
        yield opened


def test_a_change_is_seen_with_its_event_and_a_removal_takes_them_along(
    docker: Docker, rest: Rest, stream: EventStream
) -> None:
    name = docker.name("mended")
    container = run(docker, name, Memory=0)
    row = rest.until(name)["id"]
    changed = stream.expect("security.insights_changed", container_id=row, change="new").data
    assert (changed["container_name"], changed["highest_severity"]) == (name, "medium")
    assert changed["count"] == 1
    docker.update(container, Memory=2**26, MemorySwap=2**27)
    stream.expect("security.insights_resolved", container_id=row, container_name=name)
    assert of(rest, row)["count"] == 0

    docker.remove(container)
    run(docker, name, Privileged=True, Memory=0)
    again = stream.expect(
        "security.insights_changed", container_id=row, highest_severity="critical"
    )
    assert again.data["count"] == 2
    docker.remove(name)
    rest.until_gone(name)
    assert of(rest, row)["count"] == 0
    affected = [c["container_id"] for c in rest.get("/security/insights")["containers"]]
    assert row not in affected


def test_an_ignored_container_has_none(docker: Docker, rest: Rest) -> None:
    name, next_one = docker.name("not-minded"), docker.name("minded")
    run(docker, name, {"maintenant.ignore": "true"}, Privileged=True)
    run(docker, next_one, Privileged=True)
    # Events are in order: the ignored one has been seen by now.
    until_scanned(rest, rest.until(next_one)["id"])
    listed = [c["container_name"] for c in rest.get("/security/insights")["containers"]]
    assert next_one in listed
    assert name not in listed


def test_what_is_dangerous_is_alerted_once_across_restarts_and_ends_when_it_is_removed(
    docker: Docker, place: Workshop
) -> None:
    name = docker.name("alerted")
    run(docker, name, {"maintenant.alert.severity": "info"}, Binds=[f"{SOCKET}:{SOCKET}"])
    harmless = docker.name("medium-only")
    run(docker, harmless, Memory=0)
    collector = place.collector(docker.host)
    rest = collector.rest()
    row = rest.until(name)["id"]
    facts = {"alert_type": "dangerous_configuration", "source": "security", "severity": "info"}
    alert = Alerts(rest).until_only("container", row, status="active", **facts)
    assert alert["message"] == f"Container `{name}` has an engine's socket mounted"
    details = json.loads(alert["details"])
    assert details["insight_count"] == "1"
    assert details["insights"][0]["type"] == "docker_socket_mounted"
    assert Alerts(rest).of("container", rest.until(harmless)["id"]) == []
    before = of(rest, row)
    collector.stop()

    rest = place.collector(docker.host).rest()
    with rest.stream("/containers/events", headers={"Last-Event-ID": "0-0"}) as stream:
        rest.until_connected(True)
        again = Alerts(rest).until_only("container", row, status="active", **facts)
        assert again["id"] == alert["id"]
        assert of(rest, row) == before, "insights keep their times"
        docker.remove(name)
        # Told after all that the start had to tell.
        stream.expect("security.insights_resolved", container_id=row)
        told = [e for e in stream.events if e.event == "security.insights_changed"]
        assert row not in [e.data["container_id"] for e in told]
    Alerts(rest).until_only("container", row, status="resolved")
