"""A real nginx as what is probed: statuses, redirects, slow answers, TLS, mail with STARTTLS."""

import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .places import SCRATCH, short_folder
from .wait import wait_until

UNPACKED = SCRATCH / "nginx"
# Within `http {}`, for an nginx that keeps everything in one folder.
KEPT_IN_FOLDER = """\
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;"""
STATUSES = (200, 201, 204, 304, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
LOG_FORMAT = (
    '{"method": "$request_method", "uri": "$request_uri", "host": "$http_host",'
    ' "agent": "$http_user_agent", "authorization": "$http_authorization",'
    ' "cookie": "$http_cookie", "x_token": "$http_x_token", "sni": "$ssl_server_name",'
    ' "port": $server_port, "status": $status}'
)


@dataclass(frozen=True)
class _Tls:
    """A certificate chain (PEM, the server's own first) shown on a port under a name."""

    port: int
    chain: Path
    key: Path
    name: str
    protocols: str


class Nginx:
    """Debian's nginx on loopback. Add servers, then `start`.

    Every HTTP and HTTPS server answers the same paths:

    | path | answer |
    |---|---|
    | `/status/N` | that status, for each of `STATUSES` |
    | `/text` | `status: fine`, with the header `X-Version: v2 beta` |
    | `/echo` | what was asked for and with which headers, one `name: value` a line |
    | `/redirect/N` | 302 to `/redirect/N-1`, up to 25, by path alone; `/redirect/0` is 200 |
    | `/loop` | 302 to itself |
    | `/to/N?url=U` | a redirect of that status to U, for each of `REDIRECTS` |
    | `/private` | 401 without `user:password` as basic authorisation |
    | `/big` | 256 KiB that end in `the end` |
    | `/slow` | 256 KiB at 1,000 bytes a second |
    | `/silent` | nothing for a minute |
    """

    def __init__(self) -> None:
        installed = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        program = UNPACKED / "usr" / "sbin" / "nginx"
        self.program = program if program.is_file() else installed and Path(installed)
        assert self.program, "nginx is not there; tests/run fetches it, or apt-get install nginx"
        self.folder = short_folder("nginx")
        self.port = free_port()
        self._ports = [self.port]
        self._tls: list[_Tls] = []
        self._mail: list[str] = []
        # Its queue takes connections and nobody ever answers them.
        self._silent = socket.create_server(("127.0.0.1", 0))
        self._process: subprocess.Popen[bytes] | None = None

    # --- servers ----------------------------------------------------------------------------

    def tls(
        self,
        chain: Path,
        key: Path,
        *,
        name: str = "_",
        port: int | None = None,
        protocols: str = "TLSv1.2 TLSv1.3",
    ) -> int:
        """An HTTPS server; its port. On a port that has one already it answers to `name` alone.

        `protocols` may be old ones: `TLSv1 TLSv1.1`.
        """
        port = port or free_port()
        self._ports.append(port)
        self._tls.append(_Tls(port, chain, key, name, protocols))
        return port

    def smtp(self, chain: Path, key: Path) -> int:
        """An SMTP server with STARTTLS; its port."""
        return self._mail_server("smtp", chain, key)

    def imap(self, chain: Path, key: Path) -> int:
        """An IMAP server with STARTTLS; its port."""
        return self._mail_server("imap", chain, key)

    def url(self, path: str = "/status/200") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts it; after `stop` on the same ports."""
        self._write()
        command = [str(self.program), "-p", str(self.folder), "-c", str(self._configuration)]
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._listens, "nginx listens", context=self.log)

    def reload(self) -> None:
        """Reads certificates and servers anew, soon after."""
        self._write()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def close(self) -> None:
        self.stop()
        self._silent.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what it saw ------------------------------------------------------------------------

    def requests(self) -> list[dict[str, object]]:
        """Requests so far, oldest first: method, uri, headers of note, SNI, port and status."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def log(self) -> str:
        texts = [self.folder / "output.log", self.folder / "error.log"]
        found = [text.read_text(errors="replace") for text in texts if text.exists()]
        return "\n".join(found)[-2000:]

    # --- configuration ----------------------------------------------------------------------

    @property
    def _configuration(self) -> Path:
        return self.folder / "nginx.conf"

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"nginx ended at once: {self.log()}")
        for port in self._ports:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True

    def _mail_server(self, protocol: str, chain: Path, key: Path) -> int:
        port = free_port()
        self._ports.append(port)
        self._mail.append(
            f"server {{ listen 127.0.0.1:{port}; protocol {protocol}; starttls on;"
            f" ssl_certificate {chain}; ssl_certificate_key {key}; }}"
        )
        return port

    def _write(self) -> None:
        text = "x" * (256 * 1024)
        (self.folder / "big.txt").write_text(text + "the end")
        (self.folder / "passwords").write_text("user:{PLAIN}password\n")
        (self.folder / "locations.conf").write_text("\n".join(self._locations()))
        secured = [
            f"server {{ listen 127.0.0.1:{tls.port} ssl; server_name {tls.name};"
            f" ssl_certificate {tls.chain}; ssl_certificate_key {tls.key};"
            # OpenSSL speaks old protocols at this level alone.
            f" ssl_protocols {tls.protocols}; ssl_ciphers DEFAULT:@SECLEVEL=0;"
            f" include {self.folder}/locations.conf; }}"
            for tls in self._tls
        ]
        temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        self._configuration.write_text(
            "\n".join(
                [
                    *self._modules(),
                    "daemon off; user root; worker_processes 1;",
                    f"pid {self.folder}/nginx.pid; lock_file {self.folder}/nginx.lock;",
                    f"error_log {self.folder}/error.log notice;",
                    "events { worker_connections 1024; }",
                    "http {",
                    *(f"{name}_temp_path {self.folder}/{name};" for name in temporary),
                    f"log_format seen escape=json '{LOG_FORMAT}';",
                    f"access_log {self.folder}/access.log seen;",
                    "default_type text/plain; ssl_session_cache off; server_tokens off;",
                    "absolute_redirect off;",
                    f"server {{ listen 127.0.0.1:{self.port} backlog=4096;",
                    f"include {self.folder}/locations.conf; }}",
                    *secured,
                    "}",
                    *self._mail_block(),
                ]
            )
        )

    def _locations(self) -> list[str]:
        echoed = {
            "method": "$request_method",
            "host": "$http_host",
            "agent": "$http_user_agent",
            "authorization": "$http_authorization",
            "cookie": "$http_cookie",
            "x-token": "$http_x_token",
            "sni": "$ssl_server_name",
        }
        echo = "".join(f"{name}: {variable}\\n" for name, variable in echoed.items())
        silent = self._silent.getsockname()[1]
        chain = [
            f"location = /redirect/{hop} {{ return 302 /redirect/{hop - 1}; }}"
            for hop in range(1, 26)
        ]
        return [
            *(f"location = /status/{code} {{ return {code}; }}" for code in STATUSES),
            'location = /text { add_header X-Version "v2 beta"; return 200 "status: fine\\n"; }',
            f'location = /echo {{ return 200 "{echo}"; }}',
            *chain,
            "location = /redirect/0 { return 200; }",
            "location = /loop { return 302 /loop; }",
            *(f"location = /to/{code} {{ return {code} $arg_url; }}" for code in REDIRECTS),
            "location = /private { auth_basic private;"
            f" auth_basic_user_file {self.folder}/passwords; alias {self.folder}/big.txt; }}",
            f"location = /big {{ alias {self.folder}/big.txt; }}",
            f"location = /slow {{ alias {self.folder}/big.txt; limit_rate 1000; }}",
            f"location = /silent {{ proxy_pass http://127.0.0.1:{silent}; }}",
        ]

    def _mail_block(self) -> list[str]:
        if not self._mail:
            return []
        # Nobody logs in, so nobody is ever asked there.
        nobody = f"auth_http 127.0.0.1:{self._silent.getsockname()[1]}/;"
        return ["mail {", nobody, "server_name mail.example;", *self._mail, "}"]

    def _modules(self) -> list[str]:
        if not self._mail:
            return []
        module = Path("usr/lib/nginx/modules/ngx_mail_module.so")
        places = (UNPACKED / module, Path("/") / module)
        found = next((place for place in places if place.is_file()), None)
        assert found, "nginx's mail module is not there (Debian: libnginx-mod-mail)"
        return [f"load_module {found};"]


def free_port() -> int:
    """A port on which nobody listens, and that nobody takes meanwhile: no outgoing connection, no
    other worker of pytest and, for long, no other caller."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + 1_000 * (worker % 12)
    return itertools.cycle(random.sample(range(first, first + 1_000), 1_000))


_PORTS = _ports()
