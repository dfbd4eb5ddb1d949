"""Caddy and nginx with the files of `deploy/proxy`: names and ports are changed, nothing else."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import pki
from .nginx import KEPT_IN_FOLDER, UNPACKED, free_port
from .places import REPOSITORY, SCRATCH, short_folder
from .wait import wait_until

FILES = REPOSITORY / "deploy" / "proxy"
CADDY = SCRATCH / "caddy" / "usr" / "bin" / "caddy"
KINDS = ("caddy", "nginx")
# What Debian's nginx.conf is around `conf.d/*.conf`, without paths of the machine.
AROUND = """
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
""" + KEPT_IN_FOLDER + """
    include {folder}/maintenant.conf;
}}
"""


@dataclass(frozen=True)
class Behind:
    """Who is published; each as `host:port`."""

    gateways: Sequence[str]
    collector: str


class Published:
    """A proxy on loopback with TLS, as `localhost`, whose authority is in the file `authority`."""

    def __init__(self, kind: str, behind: Behind) -> None:
        self.kind = kind
        self.folder = short_folder(kind)
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        root = pki.authority("proxy")
        self.authority, _ = pki.write(self.folder, "root", root)
        own = pki.server(root, name="localhost", sans=["localhost", "127.0.0.1"])
        chain, key = pki.write(self.folder, "own", own)
        self._environment = dict(os.environ)
        command = self._caddy if kind == "caddy" else self._nginx
        with (self.folder / "output.log").open("wb") as log:
            self._process = subprocess.Popen(
                command(behind, chain, key),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._listens, f"{kind} listens", context=self.logs)

    def logs(self) -> str:
        """Everything it wrote anywhere."""
        return "\n".join(
            log.read_text(errors="replace") for log in sorted(self.folder.glob("*.log"))
        )

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _caddy(self, behind: Behind, chain: Path, key: Path) -> list[str | Path]:
        assert CADDY.is_file(), "caddy is not there; tests/run fetches it"
        # The file as it is: all that differs is said by variables.
        self._environment |= {
            "HOME": str(self.folder),
            "SITE": self.url,
            "GATEWAYS": " ".join(behind.gateways),
            "COLLECTOR": behind.collector,
            "SITE_OPTIONS": f"bind 127.0.0.1\ntls {chain} {key}",
            "GLOBAL_OPTIONS": "admin off\nauto_https disable_redirects",
        }
        return [CADDY, "run", "--adapter", "caddyfile", "--config", FILES / "Caddyfile"]

    def _nginx(self, behind: Behind, chain: Path, key: Path) -> list[str | Path]:
        installed = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        program = UNPACKED / "usr" / "sbin" / "nginx"
        program = program if program.is_file() else Path(installed or "")
        assert program.is_file(), "nginx is not there; tests/run fetches it"
        text = (FILES / "nginx.conf").read_text()
        gateway = "server gateway:8080 max_fails=0;"
        changes = {
            gateway: "\n".join(gateway.replace("gateway:8080", one) for one in behind.gateways),
            "collector:8081": behind.collector,
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.port} ssl http2;",
            "/etc/nginx/tls/tls.crt": str(chain),
            "/etc/nginx/tls/tls.key": str(key),
        }
        for old, new in changes.items():
            assert text.count(old) == 1, f"{old} is not there once"
            text = text.replace(old, new)
        (self.folder / "maintenant.conf").write_text(text)
        around = self.folder / "nginx.conf"
        around.write_text(AROUND.format(folder=self.folder))
        return [program, "-p", self.folder, "-c", around]

    def _listens(self) -> bool:
        assert self._process.poll() is None, f"{self.kind} ended: {self.logs()[-2000:]}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
