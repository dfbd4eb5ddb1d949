"""The official MCP conformance suite, in both protocol eras.

Against the gateway as it is, with the scenarios that ask for tools it does not have listed as
expected failures; and against its HTTP stack with the suite's own tools mounted. A listed failure
that does not fail is an error too.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import NODE_MODULES
from support.programs import Program, Workshop, clean_environment, workshop

HERE = Path(__file__).resolve().parent
NODE = NODE_MODULES / "node" / "bin" / "node"
SUITE = NODE_MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
REVISIONS = ["2025-11-25", "2026-07-28"]


def conform(server: Program, revision: str, expected_failures: Path) -> None:
    """Runs every scenario of a revision."""
    assert SUITE.is_file() and NODE.exists(), "tests/run installs the conformance suite with npm"
    options = ["--url", f"{server.url}/mcp", "--suite", "all", "--spec-version", revision]
    if expected_failures.is_file():
        options += ["--expected-failures", str(expected_failures)]
    done = subprocess.run(
        [NODE, SUITE, "server", *options, "-o", str(server.folder / "results")],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    _, _, summary = done.stdout.partition("=== SUMMARY ===")
    print(summary)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "server-" in summary, f"the suite ran nothing: {done.stdout[-2000:]}"


@pytest.fixture(scope="module")
def place() -> Iterator[Workshop]:
    with workshop() as here:
        yield here


@pytest.fixture(scope="module")
def gateway(place: Workshop) -> Program:
    """The gateway in front of a collector that watches nothing."""
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    return place.gateway(collector.url)


@pytest.fixture(scope="module")
def fixtures(place: Workshop) -> Program:
    """The suite's own tools on the gateway's HTTP stack: `cargo build --examples` builds it."""
    return place.start("examples/conformance")


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_gateway_conforms(gateway: Program, revision: str) -> None:
    expected = HERE / f"expected-failures-{revision}.yml"
    assert expected.is_file(), f"{expected.name} is missing"
    conform(gateway, revision, expected)


@pytest.mark.parametrize("revision", REVISIONS)
def test_its_http_stack_conforms_with_the_suite_s_own_tools(
    fixtures: Program, revision: str
) -> None:
    """Without a file of expected failures none is accepted."""
    conform(fixtures, revision, HERE / f"fixtures-expected-failures-{revision}.yml")
