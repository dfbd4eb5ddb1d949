"""What happens to a container is told by every reader as it happened.

Each story happens once; the four readers then tell it.
"""

import json

import pytest
from conftest import System
from support.database import copied, select
from support.docker import UNTIL_TOLD, Docker, DockerError
from support.mcp_clients import Reader, ask_with_v1_client
from support.rest import Rest
from support.tools import described, listed, listing
from support.wait import wait_until

LOOP = "sleep 0.2; exit 7"
EAT_MEMORY = "x=a; while true; do x=$x$x; done"


@pytest.fixture(scope="module")
def running(docker: Docker, rest: Rest) -> str:
    name = docker.name("running")
    docker.run(name)
    rest.until(name, state="running")
    return name


def test_a_started_container_is_running(reader: Reader, running: str) -> None:
    assert listed(reader, running)["state"] == "running"
    detail = described(reader, running)
    assert detail["state"] == "running"
    assert "exit_code" not in detail or detail["exit_code"] is None


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_the_previous_python_sdk_reads_the_same(
    system: System, running: str, transport: str
) -> None:
    answer = ask_with_v1_client(system.target(transport), "list_containers", name=running)
    assert not answer.is_error, answer.text
    assert [container["state"] for container in answer.data["containers"]] == ["running"]


@pytest.fixture(scope="module")
def unhealthy(docker: Docker, rest: Rest) -> str:
    """Healthy first, then its health check fails."""
    name = docker.name("sick")
    check = ["sh", "-c", "test ! -e /tmp/sick"]
    container = docker.run(name, healthcheck=check)
    rest.until(name, state="running", health_status="healthy")
    docker.execute(container, ["touch", "/tmp/sick"])
    rest.until(name, state="running", health_status="unhealthy")
    return name


def test_a_failing_health_check_makes_it_unhealthy_and_lists_it_first(
    reader: Reader, unhealthy: str, running: str
) -> None:
    names = [container["name"] for container in listing(reader)]
    assert names.index(unhealthy) < names.index(running)
    found = listed(reader, unhealthy)
    assert (found["state"], found["health"]) == ("running", "unhealthy")


def test_the_change_of_health_is_a_transition_of_its_own(reader: Reader, unhealthy: str) -> None:
    newest = described(reader, unhealthy)["transitions"][0]
    assert newest["from"] == newest["to"] == "running"
    assert (newest["health_from"], newest["health_to"]) == ("healthy", "unhealthy")


@pytest.fixture(scope="module")
def crashed(docker: Docker, rest: Rest) -> str:
    name = docker.name("crashed")
    script = f"echo starting; {UNTIL_TOLD}; echo 'fatal: no database' >&2; exit 3"
    container = docker.shell(name, script)
    row = rest.until(name, state="running")["id"]
    # Docker dates a line when it reads it, and reads the two streams beside each other.
    wait_until(lambda: rest.logs(row) == ["starting"], "its first line is logged")
    docker.tell(container)
    rest.until(name, state="exited")
    rest.until_last_words(name)
    return name


def test_a_crash_tells_its_exit_code_and_that_nobody_asked_for_it(
    reader: Reader, crashed: str
) -> None:
    for seen in (listed(reader, crashed), described(reader, crashed)):
        assert (seen["state"], seen["exit_code"], seen["exit_reason"]) == ("exited", 3, "error")


def test_the_last_words_of_a_crash_are_in_its_newest_transition(
    reader: Reader, crashed: str
) -> None:
    newest = described(reader, crashed)["transitions"][0]
    assert (newest["to"], newest["exit_code"]) == ("exited", 3)
    assert newest["last_log_lines"] == ["starting", "fatal: no database"]


@pytest.mark.parametrize(("width", "kept"), [(20, 50), (1000, 10), (20_000, 1)])
def test_last_words_are_bounded_and_the_newest(
    docker: Docker, rest: Rest, width: int, kept: int
) -> None:
    """At most 50 lines and 10 KiB; one line that is longer leaves its end."""
    name = docker.name(f"talkative-{width}")
    line = f"printf '%0{width - 4}d-%03d\\n' 0 $i"
    talk = f"i=1; while [ $i -le 200 ]; do {line}; i=$((i + 1)); done; exit 1"
    container = docker.shell(name, f"{UNTIL_TOLD}; {talk}")
    rest.until(name, state="running")
    docker.tell(container)
    rest.until(name, state="exited")
    rest.until_last_words(name)
    words = rest.transitions(rest.expect(name)["id"])[0]["log_snippet"]
    assert len(words.encode()) <= 10_240
    numbers = [int(line[-3:]) for line in words.split("\n")]
    assert numbers == list(range(201 - kept, 201))


@pytest.fixture(scope="module")
def starved(docker: Docker, rest: Rest) -> str:
    """Killed by the kernel at 20 MB."""
    name = docker.name("starved")
    docker.shell(name, EAT_MEMORY, memory=20 * 2**20)
    rest.until(name, state="exited")
    return name


def test_an_oom_kill_is_called_an_oom_kill(reader: Reader, starved: str) -> None:
    for seen in (described(reader, starved), described(reader, starved)["transitions"][0]):
        assert seen["oom_killed"] is True
        assert (seen["exit_code"], seen["exit_reason"]) == (137, "oom_killed")
    assert listed(reader, starved)["exit_reason"] == "oom_killed"


@pytest.fixture(scope="module")
def looping(docker: Docker, rest: Rest) -> str:
    """Docker restarts it four times and then gives up."""
    name = docker.name("looping")
    container = docker.shell(name, LOOP, restart="on-failure", max_retries=4)
    docker.until_status(container, "exited")
    rest.until(name, state="exited", restart_count=4)
    return name


def test_every_death_of_a_restart_loop_is_recorded(reader: Reader, looping: str) -> None:
    detail = described(reader, looping)
    assert (detail["state"], detail["restart_count"], detail["exit_code"]) == ("exited", 4, 7)
    deaths = [t for t in detail["transitions"] if t.get("exit_code") == 7]
    assert [t["to"] for t in deaths] == ["exited", *["restarting"] * 4], detail["transitions"]


def test_loops_side_by_side_are_each_recorded_exactly(docker: Docker, rest: Rest) -> None:
    """Many at once: some events are told after the engine has already gone on."""
    names = [docker.name(f"loop-{number}") for number in range(12)]
    for name in names:
        docker.shell(name, LOOP, restart="on-failure", max_retries=4)
    for name in names:
        docker.until_status(name, "exited")
        rest.until(name, state="exited", restart_count=4)
    expected = ["exited", *["restarting"] * 4]
    wrong = {}
    for name in names:
        transitions = rest.transitions(rest.expect(name)["id"])
        deaths = [t["new_state"] for t in transitions if t.get("exit_code") == 7]
        if deaths != expected:
            wrong[name] = transitions
    what = f"{len(wrong)} of {len(names)} have other deaths than {expected}"
    assert not wrong, f"{what}: {json.dumps(wrong, indent=1)}"


@pytest.fixture(scope="module")
def failing(docker: Docker, rest: Rest) -> str:
    """Fails at once, for ever. Docker waits longer and longer before it starts it again."""
    name = docker.name("failing")
    docker.shell(name, "exit 7", restart="always")
    what = "it waits long for its next start"
    wait_until(lambda: rest.expect(name).get("restart_count", 0) >= 5, what)
    return name


def test_a_container_that_waits_for_its_next_start_is_restarting(
    reader: Reader, failing: str
) -> None:
    def seen() -> dict:
        found = listed(reader, failing)
        assert found["state"] == "restarting", found
        by_state = [c["name"] for c in listing(reader, state="restarting")]
        assert failing in by_state, by_state
        return found

    # Now and then it runs for a moment.
    assert wait_until(seen, "it is listed as restarting")["exit_code"] == 7


def test_an_update_of_the_restart_policy_is_noticed(
    docker: Docker, system: System, rest: Rest
) -> None:
    """Without it, the end would first be told as a final one. A resync comes too late to help."""
    name = docker.name("updated")
    container = docker.shell(name, "until test -e /tmp/end; do sleep 0.1; done; exit 5")
    row = rest.until(name, state="running")["id"]
    docker.update(container, RestartPolicy={"Name": "always"})

    def policy() -> str:
        statement = "SELECT restart_policy FROM containers WHERE id = ?"
        return select(copied(system.place), statement, row)[0][0]

    wait_until(lambda: policy().startswith("always"), "the new policy is stored")
    with rest.stream("/containers/events") as stream:
        docker.execute(container, ["touch", "/tmp/end"])
        stream.expect("container.state_changed", id=row, state="restarting", exit_code=5)
        told = [f.data["state"] for f in stream.events if f.data.get("id") == row]
    assert "exited" not in told, told
    deaths = [t["new_state"] for t in rest.transitions(row) if t.get("exit_code") == 5]
    assert deaths and set(deaths) == {"restarting"}, deaths


@pytest.fixture(scope="module")
def paused(docker: Docker, rest: Rest) -> str:
    name = docker.name("paused")
    container = docker.run(name)
    rest.until(name, state="running")
    docker.pause(container)
    rest.until(name, state="paused")
    return name


@pytest.fixture(scope="module")
def unpaused(docker: Docker, rest: Rest) -> str:
    name = docker.name("unpaused")
    container = docker.run(name)
    docker.pause(container)
    rest.until(name, state="paused")
    docker.unpause(container)
    rest.until(name, state="running")
    return name


def test_a_paused_container_is_paused(reader: Reader, paused: str) -> None:
    assert listed(reader, paused)["state"] == "paused"


def test_an_unpaused_container_runs_and_both_changes_are_recorded(
    reader: Reader, unpaused: str
) -> None:
    detail = described(reader, unpaused)
    assert detail["state"] == "running"
    assert [t["to"] for t in detail["transitions"][:2]] == ["running", "paused"]


@pytest.fixture(scope="module")
def signalled(docker: Docker, rest: Rest) -> str:
    """Got USR1, which is a `kill` event and no end."""
    name, marker = docker.name("signalled"), docker.name("marker")
    container = docker.run(name)
    rest.until(name, state="running")
    docker.kill(container, signal="USR1")
    docker.run(marker)  # events are in order: when this one is seen, the signal was seen too
    rest.until(marker, state="running")
    return name


def test_a_signal_that_ends_nothing_changes_nothing(reader: Reader, signalled: str) -> None:
    detail = described(reader, signalled)
    assert detail["state"] == "running"
    assert all(t["to"] != "exited" for t in detail["transitions"]), detail["transitions"]


@pytest.fixture(scope="module")
def stopped(docker: Docker, rest: Rest) -> str:
    """`docker stop`; it ignores SIGTERM, so that Docker kills it: 137 like an OOM kill."""
    name = docker.name("stopped")
    container = docker.run(name)
    rest.until(name, state="running")
    docker.stop(container, grace=1)
    rest.until(name, state="exited")
    return name


def test_a_stop_is_an_end_somebody_asked_for(reader: Reader, stopped: str) -> None:
    detail = described(reader, stopped)
    assert (detail["state"], detail["exit_reason"]) == ("exited", "requested")
    assert detail["exit_code"] == 137
    assert not detail.get("oom_killed")


@pytest.fixture(scope="module")
def finished(docker: Docker, rest: Rest) -> str:
    name = docker.name("finished")
    docker.run(name, ["true"])
    rest.until(name, state="completed")
    return name


def test_a_job_that_ends_with_0_is_completed(reader: Reader, finished: str) -> None:
    detail = described(reader, finished)
    assert (detail["state"], detail["exit_code"], detail["exit_reason"]) == (
        "completed",
        0,
        "completed",
    )


@pytest.fixture(scope="module")
def unstartable(docker: Docker, rest: Rest) -> str:
    """Its command does not exist. Docker refuses to start it, and sends no event about that."""
    name = docker.name("unstartable")
    container = docker.create(name, ["/no/such/program"])
    with pytest.raises(DockerError, match="no such file"):
        docker.start(container)
    wait_until(lambda: rest.expect(name).get("error_detail"), "the collector knows why")
    return name


def test_a_container_docker_cannot_start_says_why(reader: Reader, unstartable: str) -> None:
    detail = described(reader, unstartable)
    assert detail["state"] == "created"
    assert "no such file" in detail["error_detail"]


@pytest.fixture(scope="module")
def commandless(docker: Docker, rest: Rest) -> str:
    """Its shell does not find the command: exit code 127."""
    name = docker.name("commandless")
    docker.shell(name, "exec no-such-program")
    rest.until(name, state="exited")
    rest.until_last_words(name)
    return name


def test_a_command_that_is_not_found_never_really_ran(reader: Reader, commandless: str) -> None:
    detail = described(reader, commandless)
    assert (detail["exit_code"], detail["exit_reason"]) == (127, "cannot_start")
    assert "not found" in detail["transitions"][0]["last_log_lines"][0]


@pytest.fixture(scope="module")
def removed(docker: Docker, rest: Rest) -> str:
    name = docker.name("removed")
    container = docker.run(name)
    rest.until(name, state="running")
    docker.remove(container)
    rest.until_gone(name)
    return name


def test_a_removed_container_is_gone_from_the_list(reader: Reader, removed: str) -> None:
    assert removed not in [container["name"] for container in listing(reader)]


def test_a_removed_container_is_archived_not_forgotten(rest: Rest, removed: str) -> None:
    found = rest.find(removed, archived="true")
    assert found is not None and found["archived"] is True and found["archived_at"]
