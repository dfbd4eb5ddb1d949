"""Checks of a real nginx, and what an assistant reads of them."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.certificates import SERVER, Authority
from support.mcp_clients import Reader
from support.nginx import Nginx, free_port
from support.places import short_folder
from support.rest import Rest
from support.wait import wait_until

SECRET = "s3cr3t-of-a-header"


@dataclass
class Story:
    """An endpoint, and what a check of it must find."""

    target: str
    kind: str = "http"
    status: str = "up"
    cause: str | None = None
    says: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def stories(nginx: Nginx, tls_port: int, banner: int, itself: str) -> dict[str, Story]:
    url = nginx.url
    metadata = "http://169.254.169.254/latest/meta-data/"
    closed = free_port()
    return {
        "well": Story(url("/status/200")),
        "no-content": Story(url("/status/204")),
        "unavailable": Story(url("/status/503"), status="down", cause="status", says="503"),
        "teapot": Story(url("/status/418"), options={"expected_status": "200,418"}),
        "redirected": Story(url("/redirect/3")),
        "too-often": Story(
            url("/redirect/3"), status="down", cause="redirect", options={"max_redirects": 2}
        ),
        "not-followed": Story(
            url("/redirect/3"), options={"max_redirects": 0, "expected_status": "302"}
        ),
        "metadata": Story(metadata, status="down", cause="refused", says="169.254.169.254"),
        "to-metadata": Story(
            url(f"/to/302?url={metadata}"),
            status="down",
            cause="refused",
            says="169.254.169.254",
        ),
        "itself": Story(f"{itself}/health", status="down", cause="refused", says="the collector"),
        "to-itself": Story(
            url(f"/to/307?url={itself}/endpoints/1"),
            status="down",
            cause="refused",
            says="the collector",
            options={"method": "DELETE"},
        ),
        "silent": Story(
            url("/silent"), status="down", cause="first_byte", options={"timeout": "1s"}
        ),
        "slow": Story(url("/slow"), status="down", cause="body", options={"timeout": "3s"}),
        "closed": Story(f"http://127.0.0.1:{closed}/", status="down", cause="connect"),
        "unknown-name": Story("http://does-not-exist.invalid/", status="down", cause="dns"),
        "words": Story(
            url("/text"),
            options={
                "body_contains": "fine",
                "body_matches": "^status: (fine|good)",
                "header_contains": {"x-version": "beta"},
            },
        ),
        "other-words": Story(
            url("/text"),
            status="down",
            cause="condition",
            says="x-version",
            options={"header_matches": {"x-version": "^v3"}},
        ),
        "with-headers": Story(
            url("/echo"),
            options={
                "headers": {"Host": "shop.example", "X-Token": SECRET},
                "body_matches": f"host: shop.example\n(.*\n)*x-token: {SECRET}",
            },
        ),
        "signed-elsewhere": Story(
            f"https://127.0.0.1:{tls_port}/status/200", status="down", cause="tls"
        ),
        "unverified": Story(
            f"https://127.0.0.1:{tls_port}/status/200", options={"tls_verify": False}
        ),
        "posted": Story(
            url("/echo"), options={"method": "POST", "body_contains": "method: POST"}
        ),
        "port": Story(f"127.0.0.1:{nginx.port}", kind="tcp"),
        "greeting": Story(f"127.0.0.1:{banner}", kind="tcp", options={"expect": "220 ready"}),
        "other-greeting": Story(
            f"127.0.0.1:{banner}",
            kind="tcp",
            status="down",
            cause="condition",
            options={"expect": "+OK", "timeout": "1s"},
        ),
        "closed-port": Story(f"[::1]:{closed}", kind="tcp", status="down", cause="connect"),
    }


@pytest.fixture(scope="module")
def banner() -> Iterator[int]:
    """A TCP server that greets and waits; each connection is closed by the other side."""
    import threading

    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.sendall(b"220 ready when you are\r\n")
            threading.Thread(target=_until_closed, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def _until_closed(connection: socket.socket) -> None:
    with connection:
        try:
            while connection.recv(100):
                pass
        except OSError:
            pass


@pytest.fixture(scope="module")
def nginx() -> Iterator[tuple[Nginx, int]]:
    folder = short_folder("pki")
    issued: Path = Authority(folder, "elsewhere").issue(SERVER, "server")
    server = Nginx()
    tls_port = server.tls(issued / "cert.pem", issued / "key.pem")
    server.start()
    try:
        yield server, tls_port
    finally:
        server.close()


@pytest.fixture(scope="module")
def declared(
    nginx: tuple[Nginx, int], banner: int, rest: Rest
) -> Iterator[dict[str, tuple[int, Story]]]:
    """Every story as an endpoint that has been checked."""
    server, tls_port = nginx
    made: dict[str, tuple[int, Story]] = {}
    itself = str(rest.http.base_url).rstrip("/")
    for name, story in stories(server, tls_port, banner, itself).items():
        body = {"name": f"check-{name}", "target": story.target, "endpoint_type": story.kind}
        answer = rest.http.post("/endpoints", json={**body, "interval": "5s", "timeout": "4s", **story.options})
        assert answer.status_code == 201, f"{name}: {answer.text}"
        made[name] = (answer.json()["endpoint"]["id"], story)

    def all_checked() -> bool:
        endpoints = {e["id"]: e for e in rest.get("/endpoints", source="standalone")["endpoints"]}
        unchecked = [name for name, (id, _) in made.items() if "last_check_at" not in endpoints[id]]
        assert unchecked == []
        return True

    wait_until(all_checked, "every endpoint was checked")
    try:
        yield made
    finally:
        for id, _ in made.values():
            rest.http.delete(f"/endpoints/{id}")


def endpoints(reader: Reader, **filters: Any) -> dict[str, dict[str, Any]]:
    """All rows of `list_endpoints`, by name."""
    found: dict[str, dict[str, Any]] = {}
    cursor: dict[str, str] = {}
    for _ in range(50):
        page = reader.call("list_endpoints", limit=100, **filters, **cursor)
        found |= {row["name"]: row for row in page["endpoints"]}
        if not page.get("next_cursor"):
            return found
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError("the list has no end")


def test_each_check_finds_what_is_so_and_names_the_cause(
    reader: Reader, declared: dict[str, tuple[int, Story]]
) -> None:
    expected = {name: (story.status, story.cause) for name, (_, story) in declared.items()}

    def so() -> dict[str, dict[str, Any]]:
        rows = endpoints(reader, name="check-")
        found = {name: rows.get(f"check-{name}", {}) for name in declared}
        seen = {name: (row.get("status"), row.get("cause")) for name, row in found.items()}
        assert seen == expected
        return rows

    # A machine that was too busy for one check makes the next one well.
    rows = wait_until(so, "each check finds what is so")
    for name, (id, story) in declared.items():
        row = rows[f"check-{name}"]
        assert row["id"] == id
        assert story.says in row.get("error", ""), row
        assert ("error" in row) == (story.status == "down"), row
        assert row["since"], row


def test_those_that_are_down_come_first_and_are_counted(
    reader: Reader, declared: dict[str, tuple[int, Story]]
) -> None:
    page = reader.call("list_endpoints", name="check-", limit=100)
    order = [row["status"] for row in page["endpoints"]]
    assert order == sorted(order, key=["down", "unknown", "up"].index)
    down = sum(story.status == "down" for _, story in declared.values())
    assert page["summary"]["down"] == down
    assert set(endpoints(reader, name="check-", status="down")) == {
        f"check-{name}" for name, (_, story) in declared.items() if story.status == "down"
    }


def test_history_counts_first_and_groups_failures_by_cause(
    reader: Reader, declared: dict[str, tuple[int, Story]]
) -> None:
    id, _ = declared["unavailable"]
    history = reader.call("get_endpoint_history", endpoint_id=id, limit=2)
    numbers = history["statistics"]
    assert numbers["failures"] == numbers["checks"] >= 1
    assert [cause["cause"] for cause in numbers["causes"]] == ["status"]
    assert numbers["causes"][0]["count"] == numbers["failures"]
    assert len(numbers["outages"]) == 1 and "to" not in numbers["outages"][0]
    assert 1 <= len(history["checks"]) <= 2
    assert history["checks"][0]["http_status"] == 503


def test_phases_that_were_reached_are_timed(
    reader: Reader, declared: dict[str, tuple[int, Story]]
) -> None:
    def phases(name: str) -> set[str]:
        history = reader.call("get_endpoint_history", endpoint_id=declared[name][0], limit=1)
        return set(history["checks"][0]["phases_ms"])

    assert {"connect", "tls", "first_byte"} <= phases("unverified")
    assert "tls" not in phases("well")
    assert "first_byte" not in phases("closed")


def test_no_header_of_a_check_is_told(
    reader: Reader, declared: dict[str, tuple[int, Story]]
) -> None:
    id, _ = declared["with-headers"]
    told = reader.ask("list_endpoints", name="check-with-headers").text
    told += reader.ask("get_endpoint_history", endpoint_id=id).text
    assert "check-with-headers" in told
    assert SECRET not in told and "shop.example" not in told


def test_an_unknown_endpoint_is_refused_with_where_to_look(reader: Reader) -> None:
    text = reader.refusal("get_endpoint_history", endpoint_id=999_999_999)
    assert "list_endpoints" in text, text


def test_an_answer_fits_a_readers_attention(
    reader: Reader, declared: dict[str, tuple[int, Story]]
) -> None:
    assert len(reader.ask("list_endpoints").text) <= 5_000
    id, _ = declared["well"]
    assert len(reader.ask("get_endpoint_history", endpoint_id=id).text) <= 5_000
