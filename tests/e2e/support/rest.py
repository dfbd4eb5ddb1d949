"""The collector's REST API as the tests read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from .sse import EventStream
from .wait import wait_until


class Rest:
    """A client of `/api/v1`, over TCP or over a unix socket (`unix:/path`)."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = None
        if url.startswith("unix:"):
            transport = httpx.HTTPTransport(uds=url.removeprefix("unix:"))
            url = "http://localhost"
        self.http = httpx.Client(
            base_url=f"{url}/api/v1", headers=headers, transport=transport, timeout=15
        )

    def get(self, path: str, **params: Any) -> Any:
        """The JSON answer of a GET that must succeed."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def containers(self, **params: Any) -> list[dict[str, Any]]:
        """All listed containers, out of their groups."""
        groups = self.get("/containers", **params)["groups"]
        return [container for group in groups for container in group["containers"]]

    def find(self, name: str, **params: Any) -> dict[str, Any] | None:
        """The listed container of that name, or nothing."""
        found = [c for c in self.containers(**params) if c["name"] == name]
        assert len(found) <= 1, f"{name} is listed {len(found)} times"
        return found[0] if found else None

    def expect(self, name: str) -> dict[str, Any]:
        """The listed container of that name."""
        found = self.find(name)
        assert found is not None, f"{name} is not listed"
        return found

    def until(self, name: str, **facts: Any) -> dict[str, Any]:
        """Waits until the container is listed with these facts."""

        def so() -> dict[str, Any]:
            found = self.expect(name)
            seen = {key: found.get(key) for key in facts}
            assert seen == facts, seen
            return found

        return wait_until(so, f"{name} is listed with {facts}")

    def until_last_words(self, name: str) -> None:
        """Waits until the newest end has its last log lines; they are read after the end."""
        row = self.expect(name)["id"]
        what = f"the last words of {name} are stored"
        wait_until(lambda: self.transitions(row)[0].get("log_snippet"), what)

    def until_gone(self, name: str) -> None:
        """Waits until the container is not listed any more."""
        wait_until(lambda: self.find(name) is None, f"{name} is gone")

    def detail(self, container_id: int) -> dict[str, Any]:
        return self.get(f"/containers/{container_id}")

    def transitions(self, container_id: int, **params: Any) -> list[dict[str, Any]]:
        """Newest first."""
        path = f"/containers/{container_id}/transitions"
        return self.get(path, limit=1000, **params)["transitions"]

    def logs(self, container_id: int, **params: Any) -> list[str]:
        """Oldest line first."""
        return self.get(f"/containers/{container_id}/logs", **params)["lines"]

    def runtime(self) -> dict[str, Any]:
        return self.get("/runtime/status")

    def until_connected(self, connected: bool) -> None:
        """Waits until the engine is heard, or is known not to be."""
        what = "the engine is heard" if connected else "the engine is missed"
        wait_until(lambda: self.runtime()["connected"] is connected, what)

    @contextmanager
    def stream(
        self, path: str, headers: dict[str, str] | None = None, **params: Any
    ) -> Iterator[EventStream]:
        """A server-sent event stream, open as soon as the answer's head is there."""
        timeout = httpx.Timeout(10, read=120)
        request = self.http.build_request(
            "GET", path, params=params, headers=headers, timeout=timeout
        )
        answer = self.http.send(request, stream=True)
        stream = EventStream(answer)
        try:
            yield stream
        finally:
            stream.close()

    def close(self) -> None:
        self.http.close()
