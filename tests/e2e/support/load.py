"""Calls of a tool over HTTP, one after the other, from several clients at once."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from .wait import wait_until

BODY = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "list_containers", "arguments": {}},
}
HEADERS = {"Accept": "application/json, text/event-stream"}


@dataclass
class Load:
    """Clients that call one after the other until told to stop."""

    url: str
    clients: int
    token: str | None = None
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()

    def _client(self) -> None:
        headers = {**HEADERS, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{self.url}/mcp", json=BODY, headers=headers)
                    well = answer.status_code == 200 and not _result(answer).get("isError")
                    said = f"{answer.status_code} {answer.text[:200]}"
                except (httpx.HTTPError, ValueError) as error:
                    well, said = False, repr(error)
                with self._lock:
                    self.answered += well
                    if not well:
                        self.failed.append(said)

    def until_answered(self, more: int) -> None:
        """Waits for this many further answers."""
        goal = self.answered + more
        wait_until(lambda: self.answered >= goal, f"{more} more answers", within=100)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)


def _result(answer: httpx.Response) -> dict[str, Any]:
    result: dict[str, Any] = answer.json().get("result", {"isError": True})
    return result
