"""A second Docker engine that may be killed, hung and restarted.

It has its own containerd, its own data and its own network namespace: without the latter a
dockerd started with `--bridge=none` deletes the `docker0` bridge of the machine's own engine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .docker import Docker, static_busybox
from .mounts import unmount_below
from .places import short_folder
from .processes import mentioning
from .wait import wait_until


class Engine:
    """dockerd and containerd in a folder of their own. Needs root."""

    def __init__(self, folder: Path | None = None, options: Sequence[str] = ()) -> None:
        assert os.geteuid() == 0, "a second Docker engine needs root"
        self.folder = folder or short_folder("engine")
        self._options = options
        self.socket = self.folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self._containerd: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._docker: Docker | None = None

    def start(self) -> Docker:
        """Starts what does not run and waits until the engine answers."""
        if self._containerd is None:
            self._containerd = self._spawn("containerd", ["--config", self._containerd_config()])
            wait_until(self._containerd_socket.exists, "containerd listens")
        # A new network namespace has a loopback interface that is down.
        command = ["--net", "sh", "-c", '"$0" ip link set lo up && exec "$@"']
        command += [str(static_busybox()), "dockerd", "-H", self.host, *self._options]
        command += ["--containerd", str(self._containerd_socket)]
        command += ["--data-root", str(self.folder / "data")]
        command += ["--exec-root", str(self.folder / "exec")]
        command += ["--pidfile", str(self.folder / "docker.pid")]
        command += ["--config-file", str(self._empty_config())]
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
        self._dockerd = self._spawn("unshare", command)
        if self._docker is None:
            self._docker = Docker(self.socket)
        docker = self._docker
        # A restarted engine first ends what its predecessor left running.
        wait_until(docker.answers, "the second engine answers", context=self.log_tail)
        docker.ensure_image()
        return docker

    @property
    def inside(self) -> list[str]:
        """What to put before a command that is to run in the engine's network."""
        assert self._dockerd is not None
        return ["nsenter", f"--net=/proc/{self._dockerd.pid}/ns/net"]

    @property
    def is_started(self) -> bool:
        """Whether it was not killed since."""
        return self._dockerd is not None

    def kill(self) -> None:
        """`kill -9` of the daemon; its containers go on until it is back."""
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait()
        (self.folder / "docker.pid").unlink(missing_ok=True)
        self._dockerd = None

    def hang(self) -> None:
        """The daemon accepts connections and says nothing any more."""
        assert self._dockerd is not None
        self._dockerd.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._dockerd is not None
        self._dockerd.send_signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """The engine's last words, for a failing test."""
        log = self.folder / "unshare.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def close(self) -> None:
        """Ends everything and leaves nothing behind."""
        if self._dockerd is not None:
            self._dockerd.send_signal(signal.SIGCONT)
            if self._docker is not None and self._docker.answers():
                self._docker.clean_up()
            self._end(self._dockerd)
        if self._docker is not None:
            self._docker.close()
        if self._containerd is not None:
            self._end(self._containerd)
        # Shims of a daemon that was killed and never came back.
        for process in mentioning(self._containerd_socket):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _containerd_socket(self) -> Path:
        return self.folder / "containerd.sock"

    def _empty_config(self) -> Path:
        """Keeps the machine's own `/etc/docker/daemon.json` out of it."""
        path = self.folder / "daemon.json"
        path.write_text("{}\n")
        return path

    def _containerd_config(self) -> str:
        path = self.folder / "containerd.toml"
        path.write_text(
            "version = 2\n"
            f'root = "{self.folder}/containerd"\n'
            f'state = "{self.folder}/containerd-run"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self._containerd_socket}"\n'
        )
        return str(path)

    def _spawn(self, program: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        assert shutil.which(program), f"{program} is missing (Debian: apt-get install docker.io)"
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen([program, *arguments], stdout=log, stderr=log)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
