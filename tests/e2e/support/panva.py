"""panva's oidc-provider (npm), a certified OpenID provider, on loopback."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from .issuers import (
    ALICE,
    AUDIENCE,
    CALLBACK,
    IMPOSTOR,
    LAPTOP,
    MACHINE,
    MACHINE_SECRET,
    PEOPLE,
    SCOPES,
    Pkce,
    Tokens,
)
from .nginx import free_port
from .places import NODE_MODULES, short_folder
from .wait import wait_until

NODE = NODE_MODULES / "node" / "bin" / "node"


class Panva:
    """One provider. `algorithm` signs its access tokens; RS256 its ID tokens."""

    def __init__(self, algorithm: str = "ES256", seconds: int = 3600) -> None:
        assert NODE.exists() and (NODE_MODULES / "oidc-provider").is_dir(), (
            "oidc-provider is not there; tests/run installs it with npm"
        )
        self.folder = short_folder("panva")
        port = free_port()
        self.name = f"http://127.0.0.1:{port}"
        self.jwks_url = f"{self.name}/jwks"
        self.algorithm = algorithm
        self.seconds = seconds
        self._generation = 0
        self._keys: list[dict[str, str]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.rotate()
        self.start()

    def rotate(self) -> None:
        """Other keys, from the next start on."""
        self._generation += 1
        wanted = dict.fromkeys(["RS256", self.algorithm])
        self._keys = [private_jwk(alg, f"{alg}-{self._generation}") for alg in wanted]

    def machine(
        self, *, client: str = MACHINE, scope: str = SCOPES[0], audience: str = AUDIENCE
    ) -> Tokens:
        form = {"grant_type": "client_credentials", "scope": scope, "resource": audience}
        # It decodes both before it compares them (RFC 6749 §2.3.1).
        user = client.replace("@", "%40")
        return self._token(form, (user, MACHINE_SECRET))

    def person(
        self, who: str = ALICE, *, scope: str = SCOPES[0], audience: str = AUDIENCE
    ) -> Tokens:
        pkce = Pkce(scope, audience)
        with httpx.Client(base_url=self.name, timeout=10) as browser:
            page = browser.get("/auth", params=pkce.query)
            # To the login page, to the consent page, and back.
            for _ in range(8):
                location = page.headers.get("location", "")
                if location.startswith(CALLBACK):
                    return self._token(pkce.exchange(location))
                page = browser.get(location) if location else _submit(browser, page.text, who)
        raise AssertionError(f"the login led nowhere: {page.status_code} {page.text[:500]}")

    def start(self) -> None:
        people = {
            name: {"email": address, "email_verified": True} for name, address in PEOPLE.items()
        }
        machine = {
            "client_secret": MACHINE_SECRET,
            "grant_types": ["client_credentials"],
            "redirect_uris": [],
            "response_types": [],
        }
        laptop = {
            "client_id": LAPTOP,
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "grant_types": ["authorization_code"],
            "redirect_uris": [CALLBACK],
        }
        machines = [{"client_id": name, **machine} for name in (MACHINE, IMPOSTOR)]
        settings = {
            "port": httpx.URL(self.name).port,
            "keys": self._keys,
            "algorithm": self.algorithm,
            "scopes": SCOPES,
            "seconds": self.seconds,
            "people": people,
            "clients": [*machines, laptop],
        }
        script = Path(__file__).with_name("panva.mjs")
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [NODE, script, json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "oidc-provider answers", context=self._log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def asked_for_keys(self) -> int:
        """How often its keys were asked for so far."""
        said = (self.folder / "output.log").read_text(errors="replace")
        return said.splitlines().count("GET /jwks")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _token(
        self, form: dict[str, str], authentication: tuple[str, str] | None = None
    ) -> Tokens:
        said = httpx.post(f"{self.name}/token", data=form, auth=authentication, timeout=10)
        assert said.is_success, f"token: {said.status_code} {said.text}"
        body = said.json()
        return Tokens(body["access_token"], body.get("id_token"))

    def _answers(self) -> bool:
        try:
            return httpx.get(self.jwks_url, timeout=2).is_success
        except httpx.HTTPError:
            return False

    def _log(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")[-2000:]


def _submit(browser: httpx.Client, page: str, who: str) -> httpx.Response:
    """Sends the form of its development pages: login, then consent."""
    action = re.search(r'action="([^"]+)"', page)
    prompt = re.search(r'name="prompt" value="([^"]+)"', page)
    assert action and prompt, page[:500]
    form = {"prompt": prompt.group(1), "login": who, "password": "any"}
    return browser.post(action.group(1), data=form)


def private_jwk(algorithm: str, kid: str) -> dict[str, str]:
    """A new private key for signatures by `algorithm` (RFC 7517, 7518, 8037)."""
    about = {"kid": kid, "use": "sig", "alg": algorithm}
    if algorithm in ("EdDSA", "Ed25519"):
        key = ed25519.Ed25519PrivateKey.generate()
        raw = serialization.Encoding.Raw
        public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
        private = key.private_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "x": _octets(public), "d": _octets(private), **about}
    if algorithm.startswith("ES"):
        curve: Any = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[algorithm]
        numbers = ec.generate_private_key(curve).private_numbers()
        point, length = numbers.public_numbers, curve.key_size // 8
        name = {"ES256": "P-256", "ES384": "P-384"}[algorithm]
        parts = {"x": point.x, "y": point.y, "d": numbers.private_value}
        return {
            "kty": "EC",
            "crv": name,
            **{part: _octets(value.to_bytes(length)) for part, value in parts.items()},
            **about,
        }
    rsa_numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    parts = {
        "n": rsa_numbers.public_numbers.n,
        "e": rsa_numbers.public_numbers.e,
        "d": rsa_numbers.d,
        "p": rsa_numbers.p,
        "q": rsa_numbers.q,
        "dp": rsa_numbers.dmp1,
        "dq": rsa_numbers.dmq1,
        "qi": rsa_numbers.iqmp,
    }
    return {
        "kty": "RSA",
        **{
            part: _octets(value.to_bytes((value.bit_length() + 7) // 8))
            for part, value in parts.items()
        },
        **about,
    }


def _octets(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
