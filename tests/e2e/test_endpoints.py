"""Endpoints: declared by labels, by a file and over REST, and checked for real."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from support.clock import moment
from support.docker import Docker
from support.nginx import free_port
from support.programs import Program, Workshop, run_to_end
from support.rest import Rest
from support.wait import wait_until

EVENTS = "/containers/events"
LABEL = "maintenant.endpoint."


@contextmanager
def tcp_server(port: int, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """A server on loopback that does this with each connection."""
    listener = socket.create_server(("127.0.0.1", port), reuse_port=True)
    open_now: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_now.append(connection)
                with suppress(OSError):
                    answer(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
        for connection in open_now:
            connection.close()


def greet(connection: socket.socket) -> None:
    """Answers what it is sent with `+PONG`."""
    connection.settimeout(5)
    if connection.recv(64) == b"PING\r\n":
        connection.sendall(b"+PONG\r\n")
    connection.close()


def hang(connection: socket.socket) -> None:
    """Accepts and says nothing, as a published port of a dead container does."""


def httpd(docker: Docker, name: str, port: int, body: str) -> None:
    """A web server that answers on the host's network. It is not in the container that declares
    endpoints: that one is checked as soon as it has started, and until its end is known."""
    script = f"echo '{body}' > /tmp/index.html; exec busybox httpd -f -p 127.0.0.1:{port} -h /tmp"
    docker.shell(name, script, network="host")

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, f"{name} listens")


def declare(docker: Docker, name: str, labels: dict[str, str]) -> str:
    """A container that declares endpoints."""
    return docker.run(name, labels={f"{LABEL}{key}": value for key, value in labels.items()})


def listed(rest: Rest, **params: str) -> list[dict[str, Any]]:
    return rest.get("/endpoints", **params)["endpoints"]


def until(rest: Rest, wanted: dict[str, str], **facts: Any) -> dict[str, Any]:
    """Waits until the endpoint that is `wanted` has these facts."""

    def so() -> dict[str, Any]:
        found = [e for e in listed(rest) if wanted.items() <= e.items()]
        assert len(found) == 1, f"{wanted} is listed {len(found)} times"
        seen = {key: found[0].get(key) for key in facts}
        assert seen == facts, f"{seen}; {found[0].get('last_error')}"
        return found[0]

    return wait_until(so, f"{wanted} has {facts}")


def create(rest: Rest, **body: Any) -> dict[str, Any]:
    answer = rest.http.post("/endpoints", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["endpoint"]


def refusal(answer: httpx.Response, code: str) -> str:
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == code
    return answer.json()["error"]["message"]


def test_labels_declare_endpoints_and_every_option_is_applied(docker: Docker, rest: Rest) -> None:
    name, port = docker.name("shop-watched"), free_port()
    labels = {
        "interval": "5s",
        "failure-threshold": "1",
        "0.http": f"http://127.0.0.1:{port}/",
        "0.http.body-contains": "open for business",
        "0.http.expected-status": "200",
        "1.http": f"http://127.0.0.1:{port}/",
        "1.http.body-contains": "closed",
        "1.name": "is it closed",
        "2.http": f"http://127.0.0.1:{port}/missing",
        "2.http.expected-status": "404",
        "2.http.method": "head",
        "3.tcp": f"127.0.0.1:{port}",
        "4.http": f"http://127.0.0.1:{port}/missing",
    }
    httpd(docker, docker.name("shop-server"), port, "open for business")
    declare(docker, name, labels)
    label = lambda key: {"container_name": name, "label_key": f"{LABEL}{key}"}  # noqa: E731
    shop = until(rest, label("0.http"), status="up", last_http_status=200)
    assert shop["source"] == "label"
    assert shop["config"]["interval"] == shop["config"]["timeout"] == "5s"
    assert shop["last_phases"]["connect_ms"] >= 0
    closed = until(rest, label("1.http"), status="down", alert_state="alerting")
    assert (closed["name"], closed["last_cause"]) == ("is it closed", "condition")
    missing = until(rest, label("2.http"), status="up", last_http_status=404)
    assert missing["config"]["method"] == "HEAD"
    assert "last_http_status" not in until(rest, label("3.tcp"), status="up")
    unexpected = until(rest, label("4.http"), status="down")
    assert unexpected["last_cause"] == "status"

    row = rest.expect(name)["id"]
    of_it = rest.get(f"/containers/{row}/endpoints")
    assert of_it["total"] == 5
    checks = rest.get(f"/endpoints/{shop['id']}/checks")["checks"]
    assert checks[0]["success"] and checks[0]["response_time_ms"] >= 0
    detail = rest.get(f"/endpoints/{shop['id']}")
    assert detail["uptime"]["1h"] == 100
    assert rest.get("/dashboard/sparklines")[f"endpoint:{shop['id']}"]
    days = rest.get(f"/endpoints/{shop['id']}/uptime/daily", days=7)["days"]
    percents = [day["uptime_percent"] for day in days]
    # Yesterday may have been a moment ago.
    assert percents[0] == 100 and percents[2:] == [None] * 5, percents


def test_an_endpoint_is_down_because_its_container_stopped(docker: Docker, rest: Rest) -> None:
    name, port = docker.name("stopping"), free_port()
    labels = {"http": f"http://127.0.0.1:{port}/", "interval": "5s"}
    httpd(docker, docker.name("going-on"), port, "here")
    container = declare(docker, name, labels)
    wanted = {"container_name": name}
    endpoint = until(rest, wanted, status="up")
    with rest.stream(EVENTS) as stream:
        docker.stop(container)
        told = stream.expect(
            "endpoint.status_changed", endpoint_id=endpoint["id"], new_status="down"
        )
        assert told.data["previous_status"] == "up"
        assert told.data["error"] == f"its container `{name}` is stopped"
        stopped = until(rest, wanted, status="down", last_cause="container_stopped")
        before = rest.get(f"/endpoints/{endpoint['id']}/checks")["total"]
        detail = rest.get(f"/endpoints/{endpoint['id']}")
        assert detail["uptime"]["1h"] < 100, "the outage counts"
        docker.start(container)
        until(rest, wanted, status="up")
    assert stopped["id"] == endpoint["id"]
    checks = rest.get(f"/endpoints/{endpoint['id']}/checks")
    assert checks["total"] > before
    docker.remove(container)
    wait_until(
        lambda: not [e for e in listed(rest) if e["id"] == endpoint["id"]], "it is gone from lists"
    )
    assert not rest.get(f"/endpoints/{endpoint['id']}")["endpoint"]["active"]


def test_a_label_that_cannot_be_read_is_named_everywhere(docker: Docker, rest: Rest) -> None:
    name = docker.name("mistaken")
    labels = {
        f"{LABEL}0.http": "http://127.0.0.1:1/",
        f"{LABEL}0.interval": "often",
        f"{LABEL}1.tcp": "127.0.0.1:1",
    }
    with rest.stream(EVENTS) as stream:
        docker.run(name, labels=labels)
        told = stream.expect("endpoint.config_error", container_name=name)
    assert told.data["label_key"] == f"{LABEL}0.interval"
    assert "30s" in told.data["error"], "it says what is accepted"
    row = rest.until(name)["id"]
    (problem,) = [p for p in rest.get("/problems")["problems"] if p["container_id"] == row]
    assert problem["label_key"] == f"{LABEL}0.interval"
    assert rest.detail(row)["config_problems"] == [problem]
    endpoint = until(rest, {"container_name": name})
    assert endpoint["label_key"] == f"{LABEL}1.tcp", "only the right one is declared"


def test_a_tcp_server_is_asked_and_its_answer_expected(rest: Rest) -> None:
    port = free_port()
    asked = create(
        rest,
        name=f"ping {port}",
        target=f"127.0.0.1:{port}",
        endpoint_type="tcp",
        interval="5s",
        timeout="4s",
        failure_threshold=2,
        recovery_threshold=1,
        send="PING\r\n",
        expect="+PONG",
    )
    wanted = {"name": f"ping {port}"}
    path = f"/endpoints/{asked['id']}"
    with rest.stream(EVENTS) as stream:
        with tcp_server(port, greet):
            until(rest, wanted, status="up")
        until(rest, wanted, status="down", last_cause="connect")
        told = stream.expect("endpoint.alert", endpoint_id=asked["id"])
        assert (told.data["consecutive_failures"], told.data["threshold"]) == (2, 2)
        with tcp_server(port, hang):
            down = until(rest, wanted, status="down", last_cause="condition")
        with tcp_server(port, greet):
            stream.expect("endpoint.recovery", endpoint_id=asked["id"])
            up = until(rest, wanted, status="up", alert_state="normal")
            told = rest.get(f"{path}/statistics", since="1h")
    assert up["status_since"] > down["status_since"]
    assert {cause["cause"] for cause in told["causes"]} == {"connect", "condition"}
    (outage,) = told["outages"]
    assert outage["from"] == down["status_since"] and outage["to"] == up["status_since"]
    assert 0 < told["uptime_percent"] < 100
    assert rest.http.delete(path).status_code == 204
    assert rest.http.get(path).json()["error"]["code"] == "ENDPOINT_NOT_FOUND"


def alone(place: Workshop, **settings: str) -> Program:
    """A collector that watches no engine."""
    return place.collector("", MAINTENANT_RUNTIME="none", **settings)


def test_standalone_endpoints_are_checked_after_a_kill(place: Workshop) -> None:
    port = free_port()
    with tcp_server(port, hang):
        collector = alone(place)
        rest = collector.rest()
        target = f"127.0.0.1:{port}"
        made = create(rest, name="db", target=target, endpoint_type="tcp", interval="5s")
        path = f"/endpoints/{made['id']}"
        until(rest, {"name": "db"}, status="up")
        before = rest.get(f"{path}/checks")["checks"]
        collector.kill()
        rest = alone(place).rest()
        after = wait_until(
            lambda: [c for c in rest.get(f"{path}/checks")["checks"] if c not in before],
            "it is checked again",
        )
        assert all(check["success"] for check in after)
        checks = rest.get(f"{path}/checks")["checks"]
        assert [c for c in checks if c in before] == before, "no check was lost"
        (endpoint,) = listed(rest)
        assert (endpoint["id"], endpoint["config"]["interval"]) == (made["id"], "5s")
        assert rest.get("/probes")["scheduled"] == 1


def test_time_in_which_the_collector_stood_still_is_unknown_and_no_outage(
    place: Workshop,
) -> None:
    port = free_port()
    with tcp_server(port, hang):
        collector = alone(place)
        rest = collector.rest()
        target = f"127.0.0.1:{port}"
        made = create(rest, name="db", target=target, endpoint_type="tcp", interval="5s")
        path = f"/endpoints/{made['id']}"
        until(rest, {"name": "db"}, status="up")
        stopped = datetime.now(UTC)
        collector.process.send_signal(signal.SIGSTOP)
        time.sleep(12)  # the outage itself
        collector.process.send_signal(signal.SIGCONT)
        resumed = datetime.now(UTC)

        def checked_since() -> bool:
            endpoint = rest.get(path)["endpoint"]
            last = datetime.fromisoformat(endpoint["last_check_at"])
            return endpoint["status"] == "up" and last > resumed

        wait_until(checked_since, "it is checked again")
        told = rest.get(f"{path}/statistics", since=stopped.isoformat())
    assert told["failures"] == 0
    assert told["uptime_percent"] == 100
    # Of the time since it stopped, 12 seconds were slept through.
    passed = moment(told["until"]) - moment(told["since"])
    assert passed * (told["coverage_percent"] / 100) <= passed - timedelta(seconds=11), told


def test_the_file_declares_endpoints_and_their_defaults(place: Workshop) -> None:
    port = free_port()
    file = place.folder / "endpoints.toml"
    file.write_text(
        f"""
        [defaults]
        interval = "5s"
        [[endpoint]]
        name = "cache"
        type = "tcp"
        target = "127.0.0.1:{port}"
        """
    )
    with tcp_server(port, hang):
        rest = alone(place, MAINTENANT_CONFIG=str(file)).rest()
        cache = until(rest, {"name": "cache"}, status="up", source="file")
    assert cache["config"]["interval"] == "5s"
    made = create(rest, name="other", target="127.0.0.1:1", endpoint_type="tcp")
    assert made["config"]["interval"] == "5s", "the defaults are for all"
    for answer in (
        rest.http.delete(f"/endpoints/{cache['id']}"),
        rest.http.put(f"/endpoints/{cache['id']}", json={"name": "x"}),
    ):
        assert "MAINTENANT_CONFIG" in refusal(answer, "NOT_STANDALONE")


def test_a_faulty_file_is_refused_with_every_fault(place: Workshop) -> None:
    file = place.folder / "endpoints.toml"
    file.write_text(
        """
        [[endpoint]]
        name = "a"
        type = "tcp"
        target = "nowhere"
        [[endpoint]]
        name = "b"
        type = "http"
        target = "http://b"
        intervall = "5s"
        """
    )
    settings = {"MAINTENANT_CONFIG": str(file), "MAINTENANT_DB": str(place.database)}
    ended = run_to_end("maintenant-collector", cwd=place.folder, **settings)
    assert ended.code == 64, ended
    assert "endpoint 1 (`a`): target: `nowhere`" in ended.stderr
    assert "endpoint 2 (`b`): `intervall`" in ended.stderr
    settings["MAINTENANT_CONFIG"] = str(place.folder / "missing.toml")
    ended = run_to_end("maintenant-collector", cwd=place.folder, **settings)
    assert ended.code == 64 and "missing.toml" in ended.stderr, ended


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "name"),
        ({"target": "/relative"}, "https://example.org"),
        ({"target": "http://a:99999"}, "target"),
        ({"endpoint_type": "tcp", "target": "db:0"}, "1 to 65535"),
        ({"interval": "1s"}, "interval"),
        ({"timeout": "31s"}, "timeout"),
        ({"failure_threshold": 0}, "between 1 and 100"),
        ({"expected_status": "600"}, "200,301-303,4xx"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_checked_is_refused(rest: Rest, change: dict[str, Any], says: str) -> None:
    body = {"name": "a", "target": "http://a", "endpoint_type": "http", **change}
    answer = rest.http.post("/endpoints", json=body)
    assert says in refusal(answer, "INVALID_INPUT")
