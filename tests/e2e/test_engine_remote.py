"""An engine that is reached over TCP, with and without TLS.

It listens on the loopback interface of its own network namespace. The collector runs in there too
and is asked over a unix socket.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.certificates import CLIENT, SERVER, Authority
from support.docker import Docker
from support.engine import Engine
from support.places import short_folder
from support.programs import Workshop
from support.rest import Rest
from support.wait import wait_until

ADDRESS = "127.0.0.1:2375"


@dataclass
class Remote:
    """An engine on TCP and its API for the test itself."""

    engine: Engine
    docker: Docker

    def watched_from(self, place: Workshop, **settings: str) -> Rest:
        """A collector in the engine's network, by its unix socket."""
        socket = f"unix:{place.folder}/collector.sock"
        collector = place.collector(
            f"tcp://{ADDRESS}", before=self.engine.inside, MAINTENANT_ADDR=socket, **settings
        )
        collector.until_listening()
        return Rest(socket)


@dataclass
class Secured(Remote):
    """One that demands TLS with a certificate of `authority`."""

    authority: Authority


def started(engine: Engine) -> Docker:
    engine.start()
    docker = Docker(engine.socket)
    docker.ensure_image()
    return docker


@pytest.fixture(scope="module")
def plain() -> Iterator[Remote]:
    engine = Engine(options=["--tls=false", "-H", f"tcp://{ADDRESS}"])
    try:
        yield Remote(engine, started(engine))
    finally:
        engine.close()


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    folder = short_folder("engine")
    authority = Authority(folder, "authority")
    own = authority.issue(SERVER, "server")
    options = ["--tlsverify", "--tlscacert", str(own / "ca.pem")]
    options += ["--tlscert", str(own / "cert.pem"), "--tlskey", str(own / "key.pem")]
    engine = Engine(folder, [*options, "-H", f"tcp://{ADDRESS}"])
    try:
        yield Secured(engine, started(engine), authority)
    finally:
        engine.close()


def lists_a_new_container(remote: Remote, rest: Rest, word: str) -> None:
    """It is connected, and events come through."""
    rest.until_connected(True)
    name = remote.docker.name(word)
    remote.docker.run(name, stop_signal="SIGKILL")
    rest.until(name, state="running")


def test_an_engine_is_watched_over_tcp(plain: Remote, place: Workshop) -> None:
    rest = plain.watched_from(place)
    lists_a_new_container(plain, rest, "by-tcp")
    name = plain.docker.name("by-tcp")
    plain.docker.kill(name)
    rest.until(name, state="exited", exit_code=137)


def test_an_engine_is_watched_over_tls(secured: Secured, place: Workshop) -> None:
    certificates = secured.authority.issue(CLIENT, "client")
    rest = secured.watched_from(place, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(certificates))
    lists_a_new_container(secured, rest, "by-tls")


def refused(secured: Secured, place: Workshop, **settings: str) -> str:
    """Why it is not connected, once the first attempt has failed."""
    rest = secured.watched_from(place, **settings)
    wait_until(lambda: rest.runtime().get("error"), "the first attempt has failed")
    runtime = rest.runtime()
    assert runtime["connected"] is False, runtime
    assert rest.containers() == []
    return runtime["error"]


def test_a_certificate_the_engine_does_not_accept_is_told(
    secured: Secured, place: Workshop
) -> None:
    stranger = Authority(place.folder, "stranger")
    certificates = stranger.issue(CLIENT, "client", trusts=secured.authority.certificate)
    error = refused(secured, place, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(certificates))
    assert "certificate" in error.lower() or "unknownca" in error.lower(), error


def test_an_engine_whose_certificate_is_not_trusted_is_not_asked(
    secured: Secured, place: Workshop
) -> None:
    stranger = Authority(place.folder, "stranger")
    certificates = stranger.issue(CLIENT, "client")
    error = refused(secured, place, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(certificates))
    assert "certificate" in error.lower(), error


def test_an_engine_that_wants_tls_is_not_watched_without_it(
    secured: Secured, place: Workshop
) -> None:
    assert "HTTPS" in refused(secured, place)


def test_tls_without_its_folder_of_certificates_is_a_setting_at_fault(place: Workshop) -> None:
    collector = place.collector(f"tcp://{ADDRESS}", DOCKER_TLS_VERIFY="1")
    assert collector.wait() == 64, collector.log
    assert "DOCKER_CERT_PATH" in collector.log


@pytest.mark.parametrize("missing", ["ca.pem", "cert.pem", "key.pem"])
def test_a_missing_file_of_certificates_is_named(
    secured: Secured, place: Workshop, missing: str
) -> None:
    folder = secured.authority.issue(CLIENT, f"client-without-{missing}")
    (folder / missing).unlink()
    error = refused(secured, place, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(folder))
    assert str(folder / missing) in error, error
