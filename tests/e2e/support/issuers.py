"""What the real identity providers of the tests have in common."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

BASE_URL = "https://monitor.example.org"
AUDIENCE = f"{BASE_URL}/mcp"
ELSEWHERE = "https://elsewhere.example.org/mcp"
SCOPES = ("monitor:read", "logs:read", "monitor:write", "status:write")
CALLBACK = "http://127.0.0.1:9/callback"

ALICE, BOB = "alice", "bob"
PEOPLE = {ALICE: "alice@example.com", BOB: "bob@example.com"}
MACHINE, MACHINE_SECRET = "reporter", "a-secret-of-the-tests"
# A client that chose the address of a person as its id.
IMPOSTOR = PEOPLE[ALICE]
LAPTOP = "laptop"


@dataclass(frozen=True)
class Tokens:
    """What a token endpoint gave."""

    access: str
    id: str | None = None


class Issuer(Protocol):
    """An identity provider that runs."""

    # As in `iss`.
    name: str
    jwks_url: str

    def machine(
        self, *, client: str = MACHINE, scope: str = SCOPES[0], audience: str = AUDIENCE
    ) -> Tokens:
        """By client credentials (RFC 6749 §4.4)."""

    def person(
        self, who: str = ALICE, *, scope: str = SCOPES[0], audience: str = AUDIENCE
    ) -> Tokens:
        """By code and PKCE (RFC 6749 §4.1, RFC 7636), as a client on a laptop does."""

    def stop(self) -> None:
        """Ends it; `start` brings it back as it was."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class Pkce:
    """One run of the code flow: the verifier and its challenge."""

    def __init__(self, scope: str, audience: str) -> None:
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.query = {
            "response_type": "code",
            "client_id": LAPTOP,
            "redirect_uri": CALLBACK,
            "scope": f"openid email {scope}",
            "state": "state",
            "nonce": secrets.token_urlsafe(8),
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "resource": audience,
        }

    def exchange(self, location: str) -> dict[str, str]:
        """The form for the token endpoint, from the redirect that carries the code."""
        answer = parse_qs(urlsplit(location).query)
        assert "code" in answer, f"no code in {location}"
        return {
            "grant_type": "authorization_code",
            "code": answer["code"][0],
            "redirect_uri": CALLBACK,
            "client_id": LAPTOP,
            "code_verifier": self.verifier,
            "resource": self.query["resource"],
        }


def claims(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    return _part(token, 1)


def header(token: str) -> dict[str, Any]:
    return _part(token, 0)


def _part(token: str, index: int) -> dict[str, Any]:
    text = token.split(".")[index]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return said
