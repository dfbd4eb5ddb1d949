"""Heartbeats as their jobs see them: an address, and the signals sent there."""

from dataclasses import dataclass
from typing import Any

import httpx

from .rest import Rest
from .wait import wait_until


@dataclass
class Heartbeat:
    """One heartbeat of a collector."""

    rest: Rest
    id: int
    url: str

    @classmethod
    def create(cls, rest: Rest, name: str = "job", **timing: Any) -> "Heartbeat":
        """A new one; an hour's interval where nothing is said of it."""
        if "schedule" not in timing:
            timing = {"interval_seconds": 3600, "grace_seconds": 60, **timing}
        answer = rest.http.post("/heartbeats", json={"name": name, **timing})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        origin = str(rest.http.base_url).removesuffix("/api/v1/")
        return cls(rest, made["id"], f"{origin}/ping/{made['uuid']}")

    @property
    def uuid(self) -> str:
        return self.url.rpartition("/")[2]

    def ping(
        self, signal: str = "", *, method: str = "GET", status: int = 200, **request: Any
    ) -> httpx.Response:
        """Sends a signal, such as `start` or `3`."""
        url = f"{self.url}/{signal}" if signal else self.url
        answer = httpx.request(method, url, timeout=20, **request)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        return answer

    def read(self) -> dict[str, Any]:
        """As REST tells it."""
        return self.rest.get(f"/heartbeats/{self.id}")["heartbeat"]

    def is_so(self, **facts: Any) -> dict[str, Any] | None:
        """As REST tells it, if these facts hold."""
        told = self.read()
        return told if facts.items() <= told.items() else None

    def expect(self, **facts: Any) -> dict[str, Any]:
        """As REST tells it; these facts must hold now. `None` is what is left out."""
        told = self.read()
        seen = {key: told.get(key) for key in facts}
        assert seen == facts, told
        return told

    def until(self, **facts: Any) -> dict[str, Any]:
        """Waits until these facts hold."""
        return wait_until(lambda: self.is_so(**facts), f"the heartbeat is {facts}")

    def pings(self, **page: Any) -> list[dict[str, Any]]:
        """Newest first."""
        return self.rest.get(f"/heartbeats/{self.id}/pings", **page)["pings"]

    def runs(self) -> list[dict[str, Any]]:
        """Newest first."""
        return self.rest.get(f"/heartbeats/{self.id}/executions")["executions"]

    def today(self) -> dict[str, Any]:
        """Uptime of the collector's present day."""
        return self.rest.get(f"/heartbeats/{self.id}/uptime/daily", days=1)["days"][0]

    def all_pings(self) -> list[dict[str, Any]]:
        """Every one, page by page, newest first."""
        found: list[dict[str, Any]] = []
        while page := self.pings(limit=500, offset=len(found)):
            found += page
        return found
