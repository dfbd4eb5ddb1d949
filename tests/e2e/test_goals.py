"""Security goals that take the built programs: `docs/security-goals.md`.

The normal run tries them small. `tests/goals/run` tries them at the size they are stated for, where
figures are bounds too, and prints what it found.
"""

import asyncio
import ipaddress
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.docker import SESSION_LABEL, Docker
from support.goals import FULL, LIST, p99, said, times
from support.mcp_clients import MODERN, Reader, Target
from support.nginx import free_port
from support.pings import Heartbeat
from support.places import REPOSITORY
from support.programs import Program, Workshop
from support.rest import Rest
from support.wait import wait_until

# --- 8: slow clients ------------------------------------------------------------------------------

HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
JSON = b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
ASK = HEAD + JSON + b"Content-Length: %d\r\n\r\n" % len(LIST) + LIST
# First words, and what comes each second after them.
SLOW: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "head": (HEAD, b"X: y\r\n"),
    "body": (HEAD + JSON + b"Content-Length: 1000\r\n\r\n{", b" "),
    "http2": (b"PRI * HTTP/2.0\r\n\r\n", b"S"),
}
# As many as a gateway has places, and as many again.
SLOW_CLIENTS = 1000 if FULL else 40
# Small, it shows that they are cut at all: other tests may take this machine's time.
CUT = 15 if FULL else 60


def holds(port: int, client: int) -> bool:
    """Whether the gateway has this connection; one that the kernel dropped for want of room in its
    queue looks open to a client that says nothing, and costs the gateway nothing."""
    ends = f":{port:04X} 0100007F:{client:04X} 01"
    return any(ends in line for line in Path("/proc/net/tcp").read_text().splitlines())


async def drip(port: int, first: bytes, rest: bytes) -> float | None:
    """Seconds until the gateway ends a connection that goes on like this, if it ever had it."""
    begin = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def feed() -> None:
        with suppress(OSError):
            writer.write(first)
            while rest:
                await asyncio.sleep(1)
                writer.write(rest)

    feeding = asyncio.ensure_future(feed())
    try:
        async with asyncio.timeout(90):
            await reader.read()
    except TimeoutError:
        return 90 if holds(port, writer.get_extra_info("sockname")[1]) else None
    except OSError:
        pass
    finally:
        feeding.cancel()
        writer.close()
    return time.monotonic() - begin


def test_slow_clients_are_cut_and_others_are_served(place: Workshop) -> None:
    gateway = place.gateway("http://127.0.0.1:9")
    port = int(gateway.address.rpartition(":")[2])
    calls = 2000 if FULL else 50

    async def both() -> tuple[list[float], list[float], list[tuple[str, float | None]]]:
        quiet = await times(gateway.url, calls, 0)
        kinds = [list(SLOW)[at % len(SLOW)] for at in range(SLOW_CLIENTS)]
        slow = [asyncio.ensure_future(drip(port, *SLOW[kind])) for kind in kinds]
        # They are all connected before the first call.
        await asyncio.sleep(0.5)
        busy = await times(gateway.url, calls, 10 / calls)
        return quiet, busy, list(zip(kinds, await asyncio.gather(*slow), strict=True))

    quiet, busy, all_cut = asyncio.run(both())
    cut = [(kind, after) for kind, after in all_cut if after is not None]
    longest = {kind: round(max(s for k, s in cut if k == kind), 1) for kind in SLOW}
    waits = [round(1000 * value, 1) for value in (p99(quiet), p99(busy), max(busy))]
    said(
        f"{len(cut)} slow clients ({len(all_cut) - len(cut)} more never got in), cut after at most {longest} s; {calls} calls beside them all "
        f"answered: p99 {waits[0]} ms quiet, {waits[1]} ms beside them, the longest {waits[2]} ms"
    )
    assert max(longest.values()) <= CUT, longest
    assert not FULL or p99(busy) <= 2 * p99(quiet), waits


# --- 11: secrets ----------------------------------------------------------------------------------

PER_KIND = 60 if FULL else 6
SHAPES = [
    "DB_PASSWORD={}",
    "Authorization: Bearer {}",
    "connecting to postgres://app:{}@db:5432/shop",
    '{{"api_key":"{}","x":1}}',
    "mysql --password {} -h db",
    "token: {}, retrying",
]
WRITES = {"acknowledge_alert", "pause_monitor", "resume_monitor"}


class Canaries:
    """Words that stand nowhere else."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def of(self, kind: str, count: int = PER_KIND) -> list[str]:
        words = [f"c4nary{kind}{at:03}Zq7" for at in range(count)]
        self.made.update(dict.fromkeys(words, kind))
        return words

    def check(self, where: str, text: str, *but: str) -> None:
        """No canary stands in the text, but those of these kinds."""
        found = {word for word, kind in self.made.items() if kind not in but and word in text}
        assert not found, f"{where}: {sorted(found)[:5]}"


def planted(docker: Docker, canaries: Canaries, folder: Path) -> str:
    """A container with secrets in every place where people put them."""
    binds = []
    for word in canaries.of("bind", PER_KIND // 3):
        (folder / word).mkdir()
        binds.append(f"{folder / word}:/mnt/{word}:ro")
    urls = canaries.of("url", PER_KIND // 3)
    target = "http://app:{0}@127.0.0.1:9/x?key={0}#{0}"
    lines = [
        SHAPES[at % len(SHAPES)].format(word) for at, word in enumerate(canaries.of("log"))
    ]
    script = "".join(f"echo '{line}';" for line in lines) + "sleep 86400"
    labels = {f"org.example.secret{at}": word for at, word in enumerate(canaries.of("label"))}
    endpoints = {
        f"maintenant.endpoint.{at}.http": target.format(word) for at, word in enumerate(urls)
    }
    body = {
        "Image": docker.image,
        "Env": [f"SECRET_{at}={word}" for at, word in enumerate(canaries.of("env"))],
        "Cmd": ["sh", "-c", script, *(f"--password={word}" for word in canaries.of("cmd"))],
        "Labels": {SESSION_LABEL: docker.session, **labels, **endpoints},
        "HostConfig": {"Binds": binds},
    }
    name = docker.name("secrets")
    made = docker.call("POST", "/containers/create", params={"name": name}, json=body).json()["Id"]
    docker.start(made)
    return name


def paths(rest: Rest, container: int, heartbeats: list[int]) -> Iterator[str]:
    """Every GET of the document that is no stream, with ids that exist."""
    document = json.loads((REPOSITORY / "openapi" / "openapi.json").read_text())
    for path, methods in document["paths"].items():
        streams = ("/events", "/logs/stream", "{scan_id}", "{external_id}", "dry-run")
        if "get" not in methods or not path.startswith("/api/v1/") or path.endswith(streams):
            continue
        number = heartbeats[0] if "heartbeats" in path else container
        yield re.sub(r"\{\w+\}", str(number), path.removeprefix("/api/v1"))


def test_planted_secrets_are_told_nowhere(docker: Docker, place: Workshop) -> None:
    canaries = Canaries()
    (token,) = canaries.of("token-0123456789abcdef0123456789abcdef", 1)
    (mcp_token,) = canaries.of("mcp-token-0123456789abcdef0123456789abcdef", 1)
    collector = place.collector(
        docker.host, MAINTENANT_API_TOKEN=token, MAINTENANT_LOG_LEVEL="trace"
    )
    gateway = place.gateway(
        collector.url,
        MAINTENANT_API_TOKEN=token,
        MAINTENANT_MCP_TOKEN=mcp_token,
        MAINTENANT_LOG_LEVEL="trace",
    )
    name = planted(docker, canaries, place.folder)
    rest = collector.rest()
    row = rest.until(name, state="running")["id"]
    wait_until(lambda: len(docker.logged(name)) == PER_KIND, "each line is written")
    beats = [Heartbeat.create(rest, f"job {at}") for at in range(max(1, PER_KIND // 6))]
    for beat in beats:
        canaries.made[beat.uuid] = "ping"
        beat.ping()
    targets = PER_KIND // 3
    wait_until(
        lambda: len(rest.get(f"/containers/{row}/endpoints")["endpoints"]) == targets,
        "the endpoints are known",
    )

    reader = Reader("secrets", Target.http(gateway.url, mcp_token), MODERN)
    try:
        for tool in reader.tools():
            arguments = {"container_id": name} if tool.startswith("get_container") else {}
            if tool not in WRITES and not tool.startswith(("create_", "update_", "post_")):
                canaries.check(tool, reader.ask(tool, **arguments).text)
        told = reader.call("get_container_logs", container_id=name, lines=PER_KIND)
        assert len(told["lines"]) == PER_KIND, "each planted line was there, without its secret"
        endpoints = reader.ask("list_endpoints", limit=100).text
        assert "127.0.0.1:9" in endpoints, endpoints
    finally:
        reader.close()

    asked = 0
    for path in paths(rest, row, [beat.id for beat in beats]):
        answer = rest.http.get(path).text
        # The API of the host's owner shows logs as they are, and the addresses the owner set.
        canaries.check(path, answer, "log", "url", "ping")
        asked += 1
    for program in (gateway, collector):
        program.stop()
        canaries.check(f"the log of {program.name}", program.log)
    stored = b"".join(
        file.read_bytes() for file in sorted(place.folder.glob(f"{place.database.name}*"))
    ).decode("latin-1")
    # What is probed and who pings must be known again after a restart.
    canaries.check("the database", stored, "url", "ping", "log")
    said(f"{len(canaries.made)} canaries, {asked} REST paths, 2 logs at trace, 1 database: 0 found")


# --- 13: where probes do not go -------------------------------------------------------------------


def spelt(address: str) -> list[str]:
    """Ways to write an IPv4 address in a URL."""
    number = int(ipaddress.IPv4Address(address))
    a, b, c, d = (number >> shift & 255 for shift in (24, 16, 8, 0))
    high, low = number >> 16, number & 0xFFFF
    plain = [
        address,
        f"{number}",
        f"0x{number:x}",
        f"0x{number:08X}",
        f"0{number:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{b}.{c << 8 | d}",
        f"{a}.{b << 16 | c << 8 | d}",
        f"{a:#x}.{b}.0{c:o}.{d}",
    ]
    six = [
        f"::ffff:{address}",
        f"::ffff:{high:x}:{low:x}",
        f"0:0:0:0:0:ffff:{high:04x}:{low:04x}",
        f"::FFFF:{high:X}:{low:X}",
        f"::{address}",
        f"::ffff:0:{address}",
        f"64:ff9b::{high:x}:{low:x}",
        f"64:ff9b:1::{high:x}:{low:x}",
        f"2002:{high:x}:{low:x}::",
        f"2002:{high:x}:{low:x}::1",
    ]
    return plain + [f"[{address}]" for address in six]


DENIED = [
    "169.254.169.254",
    "0.0.0.0",
    "169.254.170.2",
    "0.0.0.7",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "169.254.0.1",
    "169.254.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "169.254.10.10",
    "0.1.2.3",
    "233.252.0.1",
]
ALSO = ["[::]", "[fe80::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "[ff02::1]", "[ff05::2]"]


@contextmanager
def canary() -> Iterator[tuple[int, list[Any]]]:
    """A listener on every address of this machine: its port, and who connected."""
    # Not a port that another test had, to which its collector may still go.
    address = ("::", free_port())
    listener = socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
    seen: list[Any] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, peer = listener.accept()
                seen.append(peer)
                connection.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def redirector() -> Iterator[str]:
    """Sends whoever asks for `/x` to `http://x`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://{self.path[1:]}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """The collector tells what it got."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_no_spelling_of_a_denied_address_is_connected_to(place: Workshop) -> None:
    spellings = [way for address in (DENIED if FULL else DENIED[:2]) for way in spelt(address)]
    spellings += ALSO
    with canary() as (port, seen), redirector() as elsewhere:
        targets = [("http", f"http://{way}:{port}/") for way in spellings]
        targets += [("tcp", f"{way}:{port}") for way in spellings]
        targets += [("http", f"{elsewhere}/{way}:{port}") for way in spellings]
        file = place.folder / "endpoints.toml"
        file.write_text(
            '[defaults]\ninterval = "1h"\nmax_redirects = 5\n'
            + "".join(
                f'[[endpoint]]\nname = "e{at}"\ntype = "{kind}"\ntarget = "{target}"\n'
                for at, (kind, target) in enumerate(targets)
            )
        )
        collector: Program = place.collector(
            "", MAINTENANT_RUNTIME="none", MAINTENANT_CONFIG=str(file)
        )
        rest = collector.rest()

        def checked() -> list[dict[str, Any]]:
            rows = rest.get("/endpoints")["endpoints"]
            waiting = [row["name"] for row in rows if row["status"] == "unknown"]
            assert len(rows) == len(targets) and not waiting, (len(rows), waiting[:5])
            return rows

        rows = wait_until(checked, "every endpoint was checked once", within=200)
        # A control: the canary hears who does reach it.
        assert not seen, f"{len(seen)} connections"
        socket.create_connection(("127.0.0.1", port)).close()
        wait_until(lambda: seen, "the canary hears")
    causes: dict[str, int] = {}
    for row in rows:
        assert row["status"] == "down", row
        causes[row["last_cause"]] = causes.get(row["last_cause"], 0) + 1
    said(
        f"{len(spellings)} spellings, as URL, as host and port, and behind a redirect: "
        f"{len(targets)} probes, 0 connections, causes {causes}"
    )
    refused = causes.get("refused", 0)
    assert refused >= len(targets) // 2, causes


# --- 16: what the programs are made of ------------------------------------------------------------


def test_there_is_one_cryptography() -> None:
    command = ["cargo", "tree", "--workspace", "--locked", "--offline", "--prefix", "none"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    crates = {line.split()[0] for line in done.stdout.splitlines() if line}
    assert "aws-lc-rs" in crates
    assert not crates & {"rsa", "ring", "openssl-sys", "native-tls"}
    # `rsa` is not even an option of anything (RUSTSEC-2023-0071).
    assert 'name = "rsa"' not in (REPOSITORY / "Cargo.lock").read_text()
