"""Logs: complete, in order, and harmless to read."""

import pytest
from support.docker import Docker
from support.mcp_clients import Reader
from support.rest import Rest
from support.tools import log_lines
from support.wait import wait_until

LONG = 40_000
LATE = 400
COUNT = f"""
i=1; while [ $i -le 20 ]; do echo line $i; i=$((i + 1)); sleep 0.1; done
i=1; while [ $i -le {LATE} ]; do echo late $i; i=$((i + 1)); done
sleep 86400
"""
TURNS = [f"{stream} {turn}" for turn in range(1, 6) for stream in ("out", "err")]


def logged(rest: Rest, name: str, last: str) -> None:
    """Waits until the log has the line that is written last."""
    row = rest.until(name)["id"]
    what = f"{name} has logged {last!r}"
    wait_until(lambda: last in rest.logs(row, lines=1000), what)


@pytest.fixture(scope="module")
def talking(docker: Docker, rest: Rest) -> str:
    """Writes to stdout and stderr in turns. Docker dates a line when it reads it, on a busy machine
    late: each is written once the one before was read."""
    name = docker.name("talking")
    container = docker.run(name)
    for line in TURNS:
        descriptor = 1 if line.startswith("out") else 2
        docker.execute(container, ["sh", "-c", f"echo {line} >/proc/1/fd/{descriptor}"])
        logged(rest, name, line)
    return name


def test_both_streams_come_in_the_order_they_were_written(reader: Reader, talking: str) -> None:
    assert log_lines(reader, talking) == TURNS


def test_one_stream_can_be_asked_for(reader: Reader, talking: str) -> None:
    assert log_lines(reader, talking, stream="stderr") == [f"err {i}" for i in range(1, 6)]


def test_the_newest_lines_are_the_ones_returned(reader: Reader, talking: str) -> None:
    assert log_lines(reader, talking, lines=3) == TURNS[-3:]


def test_grep_keeps_matching_lines(reader: Reader, talking: str) -> None:
    assert log_lines(reader, talking, grep="err [24]") == ["err 2", "err 4"]


def test_timestamps_are_put_in_front_and_rise(rest: Rest, talking: str) -> None:
    lines = rest.logs(rest.expect(talking)["id"], timestamps="true")
    stamps = [line.split(" ", 1)[0] for line in lines]
    assert [line.split(" ", 1)[1] for line in lines] == TURNS
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
    name = docker.name("mute")
    if not rest.find(name):
        docker.run(name, log_driver="none")
        rest.until(name)
    text = reader.refusal("get_container_logs", container_id=name)
    assert "logging driver" in text, text


@pytest.fixture(scope="module")
def counting(docker: Docker, rest: Rest) -> str:
    """Counts to twenty in about two seconds, then says much at once."""
    name = docker.name("counting")
    docker.shell(name, COUNT)
    logged(rest, name, f"late {LATE}")
    return name


@pytest.fixture(scope="module")
def written(docker: Docker, rest: Rest, counting: str) -> dict[str, str]:
    """When it wrote which line, as the collector shows it."""
    shown = rest.logs(rest.expect(counting)["id"], lines=1000, timestamps="true")
    stamps = {line: stamp for stamp, _, line in (text.partition(" ") for text in shown)}
    assert list(stamps) == docker.logged(counting)
    assert len(set(stamps.values())) == len(stamps), "lines of one moment; ends are not clear"
    return stamps


MIDDLE = [f"line {number}" for number in range(8, 14)]


def test_since_and_until_take_the_times_shown(
    rest: Rest, counting: str, written: dict[str, str]
) -> None:
    row = rest.expect(counting)["id"]
    first, last = written[MIDDLE[0]], written[MIDDLE[-1]]
    assert rest.logs(row, lines=1000, since=first, until=last) == MIDDLE
    assert rest.logs(row, lines=1000, until=last) == [f"line {n}" for n in range(1, 14)]
    after = rest.logs(row, lines=1000, since=first)
    assert after == [line for line in written if written[line] >= first]


def test_a_span_of_time_is_read_by_the_times_a_reader_was_shown(
    reader: Reader, counting: str, written: dict[str, str]
) -> None:
    shown = log_lines(reader, counting, lines=1000, timestamps=True)
    stamps = {line: stamp for stamp, _, line in (text.partition(" ") for text in shown)}
    span = {"since": stamps[MIDDLE[0]], "until": stamps[MIDDLE[-1]]}
    assert log_lines(reader, counting, lines=1000, **span) == MIDDLE


def test_an_earlier_moment_is_found_behind_much_that_came_later(
    reader: Reader, counting: str, written: dict[str, str]
) -> None:
    """Few lines are asked for, and more than those were written since."""
    span = {"since": written[MIDDLE[0]], "until": written[MIDDLE[-1]]}
    assert log_lines(reader, counting, lines=10, **span) == MIDDLE
    assert log_lines(reader, counting, lines=3, **span) == MIDDLE[-3:]


def test_nothing_was_written_before_the_first_line(
    reader: Reader, counting: str, written: dict[str, str]
) -> None:
    before = {"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}
    assert log_lines(reader, counting, **before) == []


@pytest.fixture(scope="module")
def one_sided(docker: Docker, rest: Rest) -> str:
    """Warns three times, then says much on the other stream."""
    name = docker.name("one-sided")
    docker.shell(name, f"for i in 1 2 3; do echo warn $i >&2; done\n{COUNT}")
    logged(rest, name, f"late {LATE}")
    return name


def test_one_stream_is_found_behind_much_of_the_other(reader: Reader, one_sided: str) -> None:
    wanted = ["warn 1", "warn 2", "warn 3"]
    assert log_lines(reader, one_sided, stream="stderr", lines=10) == wanted
    assert log_lines(reader, one_sided, stream="stderr", lines=2) == wanted[1:]
