"""A Docker engine, spoken to over its HTTP API on a unix socket.

Only containers of the own session are touched: each carries a label and a name prefix.
"""

import io
import json
import secrets
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from .places import SCRATCH
from .wait import wait_until

IMAGE = "maintenant-test/busybox:1"
SESSION_LABEL = "maintenant-test.session"
APPLETS = ["sh", "echo", "false", "head", "printf", "sleep", "test", "touch", "tr", "true"]
# In a script: it goes on when `Docker.tell` says so. What it did before has been seen by then.
UNTIL_TOLD = "until test -e /tmp/told; do sleep 0.1; done"
FOREVER = ["sleep", "86400"]


class DockerError(AssertionError):
    """The engine refused a call of the test itself."""


class Docker:
    """One engine and the containers this session made on it."""

    def __init__(
        self, socket: Path | str = "/var/run/docker.sock", image: str = IMAGE, network: str = ""
    ) -> None:
        self.socket = str(socket)
        self.host = f"unix://{self.socket}"
        self.image = image
        self.network = network
        self.session = secrets.token_hex(3)
        transport = httpx.HTTPTransport(uds=self.socket)
        self._http = httpx.Client(transport=transport, base_url="http://docker", timeout=60)

    def name(self, word: str) -> str:
        """A container name no other session uses."""
        return f"mt-{self.session}-{word}"

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One call of the Engine API; anything but success is an error of the test."""
        answer = self._http.request(method, path, **options)
        if answer.status_code >= 400:
            raise DockerError(f"{method} {path}: {answer.status_code} {answer.text.strip()}")
        return answer

    def answers(self) -> bool:
        """Whether an engine listens and is well."""
        try:
            return self._http.get("/_ping", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def ensure_image(self) -> None:
        """Makes the test image from a static busybox; nothing is pulled from anywhere."""
        if self._http.get(f"/images/{self.image}/json").status_code == 200:
            return
        repo, tag = self.image.rsplit(":", 1)
        params = [("fromSrc", "-"), ("repo", repo), ("tag", tag)]
        params += [("changes", 'CMD ["/bin/sh"]'), ("changes", "ENV PATH=/bin")]
        headers = {"Content-Type": "application/x-tar"}
        self.call("POST", "/images/create", params=params, content=_rootfs(), headers=headers)

    def create(
        self,
        name: str,
        command: Sequence[str] = FOREVER,
        *,
        labels: dict[str, str] | None = None,
        healthcheck: Sequence[str] | None = None,
        restart: str = "no",
        max_retries: int = 0,
        memory: int = 0,
        tty: bool = False,
        stop_signal: str | None = None,
        log_driver: str | None = None,
        network: str | None = None,
        cpus: float = 0,
        user: str | None = None,
        host_config: dict[str, Any] | None = None,
    ) -> str:
        """Creates a container and returns its id. Without a command it sleeps. What is in
        `host_config`, in the Engine API's words, comes last."""
        second = 1_000_000_000
        body: dict[str, Any] = {
            "Image": self.image,
            "Cmd": list(command),
            "Tty": tty,
            "Labels": {SESSION_LABEL: self.session, **(labels or {})},
            "HostConfig": {
                "RestartPolicy": {"Name": restart, "MaximumRetryCount": max_retries},
                "Memory": memory,
                "NanoCpus": int(cpus * 1_000_000_000),
                "NetworkMode": network or self.network or "default",
            },
        }
        body["HostConfig"].update(host_config or {})
        if user is not None:
            body["User"] = user
        if healthcheck:
            body["Healthcheck"] = {
                "Test": ["CMD", *healthcheck],
                "Interval": second,
                "Timeout": 10 * second,
                "Retries": 2,
            }
        if stop_signal:
            body["StopSignal"] = stop_signal
        if log_driver:
            body["HostConfig"]["LogConfig"] = {"Type": log_driver}
        created = self.call("POST", "/containers/create", params={"name": name}, json=body)
        return created.json()["Id"]

    def start(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/start")

    def run(self, name: str, command: Sequence[str] = FOREVER, **options: Any) -> str:
        """`docker run -d`: creates, starts, and returns the id."""
        container = self.create(name, command, **options)
        self.start(container)
        return container

    def shell(self, name: str, script: str, **options: Any) -> str:
        """Runs a shell script as a container."""
        return self.run(name, ["sh", "-c", script], **options)

    def stop(self, container: str, grace: int = 1) -> None:
        self.call("POST", f"/containers/{container}/stop", params={"t": grace})

    def kill(self, container: str, signal: str = "KILL") -> None:
        self.call("POST", f"/containers/{container}/kill", params={"signal": signal})

    def pause(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/pause")

    def unpause(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/unpause")

    def rename(self, container: str, name: str) -> None:
        self.call("POST", f"/containers/{container}/rename", params={"name": name})

    def update(self, container: str, **host_config: Any) -> None:
        """`docker update`, in the Engine API's words."""
        self.call("POST", f"/containers/{container}/update", json=host_config)

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}", params={"force": True, "v": True})

    def inspect(self, container: str) -> dict[str, Any]:
        return self.call("GET", f"/containers/{container}/json").json()

    def status(self, container: str) -> str:
        """Docker's own word for the container's state."""
        return self.inspect(container)["State"]["Status"]

    def until_status(self, container: str, status: str) -> None:
        """Waits until Docker itself says so."""
        what = f"Docker says that {container} is {status}"
        wait_until(lambda: self.status(container) == status, what)

    def wait(self, container: str) -> int:
        """Waits for the container's end and returns its exit code."""
        return self.call("POST", f"/containers/{container}/wait").json()["StatusCode"]

    def execute(self, container: str, command: Sequence[str]) -> None:
        """`docker exec`: returns when the command has ended, whatever its result."""
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        exec_id = self.call("POST", f"/containers/{container}/exec", json=body).json()["Id"]
        self.call("POST", f"/exec/{exec_id}/start", json={"Detach": False, "Tty": False})

    def tell(self, container: str) -> None:
        """Lets a script go on behind its `UNTIL_TOLD`."""
        self.execute(container, ["touch", "/tmp/told"])

    def logged(self, container: str) -> list[str]:
        """Lines of a container without a terminal in the order of Docker's own timestamps."""
        params = {"stdout": "true", "stderr": "true", "timestamps": "true"}
        rest = self.call("GET", f"/containers/{container}/logs", params=params).content
        lines = []
        while rest:
            size = int.from_bytes(rest[4:8], "big")  # of the frame that follows its eight bytes
            lines.append(rest[8 : 8 + size].decode().rstrip("\n"))
            rest = rest[8 + size :]
        return [line.partition(" ")[2] for line in sorted(lines)]

    def own(self) -> list[dict[str, Any]]:
        """All containers of this session, running or not."""
        filters = json.dumps({"label": [f"{SESSION_LABEL}={self.session}"]})
        params = {"all": "true", "filters": filters}
        return self.call("GET", "/containers/json", params=params).json()

    def clean_up(self) -> None:
        """Removes every container of this session."""
        for container in self.own():
            try:
                self.remove(container["Id"])
            except DockerError as error:
                if ": 404 " not in str(error) and ": 409 " not in str(error):
                    raise

    def close(self) -> None:
        self._http.close()


def _rootfs() -> bytes:
    """A root file system with nothing but busybox."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        program = static_busybox().read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(program), 0o755
        archive.addfile(entry, io.BytesIO(program))
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()


def static_busybox() -> Path:
    """A busybox that needs no libraries: the one `tests/run` fetched, or an installed one."""
    for path in (SCRATCH / "busybox" / "bin" / "busybox", Path("/bin/busybox")):
        if path.is_file() and _is_static(path.read_bytes()):
            return path
    raise AssertionError("no static busybox; `apt-get install busybox-static`, or use tests/run")


def _is_static(program: bytes) -> bool:
    """Whether a 64-bit ELF program has no `PT_INTERP` header, that is, asks for no loader."""
    if program[:5] != b"\x7fELF\x02":
        return False
    (start,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    kinds = (struct.unpack_from("<I", program, start + i * size)[0] for i in range(count))
    return 3 not in kinds
