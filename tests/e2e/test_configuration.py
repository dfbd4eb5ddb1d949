"""Settings: read once, refused whole, with every fault named."""

import pytest
from support.docker import Docker
from support.programs import Workshop, run_to_end
from support.wait import wait_until


def test_two_faults_are_both_named_and_the_exit_code_is_64(place: Workshop) -> None:
    ended = run_to_end(
        "maintenant-collector",
        cwd=place.folder,
        MAINTENANT_ADDR="nowhere",
        MAINTENANT_EDITION="gold",
    )
    assert ended.code == 64, ended
    assert "MAINTENANT_ADDR" in ended.stderr and "MAINTENANT_EDITION" in ended.stderr, ended
    assert ended.stdout == ""
    assert not place.database.exists()


def test_the_gateway_names_every_fault_too(place: Workshop) -> None:
    ended = run_to_end(
        "maintenant-gateway",
        cwd=place.folder,
        MAINTENANT_MCP="perhaps",
        MAINTENANT_URL="ftp://collector",
    )
    assert ended.code == 64, ended
    assert "MAINTENANT_MCP" in ended.stderr and "MAINTENANT_URL" in ended.stderr, ended


def test_one_process_asks_no_other_collectors_and_says_which_program_does(
    place: Workshop,
) -> None:
    ended = run_to_end(
        "maintenant",
        cwd=place.folder,
        MAINTENANT_ADDR="127.0.0.1:0",
        MAINTENANT_RUNTIME="none",
        MAINTENANT_URL="http://127.0.0.1:9",
    )
    assert ended.code == 64, ended
    assert "MAINTENANT_URL" in ended.stderr and "maintenant-gateway" in ended.stderr, ended
    assert not place.database.exists()


@pytest.mark.parametrize("program", ["maintenant-collector", "maintenant-gateway", "maintenant"])
def test_help_goes_to_stdout_and_names_the_variables(place: Workshop, program: str) -> None:
    ended = run_to_end(program, "--help", cwd=place.folder)
    assert ended.code == 0, ended
    assert "MAINTENANT_ADDR" in ended.stdout and "MAINTENANT_LOG_LEVEL" in ended.stdout, ended


def test_listening_beyond_loopback_without_a_token_is_refused(place: Workshop) -> None:
    ended = run_to_end("maintenant-collector", cwd=place.folder, MAINTENANT_ADDR="0.0.0.0:0")
    assert ended.code == 64, ended
    assert "MAINTENANT_API_TOKEN" in ended.stderr, ended


def test_a_secret_is_not_told_in_a_fault(place: Workshop) -> None:
    ended = run_to_end(
        "maintenant-collector",
        cwd=place.folder,
        MAINTENANT_API_TOKEN="a secret with spaces",
        MAINTENANT_EDITION="gold",
    )
    assert ended.code == 64, ended
    assert "a secret with spaces" not in ended.stderr + ended.stdout


def test_sigterm_ends_it_with_0_and_a_log_in_order(place: Workshop, docker: Docker) -> None:
    collector = place.collector(docker.host)
    assert collector.rest().get("/health")["status"] == "ok"
    collector.stop()
    lines = collector.log_lines
    assert all({"timestamp", "level", "message"} <= line.keys() for line in lines), lines
    # Lines of jobs beside it may stand between them in any order.
    own = [line for line in lines if line["message"].startswith(("listening", "stop"))]
    stamps = [line["timestamp"] for line in own]
    assert stamps == sorted(stamps)
    messages = [line["message"] for line in own]
    assert (messages[0], messages[-1]) == ("listening", "stopped"), messages
    assert len(messages) > 3, "the steps of the end are told"
    assert not [line for line in lines if line["level"] == "ERROR"], lines


def test_the_gateway_ends_with_0_at_sigterm(place: Workshop) -> None:
    gateway = place.gateway("http://127.0.0.1:9")
    assert gateway.address
    gateway.stop()


@pytest.mark.parametrize("program", ["maintenant-collector", "maintenant-gateway", "maintenant"])
def test_sigterm_is_heard_as_soon_as_it_says_that_it_listens(place: Workshop, program: str) -> None:
    """Who waits for `listening` may end it at once. Several times: the moment is short."""
    settings = {"MAINTENANT_RUNTIME": "none"}
    if program == "maintenant-gateway":
        settings = {"MAINTENANT_MCP": "true", "MAINTENANT_URL": "http://127.0.0.1:9"}
    for number in range(10):
        if program != "maintenant-gateway":
            settings["MAINTENANT_DB"] = str(place.folder / f"{number}.db")
        started = place.start(program, **settings)
        what = f"{program} says that it listens"
        wait_until(lambda log=started: '"listening"' in log.log, what, every=0.001)
        started.stop()
