"""Receivers of messages: webhooks over HTTP, e-mail over SMTP."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import AuthResult, LoginPassword

from .nginx import free_port


@dataclass
class Post:
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes
    answer: int | None = 200

    @property
    def key(self) -> str:
        """The same for every try of one message."""
        return self.headers["idempotency-key"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Takes posts and answers with a status, or not at all while `status` is `None`."""

    def __init__(self, port: int | None = None) -> None:
        self.status: int | None = 200
        self.posts: list[Post] = []
        # Called when a post was read, before it is answered.
        self.before_answer: Callable[[], object] = lambda: None
        self._closed = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.before_answer()
                answer = receiver.status
                receiver.posts.append(Post(self.path, headers, body, answer))
                if answer is None:
                    receiver._closed.wait()
                    return
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The posts are the log."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        # One that is free again for the next receiver of a test.
        self.port = port or free_port()
        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def taken(self) -> list[Post]:
        """What it said yes to, each message once, in the order of arrival."""
        taken = [post for post in self.posts if post.answer is not None and post.answer < 300]
        return list({post.key: post for post in reversed(taken)}.values())[::-1]

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiver(port: int | None = None) -> Iterator[Receiver]:
    one = Receiver(port)
    try:
        yield one
    finally:
        one.close()


@dataclass
class Mails:
    """What a mail server took."""

    port: int
    messages: list[Message]


@contextmanager
def mail_server(
    check: Callable[[str, str], bool] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Mails]:
    """A mail server; with `check` it asks for a user name and a password, with `tls` for STARTTLS."""
    taken: list[Message] = []

    class Keep(MessageHandler):
        def handle_message(self, message: Message) -> None:
            taken.append(message)

    def authenticate(_s: Any, _session: Any, _e: Any, _mechanism: str, data: Any) -> AuthResult:
        assert check is not None and isinstance(data, LoginPassword)
        right = check(data.login.decode(), data.password.decode())
        return AuthResult(success=right, handled=right)

    asks = check is not None
    controller = Controller(
        Keep(),
        hostname="127.0.0.1",
        port=free_port(),
        ready_timeout=40,
        authenticator=authenticate if asks else None,
        auth_required=asks,
        auth_require_tls=False,
        tls_context=tls,
        require_starttls=tls is not None,
    )
    controller.start()
    try:
        yield Mails(controller.port, taken)
    finally:
        controller.stop()
