"""Newer images for what runs, told by a real registry: pulled, run, pushed, scanned."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import READERS, System
from support import pki
from support.docker import Docker
from support.mcp_clients import Reader
from support.places import short_folder
from support.programs import workshop
from support.registry import OCI, PASSWORD, USER, Registry, only_scan, registry
from support.rest import Rest
from support.wait import wait_until

OFF = {"MAINTENANT_UPDATE_INTERVAL": "off", "DOCKER_CONFIG": "/nonexistent"}


@pytest.fixture(scope="module")
def store(docker: Docker) -> Iterator[Registry]:
    with registry(docker) as here:
        yield here


@pytest.fixture(scope="module")
def watched(docker: Docker) -> Iterator[System]:
    with workshop() as place:
        system = System(place, docker.host, **OFF)
        try:
            yield system
        finally:
            system.close()


@pytest.fixture(scope="module")
def rest(watched: System) -> Rest:
    return watched.rest


def run(
    docker: Docker, image: str, name: str, host_config: dict[str, Any] | None = None, **labels: str
) -> str:
    """Runs an image of the registry under a name of this session; that name."""
    own, docker.image = docker.image, image
    named = {f"maintenant.update.{key.replace('tag_', 'tag-')}": to for key, to in labels.items()}
    try:
        name = docker.name(name)
        docker.run(name, labels={"kept": "yes", **named}, host_config=host_config)
        return name
    finally:
        docker.image = own


def scan(rest: Rest, *names: str) -> dict[str, Any]:
    """Scans until its end; these containers must be known before."""
    for name in names:
        rest.until(name, state="running")
    begun = rest.http.post("/updates/scan")
    assert begun.status_code == 202, begun.text
    path = f"/updates/scan/{begun.json()['scan_id']}"
    ended = wait_until(
        lambda: (s := rest.get(path)) and s["status"] != "running" and s,
        "the scan ends",
    )
    assert ended["status"] == "completed", ended
    return ended


def asked_by_scan(rest: Rest, store: Registry, repository: str, *names: str) -> list[str]:
    """What a scan asks a registry for, of one repository."""
    with only_scan():
        before = len(store.asked())
        scan(rest, *names)
        return [line for line in store.asked()[before:] if f"/{repository}/" in line]


def found(rest: Rest, name: str) -> dict[str, Any]:
    """What is known of a container's image, with its commands."""
    rows = rest.get("/updates", status="all")["updates"]
    row = next(row for row in rows if row["container_name"] == name)
    return rest.get(f"/updates/container/{row['container_id']}")


def facts(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["status"], row["update_type"], row["latest_tag"]


def test_a_moving_tag_is_compared_with_what_runs(
    docker: Docker, store: Registry, rest: Rest
) -> None:
    image = store.push("moving", "latest", "1")
    name = run(docker, image, "moving")
    scan(rest, name)
    assert facts(found(rest, name)) == ("up_to_date", "", "")
    store.push("moving", "next", "2")
    store.retag("moving", "next", "latest")
    for _ in range(2):
        scan(rest)
        row = found(rest, name)
        assert facts(row) == ("available", "digest_only", "latest"), row
    assert row["latest_digest"] == store.digest("moving", "latest")
    assert row["current_digest"] != row["latest_digest"]
    assert row["current_digest"] in row["rollback_command"]
    docker.remove(name)
    store.pull(image)
    run(docker, image, "moving")
    rest.until(name, state="running")
    new = docker.inspect(name)["Id"]
    wait_until(lambda: rest.expect(name)["external_id"] == new, "the new one is known")
    scan(rest)
    row = found(rest, name)
    assert facts(row) == ("up_to_date", "", ""), row


def test_tags_are_compared_within_their_form(docker: Docker, store: Registry, rest: Rest) -> None:
    tags = ["1.2.0", "1.3.0", "1.2.0-alpine", "1.4.0-rc1", "16", "17", "20240901", "2024.9.1"]
    store.push("forms", "1.2.0", "1")
    for tag in tags[1:]:
        store.retag("forms", "1.2.0", tag)
    for tag in ("2.0.0-ls3", "2.0.0-ls12", "2024.10.1", "1.2"):
        store.retag("forms", "1.2.0", tag)
    expected = {
        "1.2.0": ("available", "minor", "1.3.0"),
        "1.2.0-alpine": ("up_to_date", "", ""),
        "16": ("up_to_date", "", ""),
        "2.0.0-ls3": ("available", "patch", "2.0.0-ls12"),
        "2024.9.1": ("available", "minor", "2024.10.1"),
        "1.2": ("up_to_date", "", ""),
    }
    names = {}
    for number, tag in enumerate(expected):
        image = f"{store.host}/forms:{tag}"
        store.pull(image)
        names[tag] = run(docker, image, f"form-{number}")
    asked = asked_by_scan(rest, store, "forms", *names.values())
    for tag, verdict in expected.items():
        row = found(rest, names[tag])
        assert facts(row) == verdict, row
        assert row["why"]
    assert "17" in found(rest, names["16"])["why"]
    assert asked.count("GET /v2/forms/tags/list") == 1, asked
    again = asked_by_scan(rest, store, "forms")
    heads = sorted(f"HEAD /v2/forms/manifests/{tag}" for tag in expected)
    assert sorted(again) == sorted(["GET /v2/forms/tags/list", *heads]), again


def test_a_manifest_list_is_compared_by_this_platform(
    docker: Docker, store: Registry, rest: Rest
) -> None:
    store.push("multi", "one", "1")
    store.push("multi", "two", "2")
    one, two = store.digest("multi", "one"), store.digest("multi", "two")
    first = store.index("multi", "latest", {"amd64": one, "arm64": one})
    image = f"{store.host}/multi:latest"
    store.pull(image)
    name = run(docker, image, "multi")
    scan(rest, name)
    row = found(rest, name)
    assert facts(row) == ("up_to_date", "", ""), row
    other = store.index("multi", "latest", {"amd64": one, "arm64": two})
    assert other != first
    scan(rest)
    row = found(rest, name)
    assert facts(row) == ("up_to_date", "", ""), row
    store.index("multi", "latest", {"amd64": two, "arm64": two})
    scan(rest)
    assert facts(found(rest, name)) == ("available", "digest_only", "latest")
    asked = asked_by_scan(rest, store, "multi")
    assert asked == ["HEAD /v2/multi/manifests/latest"], "what is known is not read again"


def test_an_oci_index_with_variants_and_attestations_is_compared_by_this_platform(
    docker: Docker, store: Registry, rest: Rest
) -> None:
    versions = ("one", "two")
    for version in versions:
        store.push("oci", version, version)
    one, two = (store.digest("oci", version) for version in versions)
    first = {"arm/v6": two, "arm/v7": two, "amd64": one, "unknown": two}
    store.index("oci", "latest", first, kind=OCI)
    image = f"{store.host}/oci:latest"
    store.pull(image)
    name = run(docker, image, "oci")
    scan(rest, name)
    assert facts(found(rest, name)) == ("up_to_date", "", "")
    store.index("oci", "latest", {"arm/v7": one, "amd64": one, "unknown": two}, kind=OCI)
    scan(rest)
    row = found(rest, name)
    assert facts(row) == ("up_to_date", "", ""), row
    store.index("oci", "latest", {"arm/v6": two, "arm/v7": two}, kind=OCI)
    scan(rest)
    row = found(rest, name)
    assert row["status"] == "up_to_date" and "has no image for linux/amd64" in row["why"], row
    store.index("oci", "latest", {"amd64": two, "unknown": one}, kind=OCI)
    scan(rest)
    assert facts(found(rest, name)) == ("available", "digest_only", "latest")


def test_labels_pins_and_digests_hold(docker: Docker, store: Registry, rest: Rest) -> None:
    store.push("held", "1.0.0", "1")
    for tag in ("1.0.5", "1.1.0", "2.0.0"):
        store.push("held", tag, tag)
    image = f"{store.host}/held:1.0.0"
    store.pull(image)
    names = {
        "all": run(docker, image, "held-all"),
        "minor": run(docker, image, "held-minor", track="minor"),
        "patch": run(docker, image, "held-patch", tag_include=r"^1\.0\."),
        "off": run(docker, image, "held-off", enabled="false"),
        "pin": run(docker, image, "held-pin", pin="until May"),
    }
    by_digest = f"{image}@{store.digest('held', '1.0.0')}"
    names["digest"] = run(docker, by_digest, "held-digest", digest_only="true")
    names["newer"] = run(docker, by_digest, "held-newer")
    scan(rest, *names.values())
    rows = {word: found(rest, name) for word, name in names.items()}
    assert facts(rows["all"]) == ("available", "major", "2.0.0")
    assert facts(rows["minor"]) == ("available", "minor", "1.1.0")
    assert facts(rows["patch"]) == ("available", "patch", "1.0.5")
    assert rows["off"]["status"] == "untracked"
    assert (rows["pin"]["status"], rows["pin"]["pinned"]) == ("pinned", True)
    assert rows["digest"]["status"] == "up_to_date", rows["digest"]
    assert facts(rows["newer"]) == ("available", "major", "2.0.0"), rows["newer"]
    newest = f"held:2.0.0@{store.digest('held', '2.0.0')}"
    assert newest in rows["newer"]["update_command"], rows["newer"]
    entities = {a["entity_name"]: a["severity"] for a in until_alerted(rest, names["all"])}
    assert entities[names["all"]] == "critical" and entities[names["minor"]] == "info"
    assert names["pin"] not in entities
    external = rows["all"]["container_id"]
    assert rest.http.post(f"/updates/pin/{external}", json={"reason": "no"}).status_code == 200
    scan(rest)
    assert found(rest, names["all"])["status"] == "pinned"


def until_alerted(rest: Rest, name: str) -> list[dict[str, Any]]:
    """Open alerts of updates, as soon as this container has one."""

    def alerts() -> list[dict[str, Any]]:
        open_ones = rest.get("/alerts", status="active", source="update")["alerts"]
        return open_ones if any(a["entity_name"] == name for a in open_ones) else []

    return wait_until(alerts, f"there is an alert of {name}")


def test_a_scan_is_told_and_only_one_runs(docker: Docker, store: Registry, rest: Rest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        name = run(docker, store.push("waits", "latest", "1"), "waits", registry=host)
        rest.until(name, state="running")
        with rest.stream("/containers/events") as stream:
            first = rest.http.post("/updates/scan")
            assert first.status_code == 202, first.text
            second = rest.http.post("/updates/scan")
            assert second.status_code == 409, second.text
            assert second.json()["error"]["code"] == "SCAN_IN_PROGRESS"
            scan_id = first.json()["scan_id"]
            stream.expect("update.scan_started", scan_id=scan_id)
            silent.close()
            stream.expect("update.scan_completed", scan_id=scan_id)
    docker.remove(name)


@pytest.fixture(scope="module")
def read(docker: Docker, store: Registry, rest: Rest) -> str:
    """A container with an update."""
    image = store.push("read", "1.0.0", "1")
    store.push("read", "1.1.0", "2")
    name = run(docker, image, "read")
    scan(rest, name)
    return name


@pytest.fixture(params=READERS)
def own_reader(request: pytest.FixtureRequest, watched: System) -> Reader:
    return watched.reader(*request.param)


def test_a_reader_is_told_of_an_update_with_why_and_commands(
    own_reader: Reader, read: str, rest: Rest
) -> None:
    row = found(rest, read)
    told = own_reader.call("get_updates", container=read)
    (update,) = told["updates"]
    assert (update["status"], update["type"], update["risk"]) == ("available", "minor", 50)
    assert update["newer"].startswith("1.1.0") and update["why"] == row["why"]
    commands = told["commands"]
    assert commands["update"] == row["update_command"]
    assert commands["roll_back"] == row["rollback_command"]


def test_tls_and_a_password_from_dockers_own_configuration(docker: Docker) -> None:
    folder = short_folder("updates")
    root = pki.authority("Registry Root")
    chain, key = pki.write(folder, "registry", pki.server(root))
    (folder / "ca.pem").write_text(root.pem)
    try:
        with registry(docker, tls=(chain, key), login=True) as locked, workshop() as place:
            login = {"auths": {locked.host: {"username": USER, "password": PASSWORD}}}
            (folder / "config.json").write_text(json.dumps(login))
            image = locked.push("secret/app", "1.0.0", "1")
            locked.push("secret/app", "1.0.1", "2")
            name = run(docker, image, "locked")
            trust = {"MAINTENANT_PROBE_CA_CERT": str(folder / "ca.pem")}
            settings = {**OFF, "DOCKER_CONFIG": str(folder), **trust}
            system = System(place, docker.host, **settings)
            scan(system.rest, name)
            assert facts(found(system.rest, name)) == ("available", "patch", "1.0.1")
            again = asked_by_scan(system.rest, locked, "secret/app")
            steady = ["GET /v2/secret/app/tags/list", "HEAD /v2/secret/app/manifests/1.0.0"]
            assert again == steady, "no request is spent on a refusal"
            assert PASSWORD not in system.collector.log

            (folder / "config.json").write_text(json.dumps({"credsStore": "desktop"}))
            scan(system.rest)
            row = found(system.rest, name)
            assert row["stale"] and "helper `desktop`" in row["error"], row
            assert facts(row) == ("available", "patch", "1.0.1")

            locked.stop()
            ended = scan(system.rest)
            assert ended["errors"] >= 1
            problems = system.rest.get("/updates")["problems"]
            row = next(row for row in problems if row["container_name"] == name)
            assert row["stale"] and "cannot be reached" in row["error"], row
            docker.remove(name)
            system.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


needs_tools = pytest.mark.skipif(
    not all(shutil.which(word) for word in ("docker", "jq", "curl")),
    reason="the command uses docker, jq and curl",
)


def shell(command: str, folder: Path) -> int:
    """Runs a command as a person would; its exit code."""
    ran = subprocess.run(["sh", "-c", command], check=False, cwd=folder, timeout=120)
    assert not list(folder.iterdir()), "it leaves nothing behind"
    return ran.returncode


@needs_tools
def test_the_commands_do_what_they_say(
    docker: Docker, store: Registry, rest: Rest, tmp_path: Path
) -> None:
    image = store.push("told", "1.0.0", "1", "VOLUME /data")
    newer = store.push("told", "1.1.0", "2", "VOLUME /data")
    restart = {"Name": "always", "MaximumRetryCount": 0}
    name = run(docker, image, "volumes-told", {"Memory": 64 * 2**20, "RestartPolicy": restart})
    scan(rest, name)
    row = found(rest, name)
    old = docker.inspect(name)
    (volume,) = old["Mounts"]
    assert shell(row["update_command"], tmp_path) == 0
    new = docker.inspect(name)
    assert new["Config"]["Image"] == newer and new["Image"] != old["Image"]
    assert new["Config"]["Labels"]["kept"] == "yes"
    assert new["Config"]["Labels"]["version"] == "2", "what came from the image comes from the new"
    assert new["HostConfig"]["Memory"] == old["HostConfig"]["Memory"]
    assert new["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert [(m["Name"], m["Destination"]) for m in new["Mounts"]] == [(volume["Name"], "/data")]
    assert shell(row["rollback_command"], tmp_path) == 0
    back = docker.inspect(name)
    assert back["Image"] == old["Image"]
    assert [m["Name"] for m in back["Mounts"]] == [volume["Name"]], "data is never left behind"
    docker.remove(name)
    docker.call("DELETE", f"/volumes/{volume['Name']}")


@needs_tools
def test_a_container_that_cannot_be_replaced_runs_on(
    docker: Docker, store: Registry, rest: Rest, tmp_path: Path
) -> None:
    image = store.push("broken", "1.0.0", "1")
    store.push("broken", "1.1.0", "2", 'ENTRYPOINT ["/nonexistent"]')
    name = run(docker, image, "broken")
    gone = run(docker, image, "removed", {"AutoRemove": True})
    scan(rest, name, gone)
    row = found(rest, gone)
    assert facts(row) == ("available", "minor", "1.1.0")
    assert "update_command" not in row, "stopped, it would be removed"
    command = found(rest, name)["update_command"]
    old = docker.inspect(name)["Id"]
    assert shell(command, tmp_path) != 0
    now = docker.inspect(name)
    assert now["Id"] == old and now["State"]["Running"], "it is back under its name"
    left_over = docker.create(f"{name}-before")
    assert shell(command, tmp_path) != 0
    now = docker.inspect(name)
    assert now["Id"] == old and now["State"]["Running"], "it was not stopped"
    docker.remove(left_over)
