"""A real PostgreSQL with TLS, on a port of its own."""

import os
import shutil
import subprocess
from pathlib import Path

from .nginx import free_port
from .places import SCRATCH, short_folder
from .wait import wait_until

UNPACKED = SCRATCH / "postgres"
# It refuses to run as root.
UNPRIVILEGED = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Postgres:
    """One server in a folder of its own. It asks for no password and lets nobody but us in."""

    def __init__(self, chain: Path | None = None, key: Path | None = None) -> None:
        self.folder = short_folder("postgres")
        self.port = free_port()
        self._log = self.folder / "log"
        programs = _programs()
        libraries = [*UNPACKED.glob("usr/lib/*-linux-gnu"), *UNPACKED.glob("lib/*-linux-gnu")]
        path = ":".join(str(library) for library in libraries)
        self._environment = {**os.environ, "LD_LIBRARY_PATH": path, "LC_ALL": "C"}
        options = ["-c", f"unix_socket_directories={self.folder}"]
        options += ["-c", "listen_addresses=127.0.0.1"]
        if chain and key:
            options += ["-c", "ssl=on"]
            for name, file in (("cert", chain), ("key", key)):
                own = self.folder / f"server.{name}"
                shutil.copy(file, own)
                own.chmod(0o600)
                options += ["-c", f"ssl_{name}_file={own}"]
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, 65534, 65534)
        data = str(self.folder / "data")
        self._run([str(programs / "initdb"), "-D", data, "-A", "trust", "--no-sync"])
        with self._log.open("wb") as log:
            command = [str(programs / "postgres"), "-D", data, "-p", str(self.port), "-F", *options]
            self._process = subprocess.Popen(
                [*UNPRIVILEGED, *command], env=self._environment, stdout=log, stderr=log, cwd="/"
            )
        what = "PostgreSQL accepts connections"
        wait_until(lambda: "ready to accept" in self.log(), what, context=self.log)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, command: list[str]) -> None:
        command = [*UNPRIVILEGED, *command]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=60, cwd="/"
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _programs() -> Path:
    for root in (UNPACKED, Path("/")):
        found = sorted((root / "usr" / "lib" / "postgresql").glob("*/bin/postgres"))
        if found:
            return found[-1].parent
    raise AssertionError("no PostgreSQL; tests/run fetches it, or apt-get install postgresql")
