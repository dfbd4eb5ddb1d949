"""Logs: complete, in order, and harmless to read."""

import pytest
from support.docker import Docker
from support.mcp_clients import Reader
from support.rest import Rest
from support.tools import log_lines
from support.wait import wait_until

LONG = 40_000
TURN = "echo out $i; sleep 0.05; echo err $i >&2; sleep 0.05"
TALK = f"for i in 1 2 3 4 5; do {TURN}; done; sleep 86400"
TURNS = [f"{stream} {turn}" for turn in range(1, 6) for stream in ("out", "err")]


def logged(rest: Rest, name: str, last: str) -> None:
    """Waits until the log has the line that is written last."""
    row = rest.until(name)["id"]
    wait_until(lambda: last in rest.logs(row, lines=1000), f"{name} has logged {last!r}")


@pytest.fixture(scope="module")
def talking(docker: Docker, rest: Rest) -> str:
    """Writes to stdout and stderr in turns."""
    name = docker.name("talking")
    docker.shell(name, TALK)
    logged(rest, name, "out 5")
    logged(rest, name, "err 5")
    return name


@pytest.fixture(scope="module")
def turns(docker: Docker, talking: str) -> list[str]:
    """What it wrote, as Docker dated it: on a busy machine Docker reads a line late."""
    lines = docker.logged(talking)
    assert sorted(lines) == sorted(TURNS)
    by_stream = sorted(lines, key=lambda line: line.startswith("err"))
    assert lines != by_stream, "the streams did not interleave; this test would show nothing"
    return lines


def test_both_streams_come_in_the_order_they_were_written(
    reader: Reader, talking: str, turns: list[str]
) -> None:
    assert log_lines(reader, talking) == turns


def test_one_stream_can_be_asked_for(reader: Reader, talking: str) -> None:
    assert log_lines(reader, talking, stream="stderr") == [f"err {i}" for i in range(1, 6)]


def test_the_newest_lines_are_the_ones_returned(
    reader: Reader, talking: str, turns: list[str]
) -> None:
    assert log_lines(reader, talking, lines=3) == turns[-3:]


def test_grep_keeps_matching_lines(reader: Reader, talking: str) -> None:
    assert log_lines(reader, talking, grep="err [24]") == ["err 2", "err 4"]


def test_timestamps_are_put_in_front_and_rise(rest: Rest, talking: str, turns: list[str]) -> None:
    lines = rest.logs(rest.expect(talking)["id"], timestamps="true")
    stamps = [line.split(" ", 1)[0] for line in lines]
    assert [line.split(" ", 1)[1] for line in lines] == turns
    assert stamps == sorted(stamps) and len(set(stamps)) == len(stamps)
    assert all(stamp.startswith("20") and stamp.endswith("Z") for stamp in stamps), stamps


@pytest.fixture(scope="module")
def terminal(docker: Docker, rest: Rest) -> str:
    """A TTY container: no frames, lines end in CR LF, colours and worse in between."""
    name = docker.name("terminal")
    script = "echo plain; printf '\\033[31mred\\033[0m \\007bell\\n'; echo last; sleep 86400"
    docker.shell(name, script, tty=True)
    logged(rest, name, "last")
    return name


def test_a_terminal_is_read_without_carriage_returns_and_control_characters(
    reader: Reader, terminal: str
) -> None:
    lines = log_lines(reader, terminal)
    assert (lines[0], lines[-1]) == ("plain", "last")
    assert "red" in lines[1] and "bell" in lines[1]
    odd = [c for line in lines for c in line if not c.isprintable()]
    assert not odd, f"control characters {odd!r} in {lines!r}"


@pytest.fixture(scope="module")
def long_line(docker: Docker, rest: Rest) -> str:
    """Docker delivers it in three pieces."""
    name = docker.name("long")
    script = f"head -c {LONG} /dev/zero | tr '\\0' x; echo; echo after; sleep 86400"
    docker.shell(name, script)
    logged(rest, name, "after")
    return name


def test_a_line_longer_than_docker_s_pieces_is_one_line(rest: Rest, long_line: str) -> None:
    lines = rest.logs(rest.expect(long_line)["id"])
    assert [len(line) for line in lines] == [LONG, len("after")]


def test_a_long_line_does_not_crowd_out_the_one_after_it(reader: Reader, long_line: str) -> None:
    lines = log_lines(reader, long_line)
    assert len(lines) == 2
    assert lines[0].startswith("xxxxxxxx") and lines[1] == "after"


def test_a_container_that_said_nothing_has_an_empty_log(
    reader: Reader, docker: Docker, rest: Rest
) -> None:
    name = docker.name("silent")
    if not rest.find(name):
        docker.run(name)
        rest.until(name)
    assert log_lines(reader, name) == []


def test_a_log_driver_without_logs_is_said_so(reader: Reader, docker: Docker, rest: Rest) -> None:
    name = docker.name("nolog")
    if not rest.find(name):
        docker.run(name, log_driver="none")
        rest.until(name)
    assert "log" in reader.refusal("get_container_logs", container_id=name).lower()
