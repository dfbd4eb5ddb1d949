"""Labels decide what is shown, in which group, and how loudly it is alerted."""

import pytest
from support.docker import Docker
from support.mcp_clients import Reader
from support.rest import Rest
from support.tools import listed, listing


@pytest.fixture(scope="module")
def labelled(docker: Docker, rest: Rest) -> dict[str, str]:
    """An ignored one, one with a group of its own, and one of a Compose project."""
    names = {word: docker.name(word) for word in ("ignored", "grouped", "project")}
    compose = {
        "com.docker.compose.project": docker.name("project"),
        "com.docker.compose.container-number": "1",
    }
    docker.run(names["ignored"], labels={"maintenant.ignore": "true"})
    docker.run(
        names["grouped"],
        labels={
            "maintenant.group": docker.name("payments"),
            "maintenant.alert.severity": "critical",
            "maintenant.alert.restart_threshold": "7",
            "maintenant.alert.channels": "ops,pager",
            **compose,
            "com.docker.compose.service": "ledger",
        },
    )
    docker.run(names["project"], labels={**compose, "com.docker.compose.service": "web"})
    # The ignored one was started first and events are in order: it has been seen by now.
    for word in ("grouped", "project"):
        rest.until(names[word], state="running")
    return names


def test_an_ignored_container_is_not_listed(reader: Reader, labelled: dict[str, str]) -> None:
    assert labelled["ignored"] not in [container["name"] for container in listing(reader)]


def test_the_alert_labels_are_read(rest: Rest, labelled: dict[str, str]) -> None:
    detail = rest.detail(rest.expect(labelled["grouped"])["id"])
    assert detail["alert_severity"] == "critical"
    assert detail["restart_threshold"] == 7
    assert detail["alert_channels"] == "ops,pager"


def test_the_group_label_wins_over_the_compose_project(
    reader: Reader, docker: Docker, labelled: dict[str, str]
) -> None:
    assert listed(reader, labelled["grouped"])["group"] == docker.name("payments")
    assert listed(reader, labelled["project"])["group"] == docker.name("project")


def test_the_group_filter_keeps_that_group_alone(
    reader: Reader, docker: Docker, labelled: dict[str, str]
) -> None:
    names = [container["name"] for container in listing(reader, group=docker.name("payments"))]
    assert names == [labelled["grouped"]]


def test_the_state_filter_keeps_that_state_alone(reader: Reader, labelled: dict[str, str]) -> None:
    states = {container["state"] for container in listing(reader, state="running")}
    assert states == {"running"}


def test_rest_names_the_source_of_each_group(
    rest: Rest, docker: Docker, labelled: dict[str, str]
) -> None:
    sources = {group["name"]: group["source"] for group in rest.get("/containers")["groups"]}
    assert sources[docker.name("payments")] == "label"
    assert sources[docker.name("project")] == "compose"
