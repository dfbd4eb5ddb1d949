"""A real OpenSSH server on loopback, and an ssh that knows it by the name `host`."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from .nginx import free_port
from .places import SCRATCH, TARGET, short_folder
from .wait import wait_until

UNPACKED = SCRATCH / "sshd"
HOST = "host"
# As root it wants a user `sshd` and an empty folder of its own; both are there for it alone.
NAMESPACE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mount --bind "$1" /etc/passwd
shift
exec "$@"
"""


class Sshd:
    """One server. It lets in who has the key that was made for it, as root, with our programs in
    `PATH`."""

    def __init__(self) -> None:
        root = UNPACKED if (UNPACKED / "usr/sbin/sshd").is_file() else Path("/")
        program = root / "usr/sbin/sshd"
        assert program.is_file(), "sshd is not there; tests/run fetches it"
        ssh = shutil.which("ssh")
        assert ssh, "ssh is not there; tests/run installs it"
        self.folder = short_folder("sshd")
        self.port = free_port()
        self._log = self.folder / "log"
        for name in ("server", "client"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(key, check=True)
        passwd = self.folder / "passwd"
        own = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
        others = Path("/etc/passwd").read_text().splitlines(keepends=True)
        passwd.write_text("".join(line for line in others if not line.startswith("sshd:")) + own)
        configuration = self.folder / "sshd_config"
        configuration.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {self.folder}/server\n"
            f"AuthorizedKeysFile {self.folder}/client.pub\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n"
            f"SetEnv PATH={TARGET / 'debug'}:/usr/bin:/bin\n"
        )
        self._write_client(ssh)
        libraries = [*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        serve = [str(program), "-D", "-e", "-f", str(configuration)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", str(passwd), *serve],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._until_listening()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def path(self) -> str:
        """A `PATH` whose `ssh` reads our configuration instead of `~/.ssh/config`."""
        return f"{self.folder}/bin:{os.environ['PATH']}"

    def forward(self, near: Path, far: Path) -> subprocess.Popen[bytes]:
        """`ssh -N -L near:far host`, once it forwards."""
        options = ["-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes"]
        tunnel = subprocess.Popen(
            [f"{self.folder}/bin/ssh", "-N", *options, "-L", f"{near}:{far}", HOST],
            stdin=subprocess.DEVNULL,
        )

        def forwards() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(str(near)) == 0

        wait_until(forwards, "ssh forwards", context=lambda: self.log)
        return tunnel

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_client(self, ssh: str) -> None:
        known = self.folder / "known_hosts"
        key = (self.folder / "server.pub").read_text()
        known.write_text(f"[127.0.0.1]:{self.port} {key}")
        configuration = self.folder / "ssh_config"
        configuration.write_text(
            f"Host {HOST}\n  HostName 127.0.0.1\n  Port {self.port}\n  User root\n"
            f"  IdentityFile {self.folder}/client\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {known}\n  StrictHostKeyChecking yes\n"
        )
        own = self.folder / "bin" / "ssh"
        own.parent.mkdir()
        own.write_text(f'#!/bin/sh\nexec {ssh} -F {configuration} "$@"\n')
        own.chmod(0o755)

    def _until_listening(self) -> None:
        def listens() -> bool:
            assert self.process.poll() is None, f"sshd ended: {self.log}"
            return "Server listening" in self.log

        wait_until(listens, "sshd listens", context=lambda: self.log)
