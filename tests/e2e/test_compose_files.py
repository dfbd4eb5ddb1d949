"""The Compose files are valid for both generations of Compose, and say the same in all places."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from support.compose import COMPOSE
from support.places import REPOSITORY

ALONE = "docker-compose.yml"
SCALED = "docker-compose.scaled.yml"
OVERRIDES = [SCALED, *(f"deploy/compose/{name}.yml" for name in ("disks", "socket", "traefik"))]
SIDECAR = "deploy/compose/sidecar.yml"
LAPTOPS = "deploy/compose/laptops.yml"
SETS = [
    [ALONE],
    *([ALONE, override] for override in OVERRIDES),
    [ALONE, SCALED, LAPTOPS],
    [SIDECAR],
]
NEEDED = {"DOCKER_GID": "999", "MAINTENANT_CERTS": "./certs"}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<default>[^}]*))?\}")


def configured(files: list[str]) -> dict[str, Any]:
    """What docker-compose 1.29 makes of these files together."""
    assert COMPOSE, "docker-compose is not there; tests/run installs it"
    arguments = [word for file in files for word in ("-f", file)]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("MAINTENANT_")}
    done = subprocess.run(
        [COMPOSE, "--project-directory", str(REPOSITORY), *arguments, "config"],
        cwd=REPOSITORY,
        env={**kept, **NEEDED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = yaml.safe_load(done.stdout)
    return read


def parsed(text: str) -> PyCompose:
    """A file as the Compose Specification reads it, which is that of Compose v2."""

    def value(found: re.Match[str]) -> str:
        is_demanded = found["kind"] in ("?", None)
        return NEEDED[found["name"]] if is_demanded else found["default"]

    plain = yaml.safe_load(VARIABLE.sub(value, text))
    used = {key: part for key, part in plain.items() if not key.startswith("x-")}
    return PyCompose.from_yaml(yaml.safe_dump(used))


@pytest.mark.parametrize("files", SETS, ids=lambda files: Path(files[-1]).stem)
def test_docker_compose_1_29_takes_it(files: list[str]) -> None:
    assert "gateway" in configured(files)["services"]


@pytest.mark.parametrize("file", [ALONE, *OVERRIDES, LAPTOPS, SIDECAR])
def test_it_follows_the_compose_specification(file: str) -> None:
    read = parsed((REPOSITORY / file).read_text())
    if file in (ALONE, SIDECAR):
        read.validate()


@pytest.mark.parametrize("wrong", ["readonly: true", "scale: many", "depends_on: {b: {until: x}}"])
def test_what_the_specification_does_not_know_is_found(wrong: str) -> None:
    with pytest.raises(ValueError):
        parsed(f"services: {{a: {{image: a, {wrong}}}}}")


@pytest.mark.parametrize("files", SETS, ids=lambda files: Path(files[-1]).stem)
def test_every_program_gives_up_what_it_does_not_need(files: list[str]) -> None:
    for name, service in configured(files)["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


@pytest.mark.parametrize("files", SETS, ids=lambda files: Path(files[-1]).stem)
def test_only_a_proxy_is_published_beyond_this_machine(files: list[str]) -> None:
    for name, service in configured(files)["services"].items():
        for port in service.get("ports", []):
            assert name == "proxy" or str(port).startswith("127.0.0.1:"), (name, port)


def test_a_gateway_that_strangers_reach_asks_who_they_are() -> None:
    for override in (SCALED, "deploy/compose/traefik.yml"):
        for name, service in configured([ALONE, override])["services"].items():
            if name.startswith("gateway"):
                assert service["environment"]["MAINTENANT_ALLOW_UNAUTHENTICATED"] == "false"


def test_gateways_differ_in_nothing_but_where_they_are_reached() -> None:
    services = configured([ALONE, SCALED])["services"]
    one, others = services["gateway"], services["gateways"]
    same = one.keys() - {"build", "ports", "depends_on"}
    assert same == others.keys() - {"scale", "depends_on"}
    for key in same - {"networks"}:
        assert one[key] == others[key], key
