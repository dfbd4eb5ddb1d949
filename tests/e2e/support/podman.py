"""Podman's Docker-compatible socket, out of unpacked packages: nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

from .docker import Docker
from .mounts import unmount_below
from .places import SCRATCH, short_folder
from .processes import mentioning
from .wait import wait_until

UNPACKED = SCRATCH / "podman"
IMAGE = "localhost/maintenant-test/busybox:latest"


class Podman:
    """`podman system service` with its own configuration and storage. Needs root and runc."""

    def __init__(self) -> None:
        installed = shutil.which("podman")
        program = UNPACKED / "usr" / "bin" / "podman"
        self.program = program if program.is_file() else installed and Path(installed)
        assert self.program, "Podman is not there; tests/run fetches it, or apt-get install podman"
        self.folder = short_folder("podman")
        self.socket = self.folder / "podman.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Docker:
        command = [str(self.program), "system", "service", "--time=0", f"unix://{self.socket}"]
        with (self.folder / "podman.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment(), stdout=log, stderr=log
            )
        wait_until(self.socket.exists, "Podman listens", context=self.log)
        # Bridged networks need plugins; the tests need no network.
        docker = Docker(self.socket, image=IMAGE, network="none")
        wait_until(docker.answers, "Podman answers", context=self.log)
        docker.ensure_image()
        return docker

    def log(self) -> str:
        return (self.folder / "podman.log").read_text(errors="replace")[-2000:]

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)
        # One `podman container cleanup` per container may still be at work.
        wait_until(lambda: not mentioning(self.folder), "Podman's helpers have ended")
        unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        """Podman reads its settings from here instead of `/etc/containers`."""
        runc = shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert runc, "runc is not there (Debian: apt-get install docker.io)"
        conmon = UNPACKED / "usr" / "bin" / "conmon"
        conmon = conmon if conmon.is_file() else Path("/usr/bin/conmon")
        folders = [str(path.parent) for path in UNPACKED.glob("usr/lib/*/libsubid.so*")]
        libraries = ":".join(dict.fromkeys(folders))
        containers = self.folder / "containers.conf"
        containers.write_text(
            "[containers]\n"
            'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
            'log_driver = "k8s-file"\n'
            "[engine]\n"
            'cgroup_manager = "cgroupfs"\n'
            'events_logger = "file"\n'
            'runtime = "runc"\n'
            f'conmon_path = ["{conmon}"]\n'
            # conmon reports a container's end by running podman again.
            f'conmon_env_vars = ["PATH={os.environ["PATH"]}", "LD_LIBRARY_PATH={libraries}"]\n'
            f'tmp_dir = "{self.folder}/tmp"\n'
            "[engine.runtimes]\n"
            f'runc = ["{runc}"]\n'
        )
        storage = self.folder / "storage.conf"
        storage.write_text(
            "[storage]\n"
            'driver = "vfs"\n'
            f'graphroot = "{self.folder}/storage"\n'
            f'runroot = "{self.folder}/run"\n'
        )
        policy = self.folder / ".config" / "containers" / "policy.json"
        policy.parent.mkdir(parents=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "LD_LIBRARY_PATH": libraries,
        }
