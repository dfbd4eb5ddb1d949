"""The installation that the repository's Compose files make, on a real engine and without a registry.

The images are built by the repository's own Dockerfile; in the places of its two base images stand
one that holds the programs of this build, and one that holds nothing but their libraries.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import images, pki
from support.alerts import Alerts
from support.compose import Installation, free_subnet
from support.docker import Docker
from support.load import Load
from support.mcp_clients import LEGACY, MODERN, Reader, Target
from support.rest import Rest
from support.tools import health, until_running
from support.wait import wait_until

# The engine builds images and makes networks meanwhile.
pytestmark = pytest.mark.timeout(600)

ALONE = "docker-compose.yml"
SCALED = "docker-compose.scaled.yml"
MCP_TOKEN = "a-token-of-thirty-two-characters-and-more"
NON_ROOT = "65532:65532"


@pytest.fixture(scope="module")
def bases(docker: Docker) -> Iterator[dict[str, str]]:
    """Settings that name the base images."""
    programs = images.programs(docker, docker.session)
    yield {
        "BUILD_IMAGE": programs,
        "RUNTIME_IMAGE": images.runtime(docker),
        "NGINX_IMAGE": images.nginx(docker),
    }
    docker.call("DELETE", f"/images/{programs}", params={"force": "true"})


class Alone:
    """The installation as it comes."""

    def __init__(self, docker: Docker, bases: dict[str, str]) -> None:
        self.here = Installation(docker, [ALONE], MAINTENANT_CONTAINER_DOWN_AFTER="0s", **bases)
        self._readers: list[Reader] = []

    def rest(self) -> Rest:
        return Rest(f"http://{self.here.address('collector', 8081)}", self.here.secret())

    def reader(self) -> Reader:
        self._readers.append(self.here.reader(f"http://{self.here.address('gateway', 8080)}"))
        return self._readers[-1]

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self.here.down()


@pytest.fixture(scope="module")
def alone(docker: Docker, bases: dict[str, str]) -> Iterator[Alone]:
    system = Alone(docker, bases)
    try:
        system.here.up()
        yield system
    finally:
        system.close()


# --- as it comes ------------------------------------------------------------------------------


def test_everything_runs_with_as_few_rights_as_can_be(alone: Alone) -> None:
    for service in ("collector", "gateway", "socket-proxy"):
        container = alone.here.container(service)
        config, host = container["Config"], container["HostConfig"]
        assert host["ReadonlyRootfs"] is True, service
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        sources = {mount["Source"] for mount in container["Mounts"]}
        has_socket = any("docker.sock" in source for source in sources)
        # The socket is root's, and the one that holds it does nothing else.
        assert has_socket == (service == "socket-proxy"), sources
        assert config["User"] == ("0:0" if has_socket else NON_ROOT), service
    published = [
        binding["HostIp"]
        for container in alone.here.containers()
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    ]
    assert published == ["127.0.0.1", "127.0.0.1"]


def test_who_holds_the_socket_has_no_way_out(alone: Alone, docker: Docker) -> None:
    proxy = alone.here.container("socket-proxy")
    networks = list(proxy["NetworkSettings"]["Networks"])
    assert networks == [alone.here.network("engine")]
    engine = docker.call("GET", f"/networks/{networks[0]}").json()
    assert engine["Internal"] is True
    within = {one["Name"] for one in engine["Containers"].values()}
    assert within == {f"{alone.here.project}_{name}_1" for name in ("collector", "socket-proxy")}


def test_processes_of_this_machine_reach_the_proxy_and_are_refused(alone: Alone) -> None:
    networks = alone.here.container("socket-proxy")["NetworkSettings"]["Networks"]
    address = networks[alone.here.network("engine")]["IPAddress"]
    for path in ("/containers/json", "/_ping"):
        answer = httpx.get(f"http://{address}:2375{path}")
        assert answer.status_code == 403, answer.text
        assert answer.json()["message"] == "maintenant's socket proxy is for collector only"


def test_images_say_what_they_are(alone: Alone, docker: Docker) -> None:
    for service in ("collector", "gateway"):
        name = alone.here.container(service)["Config"]["Image"]
        config = docker.call("GET", f"/images/{name}/json").json()["Config"]
        assert config["User"] == NON_ROOT
        assert config["Healthcheck"]["Test"][-1] == "healthcheck"
        prefix = "org.opencontainers.image."
        labels = {key.removeprefix(prefix): value for key, value in config["Labels"].items()}
        assert labels["title"] == f"maintenant-{service}"
        assert labels["licenses"] == "MIT OR Apache-2.0"
        assert labels["version"] == "dev"


def test_the_token_is_made_and_asked_for(alone: Alone) -> None:
    assert alone.here.container("token")["State"]["ExitCode"] == 0
    assert re.fullmatch("[0-9a-f]{64}", alone.here.secret())
    url = f"http://{alone.here.address('collector', 8081)}"
    assert httpx.get(f"{url}/api/v1/containers").status_code == 401
    assert httpx.get(f"{url}/status/").status_code == 200


def test_containers_and_the_host_are_seen(alone: Alone, docker: Docker) -> None:
    reader, name = alone.reader(), docker.name("composed")
    docker.run(name)
    alone.rest().until(name, state="running")
    # What the gateway knows is up to two seconds old.
    until_running(reader, name)
    wait_until(lambda: health(reader)["connected"], "Docker is heard")
    # Its rights suffice for the control groups of others and for the host's network.
    measured = wait_until(
        lambda: (alone.rest().get("/resources/summary").get("host") or {}).get("filesystems"),
        "disks",
    )
    assert "/" in [each["mount"] for each in measured]
    path = f"/containers/{alone.rest().expect(name)['id']}/resources/current"
    sample = wait_until(lambda: _found(alone.rest(), path), "a sample of it")
    assert sample["mem_used"] > 0


def test_a_label_declares_an_endpoint_that_is_probed_by_name(alone: Alone, docker: Docker) -> None:
    name = docker.name("composed-shop")
    docker.shell(
        name,
        "echo open > /tmp/index.html; exec busybox httpd -f -p 8000 -h /tmp",
        network=alone.here.network("watched"),
        # It may be probed before it listens, or before its name is known.
        labels={
            "maintenant.endpoint.http": f"http://{name}:8000/",
            "maintenant.endpoint.interval": "5s",
        },
    )

    def up() -> bool:
        endpoints = alone.rest().get("/endpoints")["endpoints"]
        seen = [one for one in endpoints if one["target"] == f"http://{name}:8000/"]
        assert [one["status"] for one in seen] == ["up"], seen
        return True

    wait_until(up, "the endpoint is up")


def test_another_container_pings_a_heartbeat(alone: Alone, docker: Docker) -> None:
    _ping(alone, docker, "backup")
    seen = _heartbeat(alone, "backup")
    assert seen["status"] == "up", seen


def test_a_crash_is_alerted(alone: Alone, docker: Docker) -> None:
    name = docker.name("composed-crashed")
    docker.shell(name, "sleep 1; exit 3")
    reader = alone.reader()

    def told() -> dict[str, Any]:
        alerts = reader.call("list_alerts", entity=name)["alerts"]
        mine = [alert for alert in alerts if alert["entity_name"] == name]
        assert mine, [alert["entity_name"] for alert in alerts]
        return mine[0]

    alert = wait_until(told, "the crash is an alert")
    assert alert["type"] == "container_down", alert


def test_an_upgrade_in_place_keeps_everything(alone: Alone, docker: Docker) -> None:
    """Runs after those above, on what they left behind."""
    _ping(alone, docker, "nightly")
    rest, secret = alone.rest(), alone.here.secret()
    before, alerts = _heartbeat(alone, "nightly"), Alerts(rest).all()
    rows = _rows(rest, docker)
    old = {one["Name"]: one["Id"] for one in alone.here.containers()}

    alone.here.up(MAINTENANT_VERSION="2")

    new = {one["Name"]: one["Id"] for one in alone.here.containers()}
    assert old.keys() == new.keys()
    assert all(old[name] != new[name] for name in new), "each container is a new one"
    label = alone.here.container("collector")["Config"]["Labels"]
    assert label["org.opencontainers.image.version"] == "2"
    assert alone.here.secret() == secret
    rest = alone.rest()
    assert _heartbeat(alone, "nightly")["uuid"] == before["uuid"]
    assert _heartbeat(alone, "nightly")["last_ping_at"] == before["last_ping_at"]
    known = {alert["id"] for alert in Alerts(rest).all()}
    assert {alert["id"] for alert in alerts} <= known

    def kept() -> bool:
        after = _rows(rest, docker)
        assert {name: after.get(name) for name in rows} == rows
        return True

    # While Compose replaced a container it had another name.
    wait_until(kept, "every container goes on in its row")
    assert alone.reader().call("list_heartbeats")["heartbeats"]


# --- without the proxy in between -----------------------------------------------------------------


def test_a_collector_that_holds_the_socket_needs_its_group_alone(
    docker: Docker, bases: dict[str, str]
) -> None:
    group = str(Path(docker.socket).stat().st_gid)
    here = Installation(docker, [ALONE, "deploy/compose/socket.yml"], DOCKER_GID=group, **bases)
    try:
        here.up("collector")
        assert not here.containers("socket-proxy")
        collector = here.container("collector")
        assert collector["Config"]["User"] == NON_ROOT
        assert collector["HostConfig"]["GroupAdd"] == [group]
        rest = Rest(f"http://{here.address('collector', 8081)}", here.secret())
        wait_until(lambda: rest.runtime()["connected"], "Docker is heard")
    finally:
        here.down()


# --- several gateways behind a proxy, over TLS ------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> pki.Signed:
    return pki.authority("Compose Test CA")


@pytest.fixture(scope="module")
def scaled(docker: Docker, bases: dict[str, str], authority: pki.Signed) -> Iterator[Installation]:
    here = Installation(
        docker,
        [ALONE, SCALED, "deploy/compose/laptops.yml"],
        MAINTENANT_DOMAIN="localhost",
        MAINTENANT_MCP_TOKEN=MCP_TOKEN,
        MAINTENANT_HTTP_PORT="127.0.0.1:0",
        MAINTENANT_HTTPS_PORT="127.0.0.1:0",
        MAINTENANT_EDGE_SUBNET=free_subnet(),
        **bases,
    )
    here.settings["MAINTENANT_CERTS"] = str(here.folder)
    own = pki.server(authority, name="localhost", sans=("localhost",))
    chain, key = pki.write(here.folder, "cert", own)
    key.rename(chain.with_name("key.pem"))
    (here.folder / "ca.pem").write_text(authority.pem)
    # Its files are read by others than their owner.
    here.folder.chmod(0o755)
    try:
        here.up()
        yield here
    finally:
        here.down()


@pytest.fixture
def url(scaled: Installation, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where clients reach the proxy; those of this test trust its authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(scaled.folder / "ca.pem"))
    port = scaled.address("proxy", 8443).rpartition(":")[2]
    url = f"https://localhost:{port}"
    wait_until(lambda: _answers(url), "the proxy answers", context=scaled.logs)
    Rest(url, scaled.secret()).until_connected(True)
    return url


def _gateways(scaled: Installation) -> list[dict[str, Any]]:
    return [*scaled.containers("gateway"), *scaled.containers("gateways")]


@pytest.mark.parametrize("era", [LEGACY, MODERN])
def test_three_gateways_answer_clients_behind_the_proxy(
    scaled: Installation, docker: Docker, url: str, era: str
) -> None:
    def calls() -> list[int]:
        return [
            sum("tool call" in line for line in docker.logged(one["Id"]))
            for one in _gateways(scaled)
        ]

    before = calls()
    assert len(before) == 3
    reader = Reader(era, Target.http(url, MCP_TOKEN), era)

    answers = []

    def all_answered() -> bool:
        answers.append(health(reader)["connected"])
        return all(after > was for after, was in zip(calls(), before, strict=True))

    # The proxy picks one of the addresses at random.
    try:
        wait_until(all_answered, "each gateway has answered", context=calls)
    finally:
        reader.close()
    assert all(connected is True for connected in answers), answers


def test_without_a_token_the_proxy_leads_nowhere(url: str) -> None:
    assert httpx.post(f"{url}/mcp", json={}).status_code == 401
    assert httpx.get(f"{url}/api/v1/containers").status_code == 401
    assert httpx.get(f"{url}/metrics").status_code == 404
    assert httpx.get(f"{url}/status/").status_code == 200


def test_a_gateway_that_is_stopped_costs_no_more_than_its_calls(
    scaled: Installation, docker: Docker, url: str
) -> None:
    clients = Load(url, 6, MCP_TOKEN)
    try:
        clients.until_answered(30)
        stopped = scaled.containers("gateways")[0]["Id"]
        docker.stop(stopped, grace=10)
        clients.until_answered(60)
        docker.start(stopped)
        clients.until_answered(30)
    finally:
        clients.end()
    # Each of the six can have had one call there.
    assert len(clients.failed) <= 6, clients.failed
    wait_until(scaled.is_healthy, "all three are healthy again", within=120)


def test_a_laptop_talks_to_the_collector_over_a_private_authority(
    scaled: Installation, docker: Docker, url: str
) -> None:
    name = docker.name("far")
    docker.run(name)
    settings = {
        "MAINTENANT_URL": url,
        "MAINTENANT_API_TOKEN": scaled.secret(),
        "MAINTENANT_CA_CERT": str(scaled.folder / "ca.pem"),
    }
    reader = Reader("laptop", Target.stdio("maintenant-gateway", settings), MODERN)
    try:
        until_running(reader, name)
    finally:
        reader.close()
    stranger = {**settings, "MAINTENANT_CA_CERT": str(_other_authority(scaled.folder))}
    reader = Reader("stranger", Target.stdio("maintenant-gateway", stranger), MODERN)
    try:
        assert "MAINTENANT_CA_CERT" in reader.refusal("list_containers")
    finally:
        reader.close()


# --- helpers --------------------------------------------------------------------------------------


def _found(rest: Rest, path: str) -> Any:
    answer = rest.http.get(path)
    return answer.json() if answer.status_code == 200 else None


def _rows(rest: Rest, docker: Docker) -> dict[str, int]:
    """The rows of this session's containers; those of others come and go."""
    containers = rest.containers(archived="true")
    return {one["name"]: one["id"] for one in containers if docker.session in one["name"]}


def _heartbeat(alone: Alone, name: str) -> dict[str, Any]:
    heartbeats = alone.rest().get("/heartbeats")["heartbeats"]
    found: dict[str, Any] = next(one for one in heartbeats if one["name"] == name)
    return found


def _ping(alone: Alone, docker: Docker, name: str) -> None:
    """Makes a heartbeat, and pings it from a container beside the collector."""
    body = {"name": name, "interval_seconds": 3600, "grace_seconds": 600}
    made = alone.rest().http.post("/heartbeats", json=body)
    assert made.status_code == 201, made.text
    address = f"http://collector:8081/ping/{_heartbeat(alone, name)['uuid']}"
    network = alone.here.network("watched")
    command = ["busybox", "wget", "-q", "-O", "-", address]
    pinging = docker.run(docker.name(f"ping-{name}"), command, network=network)
    assert docker.wait(pinging) == 0, docker.logged(pinging)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/status/").status_code == 200
    except httpx.HTTPError:
        return False


def _other_authority(folder: Path) -> Path:
    path = folder / "other.pem"
    path.write_text(pki.authority("Another CA").pem)
    return path
