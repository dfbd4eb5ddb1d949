"""Takes what the documentation shows from a running system:

    .venv/bin/python tests/documents/take.py

A shop runs on a Docker engine of its own, one of its containers is given too little memory, and
an MCP client asks every tool. Written are `docs/answers/*.json` (a call of each tool),
`docs/diagnosis.md` and `docs/status-page.png`. Needs what the end-to-end tests need, and root;
`cargo build --workspace` comes before it.
"""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "e2e"))

from support.browser import Browser  # noqa: E402
from support.certificates import SERVER, Authority  # noqa: E402
from support.docker import FOREVER, Docker  # noqa: E402
from support.engine import Engine  # noqa: E402
from support.mcp_clients import MODERN, Reader, Target  # noqa: E402
from support.pings import Heartbeat  # noqa: E402
from support.programs import Program, workshop  # noqa: E402
from support.registry import Registry, registry  # noqa: E402
from support.rest import Rest  # noqa: E402
from support.wait import wait_until  # noqa: E402

DOCS = REPOSITORY / "docs"
ORGANISATION = "Example Works"
# The first time it serves for a while; later it begins with what kills it.
API = """
echo "shop-api 1.4.2 starts"
if test -e /tmp/ran; then sleep 1; else
  touch /tmp/ran; echo ok >/tmp/index.html
  busybox httpd -p 8080 -h /tmp; echo "listening on :8080"; sleep 20
fi
echo "importing orders-2026.csv: 1812004 rows, all at once"
exec busybox tail /dev/zero
"""
WEB = "echo ok >/tmp/index.html; echo 'listening on :8000'; exec busybox httpd -f -p 8000 -h /tmp"


def main() -> None:
    if len(sys.argv) > 1:
        inside(Path(sys.argv[1]))
        return
    engine = Engine()
    try:
        engine.start()
        # In the network of the engine, so that its containers are reached.
        command = [*engine.inside, sys.executable, __file__, str(engine.socket)]
        subprocess.run(command, check=True)
    finally:
        engine.close()


def inside(socket: Path) -> None:
    with ExitStack() as stack:
        docker = Docker(socket, network="host")
        stack.callback(docker.close)
        store = stack.enter_context(registry(docker))
        place = stack.enter_context(workshop())
        certificate = stack.enter_context(tls_server(place.folder))
        store.push("shop/web", "2.0.1", "2.0.1")
        store.push("shop/web", "2.1.0", "2.1.0")
        collector = place.collector(
            docker.host,
            MAINTENANT_EDITION="extended",
            MAINTENANT_ORGANISATION_NAME=ORGANISATION,
            MAINTENANT_UPDATE_INTERVAL="24h",
            DOCKER_CONFIG="/nonexistent",
        )
        rest = collector.rest()
        stack.callback(rest.close)
        shop(docker, store)
        rest.until("shop-api-1", state="running")
        wait_until(lambda: endpoints(rest)["Orders"]["status"] == "up", "the shop is open")
        backup = Heartbeat.create(rest, name="nightly-backup", schedule="30 2 * * *")
        backup.ping()
        status_page(rest, place.database)
        scan(rest)
        wait_until(lambda: trouble(rest), "the shop is in trouble", within=180)

        settings = {"MAINTENANT_URL": collector.url}
        reader = Reader("assistant", Target.stdio("maintenant-gateway", settings), MODERN)
        stack.callback(reader.close)
        diagnosis(reader)
        Heartbeat.create(rest, name="weekly-report").ping("3")
        made = rest.http.post("/certificates", json=certificate)
        assert made.status_code == 201, made.text
        answers(reader, rest, collector)


def shop(docker: Docker, store: Registry) -> None:
    """A Compose project of four containers."""

    def run(service: str, command: list[str], image: str | None = None, **options: Any) -> None:
        labels = {f"com.docker.compose.{key}": to for key, to in (
            ("project", "shop"), ("service", service), ("container-number", "1"),
            ("project.working_dir", "/srv/shop"),
            ("project.config_files", "/srv/shop/docker-compose.yml"),
        )}
        labels |= options.pop("labels", {})
        own, docker.image = docker.image, image or docker.image
        try:
            docker.run(f"shop-{service}-1", command, labels=labels, **options)
        finally:
            docker.image = own

    endpoint = "maintenant.endpoint"
    run("db", FOREVER, healthcheck=["true"], network="none")
    run(
        "web", ["sh", "-c", WEB], f"{store.host}/shop/web:2.0.1",
        labels={f"{endpoint}.http": "http://127.0.0.1:8000/", f"{endpoint}.name": "Web shop",
                f"{endpoint}.interval": "5s"},
    )
    run(
        "api", ["sh", "-c", API], memory=24 << 20, restart="unless-stopped",
        labels={f"{endpoint}.http": "http://127.0.0.1:8080/", f"{endpoint}.name": "Orders",
                f"{endpoint}.interval": "5s", f"{endpoint}.failure-threshold": "2"},
    )
    run("mail", ["sh", "-c", "echo 'queue is empty'; sleep 86400"], network="none")


@contextmanager
def tls_server(folder: Path) -> Iterator[dict[str, Any]]:
    """A server with a certificate of a private authority, and what to watch of it."""
    files = Authority(folder, "Example Works CA").issue(SERVER, "mail.example.org")
    port = "8443"
    command = ["openssl", "s_server", "-accept", port, "-www", "-quiet"]
    command += ["-cert", str(files / "cert.pem"), "-key", str(files / "key.pem")]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield {"hostname": "127.0.0.1", "port": int(port)}
    finally:
        server.terminate()
        server.wait(timeout=10)


def endpoints(rest: Rest) -> dict[str, dict[str, Any]]:
    found = {one["name"]: one for one in rest.get("/endpoints")["endpoints"]}
    assert found.keys() >= {"Orders", "Web shop"}, found
    return found


def scan(rest: Rest) -> None:
    begun = rest.http.post("/updates/scan")
    assert begun.status_code in (202, 409), begun.text
    wait_until(lambda: rest.get("/updates")["updates"], "an update is found", within=60)


def trouble(rest: Rest) -> bool:
    alerts = rest.get("/alerts/active")
    text = json.dumps(alerts)
    assert "oom_killed" in text and "consecutive_failure" in text, text
    return rest.expect("shop-api-1")["restart_count"] >= 4


# --- the status page ----------------------------------------------------------------------------


def status_page(rest: Rest, database: Path) -> None:
    """Three components. A new system knows no past; theirs is written for the picture."""
    past: dict[str, dict[int, tuple[int, int, int]]] = {
        "Web shop": {17: (45, 0, 0), 40: (0, 12, 0)},
        "Orders": {3: (0, 0, 95), 62: (130, 0, 0)},
        "Backups": {30: (0, 0, 2)},
    }
    for order, (name, days) in enumerate(past.items(), 1):
        if name == "Backups":
            monitor = {"type": "heartbeat", "id": rest.get("/heartbeats")["heartbeats"][0]["id"]}
        else:
            monitor = {"type": "endpoint", "id": endpoints(rest)[name]["id"]}
        component = {"display_name": name, "monitors": [monitor], "display_order": order}
        made = rest.http.post("/status/components", json=component)
        assert made.status_code == 201, made.text
        today = int(time.time() // 86_400)
        rows = []
        for ago in range(1, 90):
            bad = days.get(ago, (0, 0, 0))
            minutes = [60_000 * one for one in (1440 - sum(bad), *bad)]
            rows.append((made.json()["id"], today - ago, *minutes, 0))
        with sqlite3.connect(database, timeout=10) as db:
            db.executemany("INSERT OR REPLACE INTO status_days VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def picture(collector: Program) -> None:
    to = DOCS / "status-page.png"
    Browser().picture(f"{collector.url}/status/", to, (900, 1120))
    size = to.stat().st_size
    print(f"{to.relative_to(REPOSITORY)}: {size // 1000} kB")
    assert size <= 150_000, "the picture is too large"


# --- the tools ----------------------------------------------------------------------------------


def answers(reader: Reader, rest: Rest, collector: Program) -> None:
    """A call of each tool, in an order that shows something."""
    alert = reader.call("list_alerts", entity="shop-api-1")["alerts"][0]["id"]
    endpoint = endpoints(rest)["Orders"]["id"]
    beats = {one["name"]: one["id"] for one in rest.get("/heartbeats")["heartbeats"]}
    report = {"monitor_type": "heartbeat", "monitor_id": beats["weekly-report"]}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list_alerts", {}),
        ("acknowledge_alert", {"alert_id": alert}),
        ("list_containers", {}),
        ("get_container", {"container_id": "shop-api-1", "transitions": 2}),
        ("get_container_logs", {"container_id": "shop-api-1", "lines": 4, "timestamps": True}),
        ("list_endpoints", {}),
        ("get_endpoint_history", {"endpoint_id": endpoint, "since": "1h", "limit": 2}),
        ("list_certificates", {"expires_within_days": 30}),
        ("list_heartbeats", {}),
        ("get_resources", {}),
        ("get_top_consumers", {"metric": "memory", "limit": 3}),
        ("get_updates", {"container": "shop-web-1"}),
        ("pause_monitor", report),
        ("resume_monitor", report),
        ("create_incident", {
            "title": "Orders are not taken", "status": "investigating", "severity": "major",
            "message": "We are looking into it.", "components": ["Orders"]}),
    ]
    for tool, arguments in calls:
        write(tool, arguments, reader.call(tool, **arguments))
    picture(collector)
    incident = rest.get("/status/incidents")["incidents"]
    ours = next(one["id"] for one in incident if one["title"] == "Orders are not taken")
    more = {"incident_id": ours, "status": "identified", "message": "The import gets more memory."}
    write("update_incident", more, reader.call("update_incident", **more))
    window = {
        "title": "Database upgrade", "start_time": "2090-01-01T02:00:00Z",
        "end_time": "2090-01-01T03:00:00Z", "components": ["Orders"], "dry_run": True}
    write("create_maintenance", window, reader.call("create_maintenance", **window))
    write("get_health", {}, reader.call("get_health"))


def write(tool: str, arguments: dict[str, Any], answer: dict[str, Any]) -> None:
    shown = {"arguments": arguments, "answer": short(answer)}
    text = json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
    folder = DOCS / "answers"
    folder.mkdir(exist_ok=True)
    (folder / f"{tool}.json").write_text(text)


def short(value: Any) -> Any:
    """Of lists two entries, four where they are lines; of texts 200 characters."""
    if isinstance(value, dict):
        return {key: short(one) for key, one in value.items()}
    if isinstance(value, list):
        most = 4 if all(isinstance(one, str) for one in value) else 2
        return [short(one) for one in value[:most]]
    if isinstance(value, str) and len(value) > 200:
        return value[:199] + "…"
    return value


# --- the diagnosis ------------------------------------------------------------------------------

BEGINNING = """\
# A diagnosis

Taken from a running system by `tests/documents/take.py`: a shop of four containers, of which one was given too
little memory. The calls and their answers are real, in full where they are short; of lists, two entries are
shown, of lines four. What the assistant says is written by hand, from these answers and nothing else.

> **You:** Customers say that they cannot order. What is wrong?
"""

STEPS: list[tuple[str, str, dict[str, Any]]] = [
    ("What is wrong, and what does it affect?", "list_alerts", {"severity": "critical"}),
    ("Why did it end?", "get_container", {"container_id": "shop-api-1", "transitions": 2}),
    ("What did it do before?", "get_container_logs",
     {"container_id": "shop-api-1", "lines": 4, "timestamps": True}),
    ("Since when is nobody served?", "get_endpoint_history",
     {"endpoint_id": 0, "since": "1h", "limit": 1, "failures_only": True}),
    ("Is the machine itself short of memory?", "get_resources", {}),
]

END = """
> **Assistant:** Nobody can order because `shop-api-1` is killed for want of memory (exit code 137), starts again, and is
> killed again. Each time its log ends with `importing orders-2026.csv: 1812004 rows, all at once`, a second after the
> start. Since then its endpoint *Orders* refuses connections; before, it answered within {slowest} ms. The machine itself uses
> {used:.0f} % of its memory, so it is the container's own limit that is reached. Raise that limit, or let the import read the
> file in parts. Shall I acknowledge the alert, or announce it on the status page?
"""


def diagnosis(reader: Reader) -> None:
    text = BEGINNING
    told: dict[str, dict[str, Any]] = {}
    for question, tool, arguments in STEPS:
        if "endpoint_id" in arguments:
            found = reader.call("list_endpoints", status="down")["endpoints"]
            arguments = {**arguments, "endpoint_id": found[0]["id"]}
        told[tool] = reader.call(tool, **arguments)
        said = json.dumps(short(told[tool]), indent=2, ensure_ascii=False)
        asked = json.dumps(arguments)
        text += f"\n## {question}\n\n`{tool}` with `{asked}`\n\n```json\n{said}\n```\n"
    slowest = told["get_endpoint_history"]["statistics"]["max_ms"]
    text += END.format(slowest=slowest, used=told["get_resources"]["mem_percent"])
    (DOCS / "diagnosis.md").write_text(text)


if __name__ == "__main__":
    main()
