"""The project's programs as processes: started on a free port, watched through their log."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from .places import binary, short_folder
from .rest import Rest
from .wait import wait_until


def clean_environment(**settings: str) -> dict[str, str]:
    """The caller's environment without settings of ours, plus these."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAINTENANT_", "DOCKER_")) and not name.lower().endswith("_proxy")
    }
    # Several collectors watch one engine; only those that are tried on it look for updates.
    own = {"MAINTENANT_LOG_FORMAT": "json", "MAINTENANT_UPDATE_INTERVAL": "off"}
    # What a test has just done is read through the gateway at once.
    own["MAINTENANT_MCP_CACHE"] = "0"
    return {**kept, **own, **settings}


class Program:
    """One running process of ours."""

    def __init__(
        self,
        name: str,
        *arguments: str,
        folder: Path,
        before: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.name = name
        self.folder = folder
        self.arguments = arguments
        self.settings = {"MAINTENANT_ADDR": "127.0.0.1:0", **settings}
        self._log = folder / f"{Path(name).name}.{len(list(folder.glob('*.log')))}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, binary(name), *arguments],
                cwd=folder,
                env=clean_environment(**self.settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """Everything it wrote to stderr so far."""
        return self._log.read_text(errors="replace")

    @property
    def last_words(self) -> str:
        """The end of the log, for a failing test."""
        return "\n".join(self.log.splitlines()[-20:])

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """The log line by line; a line that is not JSON is a fault of the program."""
        complete = self.log.rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def until_listening(self) -> list[str]:
        """Waits for its `listening` lines and returns their addresses."""

        def addresses() -> list[str]:
            assert self.process.poll() is None, f"{self.name} ended: {self.last_words}"
            said = [line for line in self.log_lines if line.get("message") == "listening"]
            return [str(line["address"]) for line in said]

        what = f"{self.name} listens"
        return wait_until(addresses, what, context=lambda: self.last_words)

    @property
    def address(self) -> str:
        """`host:port` it really listens on."""
        return next(name for name in self.until_listening() if not name.startswith("unix:"))

    @property
    def url(self) -> str:
        scheme = "https" if "MAINTENANT_TLS_CERT" in self.settings else "http"
        return f"{scheme}://{self.address}"

    def until_ready(self) -> None:
        """Waits until a gateway has the keys of its issuers, and its collectors answer."""
        url = f"{self.url}/readyz"
        what = f"{self.name} is ready"
        ready = lambda: httpx.get(url, timeout=20).is_success  # noqa: E731
        wait_until(ready, what, context=lambda: self.last_words)

    def rest(self, token: str | None = None) -> Rest:
        """A client of its REST API."""
        return Rest(self.url, token or self.settings.get("MAINTENANT_API_TOKEN"))

    def terminate(self, within: float = 30) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(within)

    def wait(self, within: float = 30) -> int:
        """Waits for its end and returns the exit code."""
        try:
            return self.process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} still runs after {within:g} s: {self.last_words}"
            ) from None

    def stop(self) -> None:
        """SIGTERM, and the end must be a clean one."""
        code = self.terminate()
        assert code == 0, f"{self.name} ended with {code} after SIGTERM: {self.last_words}"

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def dispose(self) -> None:
        """Ends it if a test has not done so."""
        if self.process.poll() is None:
            self.kill()


class Workshop:
    """Starts programs in a folder of its own and ends what is left at the end."""

    def __init__(self) -> None:
        self.folder = short_folder("run")
        self.programs: list[Program] = []

    @property
    def database(self) -> Path:
        return self.folder / "maintenant.db"

    def start(
        self, name: str, *arguments: str, before: Sequence[str] = (), **settings: str
    ) -> Program:
        """Starts a program; `before` is a command that becomes it, such as `nsenter`."""
        program = Program(name, *arguments, folder=self.folder, before=before, **settings)
        self.programs.append(program)
        return program

    def collector(
        self, docker_host: str, *arguments: str, before: Sequence[str] = (), **settings: str
    ) -> Program:
        """A collector that watches this engine."""
        settings = {"MAINTENANT_DB": str(self.database), "DOCKER_HOST": docker_host, **settings}
        return self.start("maintenant-collector", *arguments, before=before, **settings)

    def gateway(self, upstream: str, **settings: str) -> Program:
        """A gateway that serves MCP over HTTP."""
        settings = {"MAINTENANT_URL": upstream, "MAINTENANT_MCP": "true", **settings}
        return self.start("maintenant-gateway", **settings)

    def close(self) -> None:
        for program in reversed(self.programs):
            program.dispose()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def workshop() -> Iterator[Workshop]:
    """A workshop for the length of a `with` block."""
    place = Workshop()
    try:
        yield place
    finally:
        place.close()


def run_to_end(name: str, *arguments: str, cwd: Path, **settings: str) -> "Ended":
    """Runs a program that is expected to end by itself."""
    done = subprocess.run(
        [binary(name), *arguments],
        cwd=cwd,
        env=clean_environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Ended:
    """What a program said before it ended."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self) -> str:
        return f"exit code {self.code}, stdout {self.stdout!r}, stderr {self.stderr!r}"
