"""Headless Chromium: pictures and documents of pages."""

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .wait import wait_until

PHONE = (390, 1600)
DESK = (1100, 1500)
# Before the page's own scripts: notes what last became of its stream of events.
NOTING = """
window.EventSource = class extends EventSource {
  constructor(...given) {
    super(...given);
    for (const word of ['open', 'error']) {
      this.addEventListener(word, () => { window.streamed = word; });
    }
  }
};
"""


class Document:
    """A page that is open."""

    def __init__(self, evaluate: Callable[[str], Any]) -> None:
        self._evaluate = evaluate

    def __call__(self) -> str:
        """The document as it is at this moment."""
        return str(self.run("document.documentElement.outerHTML"))

    def until_stream(self, word: str) -> None:
        """Waits until its stream of events is `open`, or has come to an `error`."""
        what = f"the page's stream of events: {word}"
        wait_until(lambda: self.run("window.streamed") == word, what)

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        return self._evaluate(expression)


class Browser:
    """Debian's Chromium; `tests/run` installs it."""

    def __init__(self) -> None:
        found = shutil.which("chromium")
        assert found, "there is no chromium; `tests/run e2e` installs it"
        self.program = found

    def picture(
        self, url: str, to: Path, size: tuple[int, int] = DESK, *, dark: bool = False
    ) -> str:
        """Writes a picture of a page, and returns what the browser said of it."""
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        flags = [f"--screenshot={to}", f"--window-size={size[0]},{size[1]}", "--hide-scrollbars"]
        if dark:
            flags.append("--force-dark-mode")
            flags.append("--blink-settings=preferredColorScheme=0")
        said = self._run([*flags, url]).stderr
        assert to.stat().st_size > 1000, f"there is no picture of {url}: {said}"
        return said

    @contextmanager
    def open(self, url: str) -> Iterator[Document]:
        """Opens a page."""
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        with tempfile.TemporaryDirectory(prefix="mt-browser-", ignore_cleanup_errors=True) as profile:
            # It takes its orders from descriptor 3 and answers on 4, each message ended by a NUL.
            redirected = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out} {ours_out}>&- {ours_in}<&-'
            command = ["bash", "-c", redirected, "bash", self.program, *self._flags(profile)]
            process = subprocess.Popen(
                [*command, "--remote-debugging-pipe", "about:blank"],
                pass_fds=(theirs_in, theirs_out, ours_in, ours_out),
                stderr=subprocess.DEVNULL,
            )
            os.close(theirs_in)
            os.close(theirs_out)
            with os.fdopen(ours_out, "wb") as orders, os.fdopen(ours_in, "rb") as answers:
                number = itertools.count(1)

                def call(method: str, session: str | None = None, **params: Any) -> Any:
                    order = {"id": next(number), "method": method, "params": params}
                    if session:
                        order["sessionId"] = session
                    orders.write(json.dumps(order).encode() + b"\0")
                    orders.flush()
                    while True:
                        answer = json.loads(_until_nul(answers))
                        if answer.get("id") == order["id"]:
                            assert "error" not in answer, answer
                            return answer["result"]

                target = call("Target.createTarget", url="about:blank")["targetId"]
                session = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
                call("Page.enable", session)
                call("Page.addScriptToEvaluateOnNewDocument", session, source=NOTING)
                call("Page.navigate", session, url=url)

                def evaluate(expression: str) -> Any:
                    answer = call(
                        "Runtime.evaluate", session, expression=expression, returnByValue=True
                    )
                    assert "exceptionDetails" not in answer, answer
                    return answer["result"].get("value")

                try:
                    yield Document(evaluate)
                finally:
                    process.terminate()
                    process.wait(timeout=30)

    def _flags(self, profile: str) -> list[str]:
        return [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
        ]

    def _run(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        with tempfile.TemporaryDirectory(prefix="mt-browser-", ignore_cleanup_errors=True) as profile:
            return subprocess.run(
                [self.program, *self._flags(profile), "--enable-logging=stderr", *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )


def _until_nul(stream: IO[bytes]) -> bytes:
    message = bytearray()
    while (byte := stream.read(1)) != b"\0":
        assert byte, "the browser has ended"
        message += byte
    return bytes(message)
