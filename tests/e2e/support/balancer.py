"""nginx in front of several gateways: round robin, no affinity, as `docs` describe it."""

import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .nginx import KEPT_IN_FOLDER, UNPACKED, free_port
from .places import short_folder
from .wait import wait_until

# A request that reached a gateway is not sent again: it may have changed something. One that found
# no connection is. Answers are passed on as they come, since some are streams.
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
""" + KEPT_IN_FOLDER + """
    upstream gateways {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_connect_timeout 2s;
            proxy_next_upstream error timeout;
            proxy_read_timeout 1h;
            proxy_buffering off;
            proxy_request_buffering off;
            client_max_body_size 2m;
        }}
    }}
}}
"""


class Balancer:
    """One nginx that shares calls out among gateways, given as `host:port`."""

    def __init__(self, gateways: Sequence[str]) -> None:
        installed = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        program = UNPACKED / "usr" / "sbin" / "nginx"
        program = program if program.is_file() else Path(installed or "")
        assert program.is_file(), "nginx is not there; tests/run fetches it"
        self.folder = short_folder("balancer")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        servers = "\n        ".join(
            f"server {gateway} max_fails=1 fail_timeout=2s;" for gateway in gateways
        )
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(folder=self.folder, servers=servers, port=self.port)
        )
        command = [program, "-p", self.folder, "-c", configuration]
        with (self.folder / "output.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._listens, "nginx listens", context=self.log)

    def log(self) -> str:
        """What it complained about."""
        logs = (self.folder / "output.log", self.folder / "error.log")
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in logs if log.exists())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _listens(self) -> bool:
        assert self._process.poll() is None, f"nginx ended: {self.log()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
