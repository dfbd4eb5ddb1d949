"""A container is the same one after a rename and after a recreate."""

import pytest
from support.docker import Docker
from support.mcp_clients import Reader
from support.rest import Rest
from support.tools import described, listed, listing

Story = tuple[str, int, str]
"""The present name, the row id it had before, the Docker id it has now."""


@pytest.fixture(scope="module")
def renamed(docker: Docker, rest: Rest) -> Story:
    old, new = docker.name("before"), docker.name("after")
    container = docker.run(old)
    row = rest.until(old, state="running")["id"]
    docker.rename(container, new)
    rest.until(new, state="running")
    return new, row, container


@pytest.fixture(scope="module")
def recreated(docker: Docker, rest: Rest) -> Story:
    name = docker.name("recreated")
    first = docker.run(name)
    row = rest.until(name, state="running")["id"]
    docker.remove(first)
    rest.until_gone(name)
    second = docker.run(name)
    rest.until(name, external_id=second, state="running")
    return name, row, second


@pytest.fixture(scope="module")
def composed(docker: Docker, rest: Rest) -> Story:
    """Compose replaces a container under another name before it removes the old one."""
    project = docker.name("shop")
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
    }
    old, new = f"{project}-web-1", f"{project}-web-1-new"
    first = docker.run(old, labels=labels)
    row = rest.until(old, state="running")["id"]
    docker.remove(first)
    rest.until_gone(old)
    second = docker.run(new, labels=labels)
    rest.until(new, external_id=second, state="running")
    return new, row, second


@pytest.mark.parametrize("story", ["renamed", "recreated", "composed"])
def test_it_keeps_its_id(reader: Reader, request: pytest.FixtureRequest, story: str) -> None:
    name, row, docker_id = request.getfixturevalue(story)
    assert listed(reader, name)["id"] == str(row)
    detail = described(reader, name)
    assert (detail["id"], detail["docker_id"]) == (str(row), docker_id)
    assert detail["state"] == "running"


@pytest.mark.parametrize("story", ["recreated", "composed"])
def test_its_history_goes_on_across_the_recreate(
    reader: Reader, request: pytest.FixtureRequest, story: str
) -> None:
    name, _, _ = request.getfixturevalue(story)
    states = [t["to"] for t in described(reader, name)["transitions"]]
    assert states[0] == "running"
    assert states.count("running") >= 2, states


def test_a_renamed_container_is_not_listed_twice(
    reader: Reader, docker: Docker, renamed: Story
) -> None:
    names = [container["name"] for container in listing(reader)]
    assert docker.name("before") not in names
    assert names.count(renamed[0]) == 1


def test_two_containers_of_one_service_are_two(reader: Reader, docker: Docker, rest: Rest) -> None:
    project = docker.name("pair")
    names = [f"{project}-web-1", f"{project}-web-2"]
    if not rest.find(names[1]):
        for number, name in enumerate(names, 1):
            labels = {
                "com.docker.compose.project": project,
                "com.docker.compose.service": "web",
                "com.docker.compose.container-number": str(number),
            }
            docker.run(name, labels=labels)
            rest.until(name)
    ids = [listed(reader, name)["id"] for name in names]
    assert len(set(ids)) == 2
