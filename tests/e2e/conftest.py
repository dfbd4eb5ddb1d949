"""What all end-to-end tests share: the machine's engine, one watched system, four readers of it."""

from collections.abc import Iterator
from functools import cached_property

import pytest
from support.docker import Docker
from support.engine import Engine
from support.mcp_clients import LEGACY, MODERN, Reader, Target
from support.programs import Program, Workshop, workshop
from support.rest import Rest
from support.wait import wait_until

KINDS = [(transport, era) for transport in ("stdio", "http") for era in (LEGACY, MODERN)]
READERS = [pytest.param(kind, id="-".join(kind)) for kind in KINDS]


class System:
    """A collector that watches an engine, which it hears by now, and a gateway in front of it."""

    def __init__(self, place: Workshop, docker_host: str, **settings: str) -> None:
        self.place = place
        self.collector: Program = place.collector(docker_host, **settings)
        self.rest: Rest = self.collector.rest()
        self.rest.until_connected(True)
        self._readers: dict[tuple[str, str], Reader] = {}

    @cached_property
    def gateway(self) -> Program:
        """The gateway over HTTP; over stdio each reader starts its own."""
        return self.place.gateway(self.collector.url)

    def target(self, transport: str) -> Target:
        """Where an MCP client connects to."""
        if transport == "http":
            return Target.http(self.gateway.url)
        return Target.stdio("maintenant-gateway", {"MAINTENANT_URL": self.collector.url})

    def reader(self, transport: str, revision: str) -> Reader:
        """The reader of that kind; it stays connected until the system ends."""
        kind = (transport, revision)
        if kind not in self._readers:
            name = f"{transport} {revision}"
            self._readers[kind] = Reader(name, self.target(transport), revision)
        return self._readers[kind]

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self.rest.close()


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """The machine's own engine. Every container made through it is removed at the end."""
    engine = Docker()
    wait_until(engine.answers, f"a Docker engine answers at {engine.socket}; start dockerd")
    engine.ensure_image()
    try:
        yield engine
    finally:
        engine.clean_up()
        engine.close()


@pytest.fixture(scope="session")
def system(docker: Docker) -> Iterator[System]:
    """One collector and one gateway for all tests that only look."""
    with workshop() as place:
        watched = System(place, docker.host)
        try:
            yield watched
        finally:
            watched.close()


@pytest.fixture(scope="session")
def rest(system: System) -> Rest:
    return system.rest


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, system: System) -> Reader:
    """Each test that asks for it runs four times: both transports, both protocol eras.

    Function-scoped on purpose: a wider scope would make pytest run the Docker actions of a module
    once per reader.
    """
    transport, revision = request.param
    return system.reader(transport, revision)


@pytest.fixture
def place() -> Iterator[Workshop]:
    """A folder and the programs a single test starts in it."""
    with workshop() as here:
        yield here


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A second engine, for tests that hurt it. Each of them leaves it running."""
    second = Engine()
    try:
        second.start()
        yield second
    finally:
        second.close()


@pytest.fixture(scope="module")
def second(engine: Engine) -> Docker:
    """The second engine's API."""
    docker = Docker(engine.socket)
    docker.ensure_image()
    return docker


@pytest.fixture(scope="module")
def watched(engine: Engine) -> Iterator[System]:
    """A system that watches the second engine."""
    with workshop() as place:
        system = System(place, engine.host)
        try:
            yield system
        finally:
            system.close()
