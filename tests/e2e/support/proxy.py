"""A Docker socket proxy that lets through only what the collector says it needs."""

import asyncio
import re
import threading
from dataclasses import dataclass
from pathlib import Path

DOCUMENTED = (
    "/_ping",
    "/version",
    "/info",
    "/events",
    "/containers/json",
    "/containers/{id}/json",
    "/containers/{id}/logs",
    "/containers/{id}/stats",
    "/images/{id}/json",
)
_VERSION = re.compile(r"^/v1\.\d+(?=/)")
_REFUSAL = b'{"message":"forbidden by the socket proxy"}\n'


@dataclass(frozen=True)
class Call:
    """One call that reached the proxy."""

    method: str
    route: str
    allowed: bool


def route_of(path: str) -> str:
    """The documented form of a path, or the path itself when it is none of them."""
    bare = _VERSION.sub("", path.partition("?")[0])
    for route in DOCUMENTED:
        if re.fullmatch(route.replace("{id}", r"[0-9a-zA-Z_.-]+"), bare):
            return route
    return bare


class SocketProxy:
    """Forwards the documented calls, answers 403 to all others, and records every call."""

    def __init__(self, listen: Path, upstream: str) -> None:
        self.listen = listen
        self.host = f"unix://{listen}"
        self.calls: list[Call] = []
        self.refused: set[str] = set()
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20), "the proxy does not listen"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        serve = asyncio.start_unix_server(self._connection, str(self.listen))
        server = self._loop.run_until_complete(serve)
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            self._loop.run_until_complete(asyncio.wait([task]))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection: both sides are told to close after it."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, _, rest = head.partition(b"\r\n")
            method, path, _ = first.decode().split(" ", 2)
            route = route_of(path)
            allowed = method == "GET" and route in DOCUMENTED and route not in self.refused
            self.calls.append(Call(method, route, allowed))
            if allowed:
                head = first + b"\r\nConnection: close\r\n" + _without_connection(rest)
                await self._forward(head, reader, writer)
            else:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n")
                writer.write(b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(_REFUSAL))
                writer.write(_REFUSAL)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, FileNotFoundError):
            pass
        finally:
            writer.close()

    async def _forward(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        up_writer.write(head)
        answer = asyncio.create_task(_pump(up_reader, writer))
        hang_up = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait([answer, hang_up], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answer, hang_up):
                task.cancel()
            up_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


def _without_connection(head: bytes) -> bytes:
    """The header lines except `Connection`."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"connection:"))
