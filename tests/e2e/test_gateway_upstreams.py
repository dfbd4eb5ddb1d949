"""How the gateway reaches collectors, and what it says when it does not."""

from collections.abc import Iterator
from contextlib import contextmanager

from support.docker import Docker
from support.mcp_clients import MODERN, Reader, Target
from support.programs import Program, Workshop
from support.rest import Rest
from support.tools import health, listed, listing, until_running

NOBODY = "http://127.0.0.1:9"
TOKEN = "correct-horse-battery-staple"


@contextmanager
def reading(gateway: Program) -> Iterator[Reader]:
    """A client of this gateway."""
    reader = Reader("upstream", Target.http(gateway.url), MODERN)
    try:
        yield reader
    finally:
        reader.close()


def test_a_collector_is_reached_over_a_unix_socket(place: Workshop, docker: Docker) -> None:
    socket = place.folder / "collector.sock"
    collector = place.start(
        "maintenant-collector",
        MAINTENANT_ADDR=f"unix:{socket}",
        MAINTENANT_DB=str(place.database),
        DOCKER_HOST=docker.host,
    )
    collector.until_listening()
    name = docker.name("by-socket")
    docker.run(name)
    Rest(f"unix:{socket}").until(name, state="running")
    gateway = place.gateway(f"unix:{socket}")
    with reading(gateway) as reader:
        until_running(reader, name)


def test_two_collectors_are_read_as_one_and_told_apart(place: Workshop, docker: Docker) -> None:
    one = place.collector(docker.host)
    two = place.collector("", MAINTENANT_DB=str(place.folder / "2.db"), MAINTENANT_RUNTIME="none")
    name = docker.name("of-one")
    docker.run(name)
    one.rest().until(name, state="running")
    with reading(place.gateway(f"berlin={one.url},paris={two.url}")) as reader:
        assert listed(reader, name)["collector"] == "berlin"
        assert listing(reader, collector="paris") == []


def test_one_of_two_that_is_silent_is_named_and_the_other_still_read(
    place: Workshop, docker: Docker
) -> None:
    one = place.collector(docker.host)
    name = docker.name("of-the-living")
    docker.run(name)
    one.rest().until(name, state="running")
    with reading(place.gateway(f"berlin={one.url},paris={NOBODY}")) as reader:
        until_running(reader, name)
        sources = reader.call("list_containers")["sources"]
        assert {source["name"]: source["ok"] for source in sources} == {
            "berlin": True,
            "paris": False,
        }
        assert health(reader)["status"] == "degraded"


def test_a_silent_collector_is_an_error_not_an_empty_list(place: Workshop) -> None:
    with reading(place.gateway(NOBODY)) as reader:
        text = reader.refusal("list_containers")
        assert "cannot be reached" in text, text
        assert health(reader)["status"] == "down"


def test_the_gateway_uses_its_token_and_says_when_it_is_wrong(
    place: Workshop, docker: Docker
) -> None:
    collector = place.collector(docker.host, MAINTENANT_API_TOKEN=TOKEN)
    with reading(place.gateway(collector.url, MAINTENANT_API_TOKEN=TOKEN)) as reader:
        assert "total" in reader.call("list_containers")["summary"]
    wrong = place.gateway(collector.url, MAINTENANT_API_TOKEN="wrong-guess")
    with reading(wrong) as reader:
        text = reader.refusal("list_containers")
        assert "MAINTENANT_API_TOKEN" in text, text
        assert "wrong-guess" not in text
    wrong.stop()
    assert "wrong-guess" not in wrong.log
