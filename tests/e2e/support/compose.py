"""An installation by docker-compose, as an operator makes one."""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .docker import Docker, DockerError
from .mcp_clients import MODERN, Reader, Target
from .places import REPOSITORY, short_folder
from .wait import wait_until

COMPOSE = shutil.which("docker-compose")
TOKEN = "/run/maintenant/api-token"


class Installation:
    """One Compose project of the repository's own files, on ports that are free."""

    def __init__(self, docker: Docker, files: Sequence[str], **settings: str) -> None:
        assert COMPOSE, "docker-compose is not there; tests/run installs it"
        self.docker = docker
        self.project = f"mtc{docker.session}{os.urandom(2).hex()}"
        self.folder = short_folder("compose")
        self._files = [word for file in files for word in ("-f", str(REPOSITORY / file))]
        self.settings = {
            "MAINTENANT_COLLECTOR_IMAGE": f"maintenant-test/{self.project}-collector",
            "MAINTENANT_GATEWAY_IMAGE": f"maintenant-test/{self.project}-gateway",
            "MAINTENANT_COLLECTOR_PORT": "0",
            "MAINTENANT_PORT": "0",
            "MAINTENANT_UPDATE_INTERVAL": "off",
            **settings,
        }

    def compose(self, *arguments: str, **settings: str) -> str:
        """One call of docker-compose, which must succeed; its output."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAINTENANT_", "DOCKER_", "COMPOSE_"))
        }
        own = {"DOCKER_HOST": self.docker.host, "COMPOSE_PROJECT_NAME": self.project}
        # The engine's own builder: the newer one is a program of its own that may not be there.
        own |= {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}
        done = subprocess.run(
            [str(COMPOSE), "--project-directory", str(REPOSITORY), *self._files, *arguments],
            env={**environment, **own, **self.settings, **settings},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        said = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, f"docker-compose {arguments}: {said[-4000:]}"
        return done.stdout

    def up(self, *arguments: str, **settings: str) -> None:
        """`docker-compose up -d`, and everything it started is healthy."""
        self.settings |= settings
        self.compose("up", "-d", "--build", *arguments)
        wait_until(self.is_healthy, "every container is healthy", within=120, context=self.logs)

    def is_healthy(self) -> bool:
        checked = [one["State"] for one in self.containers() if "Health" in one["State"]]
        states = [state["Health"]["Status"] for state in checked]
        assert states and set(states) == {"healthy"}, states
        return True

    def containers(self, service: str | None = None) -> list[dict[str, Any]]:
        """What Docker says of the project's containers, stopped ones included."""
        labels = [f"com.docker.compose.project={self.project}"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        filters = {"label": labels}
        listed = self.docker.call(
            "GET", "/containers/json", params={"all": "true", "filters": json.dumps(filters)}
        )
        found = [self.docker.inspect(one["Id"]) for one in listed.json()]
        return sorted(found, key=lambda one: str(one["Name"]))

    def container(self, service: str) -> dict[str, Any]:
        """The one container of a service."""
        found = self.containers(service)
        assert len(found) == 1, [one["Name"] for one in found]
        return found[0]

    def address(self, service: str, port: int) -> str:
        """Where a port is published on this machine."""
        bound = self.container(service)["NetworkSettings"]["Ports"][f"{port}/tcp"][0]
        return f"127.0.0.1:{bound['HostPort']}"

    def network(self, name: str) -> str:
        return f"{self.project}_{name}"

    def secret(self) -> str:
        """The API token, read as an operator does: by `docker cp` out of the container."""
        path = f"/containers/{self.container('collector')['Id']}/archive"
        packed = self.docker.call("GET", path, params={"path": TOKEN}).content
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            file = archive.extractfile(Path(TOKEN).name)
            assert file is not None
            return file.read().decode().strip()

    def reader(self, base_url: str, token: str | None = None) -> Reader:
        return Reader("compose", Target.http(base_url, token), MODERN)

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--tail=30")[-6000:]

    def down(self) -> None:
        """Removes containers, networks, volumes and images of the project, and what joined it."""
        mine = {one["Id"] for one in self.containers()}
        filters = {"label": [f"com.docker.compose.project={self.project}"]}
        networks = self.docker.call("GET", "/networks", params={"filters": json.dumps(filters)})
        for network in networks.json():
            inside = self.docker.call("GET", f"/networks/{network['Id']}").json()["Containers"]
            for guest in inside.keys() - mine:
                self.docker.remove(guest)
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        for image in ("COLLECTOR", "GATEWAY"):
            name = self.settings[f"MAINTENANT_{image}_IMAGE"]
            try:
                self.docker.call("DELETE", f"/images/{name}", params={"force": "true"})
            except DockerError as error:
                if ": 404 " not in str(error):
                    raise
        shutil.rmtree(self.folder, ignore_errors=True)


def free_subnet() -> str:
    """A network of 256 addresses that no route of this machine leads to."""
    routes = Path("/proc/net/route").read_text()
    for third in range(256):
        # The kernel writes the address in the byte order of the machine.
        if f"00{third:02X}FB0A" not in routes:
            return f"10.251.{third}.0/24"
    raise AssertionError("no free network")
