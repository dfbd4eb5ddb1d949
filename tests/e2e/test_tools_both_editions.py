"""All tools against a collector of each edition: what the extended edition opens is done in the one
and refused in the other without a trace, and the rest is the same in both."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import System
from support import pki
from support.alerts import Alerts
from support.docker import Docker
from support.mcp_clients import LEGACY, MODERN, Reader
from support.nginx import Nginx
from support.pings import Heartbeat
from support.programs import Workshop, workshop
from support.registry import Registry, only_scan, registry
from support.rest import Rest
from support.wait import wait_until

ERAS = {"legacy": LEGACY, "modern": MODERN}
SENTENCE = "This feature requires an extended edition of maintenant"
OPENED = ["acknowledge_alert", "create_incident", "create_maintenance", "update_incident"]
WINDOW = {"start_time": "2098-01-01T00:00:00Z", "end_time": "2098-01-01T02:00:00Z"}


class World:
    """What both editions watch: a container, one with a newer image, and a server with and without
    TLS."""

    def __init__(self, docker: Docker, store: Registry, nginx: Nginx, place: Workshop) -> None:
        self.docker = docker
        root = pki.authority("Editions Root")
        chain, key = pki.write(place.folder, "server", pki.server(root))
        self.tls = nginx.tls(chain, key)
        nginx.start()
        self.nginx = nginx
        self.web = docker.name("web")
        docker.shell(self.web, "echo ready; sleep 86400")
        image = store.push("app", "1.0.0", "1")
        store.push("app", "1.0.1", "2")
        self.outdated = docker.name("outdated")
        own, docker.image = docker.image, image
        docker.run(self.outdated)
        docker.image = own


class Watched:
    """One edition that watches it all."""

    def __init__(self, world: World, system: System, edition: str) -> None:
        self.world, self.system, self.edition = world, system, edition
        rest = self.rest = system.rest
        self.web = rest.until(world.web, state="running")["id"]
        shop = {"name": "shop", "endpoint_type": "http", "target": world.nginx.url()}
        self.endpoint = self.make("/endpoints", **shop)["endpoint"]
        certificate = self.make("/certificates", hostname="127.0.0.1", port=world.tls)
        self.certificate = certificate["certificate"]
        self.heartbeat = Heartbeat.create(rest, "backup")
        self.heartbeat.ping()
        monitors = [{"type": "heartbeat", "id": self.heartbeat.id}]
        self.component = self.make("/status/components", display_name="Backups", monitors=monitors)
        self.alerts: dict[str, int] = {}
        self.failed = {era: world.docker.name(f"{edition}-{era}") for era in ERAS}
        for era, name in self.failed.items():
            # What had ended before anybody looked is no news.
            world.docker.shell(name, "sleep 0.2; exit 4")
            row = rest.until(name, state="exited")["id"]
            alert = Alerts(rest).until_only("container", row, status="active")
            self.alerts[era] = alert["id"]
        rest.until(world.outdated, state="running")
        with only_scan():
            assert rest.http.post("/updates/scan").status_code == 202
            # Other tests' registries are asked too, and some do not answer.
            wait_until(lambda: rest.get("/updates")["updates"], "a newer image is found", within=120)
        usage = f"/containers/{self.web}/resources/current"
        wait_until(lambda: rest.http.get(usage).status_code == 200, "it is measured")
        wait_until(lambda: rest.get("/resources/summary").get("host"), "the host is")

    def make(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.rest.http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def stored(self) -> dict[str, Any]:
        """All that the four tools could change."""
        return {
            "alerts": [self.rest.get(f"/alerts/{alert}") for alert in self.alerts.values()],
            "incidents": self.rest.get("/status/incidents"),
            "maintenance": self.rest.get("/status/maintenance"),
        }


@pytest.fixture(scope="module")
def world(docker: Docker) -> Iterator[World]:
    nginx = Nginx()
    try:
        with registry(docker) as store, workshop() as place:
            yield World(docker, store, nginx, place)
    finally:
        nginx.close()


@pytest.fixture(scope="module", params=["community", "extended"])
def watched(request: pytest.FixtureRequest, world: World) -> Iterator[Watched]:
    settings = {"MAINTENANT_EDITION": request.param, "MAINTENANT_CONTAINER_DOWN_AFTER": "1s"}
    with workshop() as place:
        system = System(place, world.docker.host, **settings, DOCKER_CONFIG="/nonexistent")
        try:
            yield Watched(world, system, request.param)
        finally:
            system.close()


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def caller(watched: Watched, era: str) -> Reader:
    return watched.system.reader("http", ERAS[era])


def test_what_is_open_in_both_editions_works_in_both(
    watched: Watched, caller: Reader, era: str
) -> None:
    world, rest = watched.world, watched.rest
    failed, web = watched.failed[era], world.web
    endpoint, beat = watched.endpoint["id"], watched.heartbeat.id
    monitor = {"monitor_type": "heartbeat", "monitor_id": beat}

    def names(of: str, key: str = "name") -> Callable[[dict[str, Any]], Any]:
        return lambda answer: [row[key] for row in answer[of]]

    def paused(answer: dict[str, Any]) -> str:
        assert answer["status"] == "paused"
        return str(watched.heartbeat.read()["status"])

    def resumed(answer: dict[str, Any]) -> str:
        return str(watched.heartbeat.read()["status"] != "paused")

    # Of each tool: arguments, what is looked at, and what must be there.
    wait_until(lambda: rest.get(f"/endpoints/{endpoint}/checks")["checks"], "it was checked")
    calls: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Any], str]] = {
        "get_container": ({"container_id": web}, lambda a: a["container"]["name"], web),
        "get_container_logs": ({"container_id": web}, lambda a: str(a["lines"]), "ready"),
        "get_endpoint_history": ({"endpoint_id": endpoint}, str, "http"),
        "get_health": ({}, str, "ok"),
        "get_resources": ({}, str, "cpu_percent"),
        "get_top_consumers": ({"metric": "cpu"}, str, "'rank': 1"),
        "get_updates": ({"container": world.outdated}, str, "1.0.1"),
        "list_alerts": ({"entity": failed}, names("alerts", "entity_name"), failed),
        "list_certificates": ({}, str, str(world.tls)),
        "list_containers": ({"name": web}, names("containers"), web),
        "list_endpoints": ({"name": "shop"}, names("endpoints"), "shop"),
        "list_heartbeats": ({}, names("heartbeats"), "backup"),
        "pause_monitor": (monitor, paused, "paused"),
        "resume_monitor": (monitor, resumed, "True"),
    }
    assert sorted([*calls, *OPENED]) == caller.tools()
    for tool, (arguments, look, there) in calls.items():
        answer = caller.call(tool, **arguments)
        assert there in look(answer), f"{tool}: {answer}"


def test_what_the_extended_edition_opens_is_done_there_and_refused_elsewhere(
    watched: Watched, caller: Reader, era: str
) -> None:
    components = ["backups", watched.component["id"]]
    alert = watched.alerts[era]
    incident = {"status": "identified", "message": "We know why.", "components": components}
    window = {**WINDOW, "message": "New disks.", "components": components}
    if watched.edition == "community":
        before = watched.stored()
        refusals = [caller.refusal("acknowledge_alert", alert_id=alert)]
        for dry_run in (False, True):
            refusals += [
                caller.refusal("create_incident", title=era, **incident, dry_run=dry_run),
                caller.refusal("create_maintenance", title=era, **window, dry_run=dry_run),
                caller.refusal(
                    "update_incident",
                    incident_id=1,
                    status="resolved",
                    message="Over.",
                    dry_run=dry_run,
                ),
            ]
        for refusal in refusals:
            assert refusal.startswith(SENTENCE), refusal
            assert "MAINTENANT_EDITION=extended" in refusal, refusal
        assert watched.stored() == before
        return

    caller.call("acknowledge_alert", alert_id=alert)
    stored = watched.rest.get(f"/alerts/{alert}")
    assert stored["acknowledged_at"] and stored["acknowledged_by"].startswith("mcp"), stored

    made = caller.call("create_incident", title=f"Incident {era}", severity="major", **incident)
    row = found(watched.rest, made["incident"]["id"])
    assert (row["title"], row["severity"], row["status"]) == (
        f"Incident {era}",
        "major",
        "identified",
    )
    assert [one["id"] for one in row["components"]] == [watched.component["id"]]
    assert row["updates"][0]["message"] == "We know why."
    assert made["link"] == row["url"]

    caller.call("update_incident", incident_id=row["id"], status="resolved", message="Over.")
    row = found(watched.rest, row["id"])
    assert row["status"] == "resolved" and row["resolved_at"], row
    assert row["updates"][0]["message"] == "Over."

    planned = caller.call("create_maintenance", title=f"Maintenance {era}", **window)
    windows = watched.rest.get("/status/maintenance")
    (row,) = [one for one in windows if one["id"] == planned["maintenance"]["id"]]
    assert (row["title"], row["description"]) == (f"Maintenance {era}", "New disks.")
    assert (row["starts_at"], row["ends_at"]) == (WINDOW["start_time"], WINDOW["end_time"])
    assert [one["id"] for one in row["components"]] == [watched.component["id"]]


def found(rest: Rest, incident: int) -> dict[str, Any]:
    incidents = rest.get("/status/incidents", limit=100)["incidents"]
    (row,) = [one for one in incidents if one["id"] == incident]
    return dict(row)
