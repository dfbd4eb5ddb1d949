"""Reading server-sent events as they arrive."""

import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from .wait import wait_until


@dataclass
class Frame:
    """One event, or one comment."""

    event: str = ""
    id: str | None = None
    text: str = ""
    comment: str | None = None
    arrived: float = field(default_factory=time.monotonic)

    @property
    def data(self) -> Any:
        return json.loads(self.text)


class EventStream:
    """An open stream whose frames a thread collects."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.status = answer.status_code
        self.headers = answer.headers
        self.frames: list[Frame] = []
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def events(self) -> list[Frame]:
        return [frame for frame in list(self.frames) if frame.comment is None]

    @property
    def comments(self) -> list[Frame]:
        return [frame for frame in list(self.frames) if frame.comment is not None]

    def expect(self, event: str, **facts: Any) -> Frame:
        """Waits for an event of that name whose data has these facts."""

        def seen() -> Frame | None:
            for frame in self.events:
                if frame.event == event and facts.items() <= frame.data.items():
                    return frame
            return None

        frame = wait_until(
            seen,
            f"event {event} with {facts}",
            context=lambda: [(f.event, f.text) for f in self.events][-20:],
        )
        assert frame is not None
        return frame

    def close(self) -> None:
        """Hangs up. Closing alone would not wake the thread that reads."""
        connection = self.answer.extensions["network_stream"].get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self.answer.close()

    def _read(self) -> None:
        frame = Frame()
        try:
            for line in self.answer.iter_lines():
                if not line:
                    if frame.event or frame.text:
                        self.frames.append(frame)
                    frame = Frame()
                    continue
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match name:
                    case "":
                        self.frames.append(Frame(comment=value))
                    case "event":
                        frame.event = value
                    case "id":
                        frame.id = value
                    case "data":
                        frame.text = f"{frame.text}\n{value}" if frame.text else value
        except (httpx.HTTPError, httpx.StreamError, OSError):
            pass  # the test closed it, or the server is gone; either way it has ended
        finally:
            self.ended.set()
