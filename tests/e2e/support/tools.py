"""The four tools as the tests read them."""

from typing import Any

from .mcp_clients import Reader
from .wait import wait_until


def listing(reader: Reader, **filters: Any) -> list[dict[str, Any]]:
    """All listed containers, over all pages, in the order of the answer."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(50):
        page = reader.call("list_containers", limit=100, **filters, **cursor)
        found += page["containers"]
        if not page.get("next_cursor"):
            return found
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError("the list has no end")


def listed(reader: Reader, name: str) -> dict[str, Any]:
    """The listed container of that name."""
    found = [container for container in listing(reader) if container["name"] == name]
    assert len(found) == 1, f"{name} is listed {len(found)} times"
    return found[0]


def until_running(reader: Reader, name: str) -> None:
    """Waits until the container is listed as running; while Docker is slow that is not known."""
    what = f"{name} is listed as running"
    wait_until(lambda: listed(reader, name)["state"] == "running", what)


def described(reader: Reader, name: str) -> dict[str, Any]:
    """`get_container`, its facts and its transitions in one mapping."""
    answer = reader.call("get_container", container_id=name, transitions=50)
    return {**answer["container"], "transitions": answer["transitions"]}


def log_lines(reader: Reader, name: str, **options: Any) -> list[str]:
    """The lines of `get_container_logs`, oldest first."""
    return reader.call("get_container_logs", container_id=name, **options)["lines"]


def health(reader: Reader) -> dict[str, Any]:
    """`get_health`."""
    return reader.call("get_health")
