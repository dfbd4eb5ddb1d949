"""A real image registry on loopback: Debian's docker-registry, and images pushed to it."""

import base64
import fcntl
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from .docker import Docker
from .nginx import free_port
from .places import SCRATCH, short_folder
from .wait import wait_until

UNPACKED = SCRATCH / "registry" / "usr" / "bin" / "docker-registry"
USER, PASSWORD = "tester", "secret"
# The registry takes bcrypt alone.
HTPASSWD = "tester:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI = "application/vnd.oci.image.index.v1+json"
KINDS = f"{MANIFEST}, {LIST}, {OCI}"


class Registry:
    """One registry. With a certificate it speaks TLS, and with `login` it asks for a password."""

    def __init__(
        self, docker: Docker, *, tls: tuple[Path, Path] | None = None, login: bool = False
    ) -> None:
        installed = shutil.which("docker-registry")
        program = UNPACKED if UNPACKED.is_file() else installed and Path(installed)
        assert program, "docker-registry is not there; tests/run fetches it"
        self.docker = docker
        self.folder = short_folder("registry")
        self.host = f"127.0.0.1:{free_port()}"
        self.tls = tls
        self.login = login
        self.config = self.folder / "config.yml"
        self.config.write_text(json.dumps(self._configuration()))
        self._log = self.folder / "log"
        with self._log.open("wb") as log:
            command = [program, "serve", self.config]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        url = f"{'https' if tls else 'http'}://{self.host}"
        auth = (USER, PASSWORD) if login else None
        self.http = httpx.Client(base_url=url, auth=auth, verify=False, timeout=10)
        wait_until(self._answers, "the registry answers")
        self._pushed = 0

    def _configuration(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": self.host}
        if self.tls:
            http["tls"] = {"certificate": str(self.tls[0]), "key": str(self.tls[1])}
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": http,
        }
        if self.login:
            passwords = self.folder / "htpasswd"
            passwords.write_text(HTPASSWD + "\n")
            config["auth"] = {"htpasswd": {"realm": "Tests, and more", "path": str(passwords)}}
        return config

    def _answers(self) -> bool:
        try:
            return self.http.get("/v2/").status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def _credentials(self) -> dict[str, str]:
        own = {"username": USER, "password": PASSWORD, "serveraddress": self.host}
        text = json.dumps(own if self.login else {})
        return {"X-Registry-Auth": base64.urlsafe_b64encode(text.encode()).decode()}

    def push(self, repository: str, tag: str, version: str, *instructions: str) -> str:
        """Pushes an image that differs from others by its version, and by more instructions of a
        Dockerfile; its reference."""
        name = f"{self.host}/{repository}"
        lines = [f"LABEL version={version}", 'CMD ["sleep", "86400"]', *instructions]
        changes = [("changes", line) for line in lines]
        made = self.docker.create(self.docker.name(f"image-{self._pushed}"))
        params = [("container", made), ("repo", name), ("tag", tag), *changes]
        self.docker.call("POST", "/commit", params=params, json={})
        self.docker.remove(made)
        answer = self.docker.call(
            "POST", f"/images/{name}/push", params={"tag": tag}, headers=self._credentials
        )
        assert '"error"' not in answer.text, answer.text
        self._pushed += 1
        return f"{name}:{tag}"

    def pull(self, reference: str) -> None:
        """Pulls through the engine, whatever it has."""
        answer = self.docker.call(
            "POST", "/images/create", params={"fromImage": reference}, headers=self._credentials
        )
        assert '"error"' not in answer.text, answer.text

    def digest(self, repository: str, tag: str) -> str:
        """What a tag names now."""
        path = f"/v2/{repository}/manifests/{tag}"
        answer = self.http.head(path, headers={"Accept": KINDS})
        assert answer.status_code == 200, answer
        return answer.headers["Docker-Content-Digest"]

    def index(
        self, repository: str, tag: str, children: dict[str, str], *, kind: str = LIST
    ) -> str:
        """Puts an index: platforms such as `arm/v7` and the digests of their images. Its digest."""
        manifests = []
        for word, digest in children.items():
            architecture, _, variant = word.partition("/")
            system = "unknown" if architecture == "unknown" else "linux"
            platform = {"os": system, "architecture": architecture, "variant": variant}
            manifests.append(
                {
                    "mediaType": MANIFEST,
                    "digest": digest,
                    "size": len(self._manifest(repository, digest)),
                    "platform": {key: to for key, to in platform.items() if to},
                }
            )
        body = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
        path = f"/v2/{repository}/manifests/{tag}"
        answer = self.http.put(path, content=json.dumps(body), headers={"Content-Type": kind})
        assert answer.status_code == 201, answer.text
        return answer.headers["Docker-Content-Digest"]

    def _manifest(self, repository: str, digest: str) -> bytes:
        path = f"/v2/{repository}/manifests/{digest}"
        return self.http.get(path, headers={"Accept": MANIFEST}).content

    def retag(self, repository: str, source: str, tag: str) -> None:
        """Lets a tag name what another one names."""
        path = f"/v2/{repository}/manifests"
        found = self.http.get(f"{path}/{source}", headers={"Accept": KINDS})
        kind = {"Content-Type": found.headers["Content-Type"]}
        answer = self.http.put(f"{path}/{tag}", content=found.content, headers=kind)
        assert answer.status_code == 201, answer.text

    def asked(self) -> list[str]:
        """All requests of collectors so far, such as `HEAD /v2/app/manifests/1.0`."""
        lines = re.findall(r'"((?:GET|HEAD) \S+) HTTP/[^"]*" \d+ .*"maintenant/', self._log_text)
        return [line.split("?")[0] for line in lines]

    @property
    def _log_text(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """From now on nothing answers."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=10)

    def close(self) -> None:
        self.stop()
        self.http.close()
        for container in self.docker.own():
            if container["Image"].startswith(self.host):
                self.docker.remove(container["Id"])
        patterns = [f"{self.host}/*", f"{self.host}/*/*"]
        filters = json.dumps({"reference": patterns})
        listed = self.docker.call("GET", "/images/json", params={"filters": filters}).json()
        for image in listed:
            self.docker._http.delete(f"/images/{image['Id']}", params={"force": True})
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def only_scan() -> Iterator[None]:
    """For the length of a `with` block no other worker's collector scans: each looks at all
    containers of the engine, and asks the registries of all tests."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with (SCRATCH / "scan.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@contextmanager
def registry(docker: Docker, **options: Any) -> Iterator[Registry]:
    """A registry for the length of a `with` block."""
    here = Registry(docker, **options)
    try:
        yield here
    finally:
        here.close()
