"""Newer images for what runs, told by a real registry: pulled, run, pushed, scanned."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import System
from support import pki
from support.docker import Docker
from support.places import short_folder
from support.programs import workshop
from support.registry import PASSWORD, USER, Registry, registry
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


def run(docker: Docker, image: str, name: str, **labels: str) -> str:
    """Runs an image of the registry under a name of this session; that name."""
    own, docker.image = docker.image, image
    named = {f"maintenant.update.{key.replace('tag_', 'tag-')}": to for key, to in labels.items()}
    try:
        name = docker.name(name)
        docker.run(name, labels=named)
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
        within=60,
    )
    assert ended["status"] == "completed", ended
    return ended


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
    before = len(store.asked())
    scan(rest, *names.values())
    asked = [line for line in store.asked()[before:] if "/forms/" in line]
    for tag, verdict in expected.items():
        row = found(rest, names[tag])
        assert facts(row) == verdict, row
        assert row["why"]
    assert "17" in found(rest, names["16"])["why"]
    assert asked.count("GET /v2/forms/tags/list") == 1, asked
    before = len(store.asked())
    scan(rest)
    again = [line for line in store.asked()[before:] if "/forms/" in line]
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
    before = len(store.asked())
    scan(rest)
    asked = [line for line in store.asked()[before:] if "/multi/" in line]
    assert asked == ["HEAD /v2/multi/manifests/latest"], "what is known is not read again"


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
    scan(rest, *names.values())
    rows = {word: found(rest, name) for word, name in names.items()}
    assert facts(rows["all"]) == ("available", "major", "2.0.0")
    assert facts(rows["minor"]) == ("available", "minor", "1.1.0")
    assert facts(rows["patch"]) == ("available", "patch", "1.0.5")
    assert rows["off"]["status"] == "untracked"
    assert (rows["pin"]["status"], rows["pin"]["pinned"]) == ("pinned", True)
    assert rows["digest"]["status"] == "up_to_date", rows["digest"]
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


def test_a_scan_is_told_and_only_one_runs(store: Registry, rest: Rest) -> None:
    with rest.stream("/containers/events") as stream:
        first = rest.http.post("/updates/scan").json()
        second = rest.http.post("/updates/scan")
        assert second.status_code in (202, 409), second.text
        stream.expect("update.scan_started", scan_id=first["scan_id"])
        stream.expect("update.scan_completed", scan_id=first["scan_id"])


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


@pytest.mark.skipif(
    not all(shutil.which(word) for word in ("docker", "jq", "curl")),
    reason="the command uses docker, jq and curl",
)
def test_the_commands_do_what_they_say(
    docker: Docker, store: Registry, rest: Rest, tmp_path: Path
) -> None:
    image = store.push("told", "1.0.0", "1")
    newer = store.push("told", "1.1.0", "2")
    own, docker.image = docker.image, image
    name = docker.name("told")
    docker.run(name, labels={"kept": "yes"}, memory=64 * 2**20, restart="always")
    docker.image = own
    scan(rest, name)
    row = found(rest, name)
    old = docker.inspect(name)
    subprocess.run(["sh", "-c", row["update_command"]], check=True, cwd=tmp_path, timeout=60)
    new = docker.inspect(name)
    assert new["Config"]["Image"] == newer and new["Image"] != old["Image"]
    assert new["Config"]["Labels"]["kept"] == "yes"
    assert new["Config"]["Labels"]["version"] == "2", "what came from the image comes from the new"
    assert new["HostConfig"]["Memory"] == old["HostConfig"]["Memory"]
    assert new["HostConfig"]["RestartPolicy"]["Name"] == "always"
    subprocess.run(["sh", "-c", row["rollback_command"]], check=True, cwd=tmp_path, timeout=60)
    assert docker.inspect(name)["Image"] == old["Image"]
