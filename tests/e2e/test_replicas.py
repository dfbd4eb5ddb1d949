"""Gateways side by side behind a load balancer that knows nothing of sessions.

`proxy_next_upstream` of the balancer tries another gateway when there was no connection; a request
that was already sent it repeats only if that changes nothing (nginx never repeats a POST).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from conftest import System
from support.balancer import Balancer
from support.load import Load
from support.mcp_clients import LEGACY, MODERN, Reader, Target, ask_with_v1_client
from support.programs import Program, Workshop


@dataclass
class Fleet:
    """Gateways, and the balancer in front of them."""

    gateways: list[Program]
    balancer: Balancer

    @property
    def url(self) -> str:
        return self.balancer.url

    def calls(self) -> list[int]:
        """How many calls each gateway has answered, by its log."""
        return [gateway.log.count('"tool call"') for gateway in self.gateways]


@pytest.fixture
def fleet(place: Workshop, system: System) -> Iterator[Fleet]:
    gateways = [place.gateway(system.collector.url) for _ in range(3)]
    balancer = Balancer([gateway.address for gateway in gateways])
    try:
        yield Fleet(gateways, balancer)
    finally:
        balancer.close()


@pytest.fixture
def load(fleet: Fleet) -> Iterator[Callable[[int], Load]]:
    running: list[Load] = []

    def start(clients: int) -> Load:
        running.append(Load(fleet.url, clients))
        return running[-1]

    yield start
    for each in running:
        each.end()


@pytest.mark.parametrize("era", [LEGACY, MODERN])
def test_a_client_needs_no_affinity(fleet: Fleet, era: str) -> None:
    reader = Reader(era, Target.http(fleet.url), era)
    try:
        for _ in range(9):
            assert "containers" in reader.call("list_containers")
    finally:
        reader.close()
    assert all(count >= 2 for count in fleet.calls()), fleet.calls()


def test_the_previous_generation_of_clients_needs_none(fleet: Fleet) -> None:
    for _ in range(3):
        answer = ask_with_v1_client(Target.http(fleet.url), "get_health")
        assert not answer.is_error, answer.text


def test_a_killed_gateway_costs_the_calls_it_was_answering(
    fleet: Fleet, load: Callable[[int], Load]
) -> None:
    clients = load(6)
    clients.until_answered(60)
    fleet.gateways[0].kill()
    clients.until_answered(200)
    clients.end()
    # Each of the six can have had one call there.
    assert len(clients.failed) <= 6, clients.failed
    reader = Reader("after", Target.http(fleet.url), MODERN)
    try:
        assert "containers" in reader.call("list_containers")
    finally:
        reader.close()


def test_a_gateway_that_is_ended_costs_no_call(
    fleet: Fleet, load: Callable[[int], Load]
) -> None:
    clients = load(6)
    clients.until_answered(60)
    fleet.gateways[1].stop()
    clients.until_answered(200)
    clients.end()
    assert clients.failed == []
