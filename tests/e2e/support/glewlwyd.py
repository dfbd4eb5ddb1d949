"""Glewlwyd, Debian's OpenID provider, on loopback: RS256, `at+jwt`, resource indicators.

Its discovery document is at the path-appended place alone.
"""

import gzip
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .issuers import (
    AUDIENCE,
    ELSEWHERE,
    ALICE,
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
from .places import SCRATCH, short_folder
from .wait import wait_until

UNPACKED = SCRATCH / "glewlwyd"
PASSWORD = "a-password-of-the-tests"


class Glewlwyd:
    """One provider. `seconds` is how long its access tokens live."""

    def __init__(self, seconds: int = 3600) -> None:
        self.root = UNPACKED if (UNPACKED / "usr/bin/glewlwyd").is_file() else Path("/")
        self.program = self.root / "usr/bin/glewlwyd"
        assert self.program.is_file(), "glewlwyd is not there; tests/run fetches it"
        self.folder = short_folder("glewlwyd")
        self.origin = f"http://127.0.0.1:{free_port()}"
        self.name = f"{self.origin}/api/oidc"
        self.jwks_url = f"{self.name}/jwks"
        self._process: subprocess.Popen[bytes] | None = None
        self._create_database()
        self._write_configuration()
        self.start()
        try:
            self._set_up(seconds)
        except BaseException:
            self.close()
            raise

    def machine(
        self, *, client: str = MACHINE, scope: str = SCOPES[0], audience: str = AUDIENCE
    ) -> Tokens:
        form = {"grant_type": "client_credentials", "scope": scope, "resource": audience}
        return self._token(form, (client, MACHINE_SECRET))

    def person(
        self, who: str = ALICE, *, scope: str = SCOPES[0], audience: str = AUDIENCE
    ) -> Tokens:
        pkce = Pkce(scope, audience)
        with httpx.Client(base_url=self.origin, timeout=10) as browser:
            _ok(browser.post("/api/auth/", json={"username": who, "password": PASSWORD}))
            granted = {"scope": pkce.query["scope"]}
            _ok(browser.put(f"/api/auth/grant/{LAPTOP}", json=granted))
            said = browser.get("/api/oidc/auth", params={**pkce.query, "g_continue": ""})
        return self._token(pkce.exchange(said.headers["location"]))

    def start(self) -> None:
        libraries = list(self.root.glob("usr/lib/*-linux-gnu")) if self.root != Path("/") else []
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, "-c", self.folder / "glewlwyd.conf"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "glewlwyd answers", context=self._log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _token(
        self, form: dict[str, str], authentication: tuple[str, str] | None = None
    ) -> Tokens:
        said = httpx.post(f"{self.name}/token", data=form, auth=authentication, timeout=10)
        body = _ok(said).json()
        return Tokens(body["access_token"], body.get("id_token"))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.origin}/config/", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def _log(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")[-2000:]

    def _create_database(self) -> None:
        documents = self.root / "usr/share/doc/glewlwyd/database"
        script = gzip.decompress((documents / "init.sqlite3.sql.gz").read_bytes()).decode()
        database = sqlite3.connect(self.folder / "glewlwyd.db")
        database.executescript(script)
        database.close()

    def _write_configuration(self) -> None:
        modules = self.root / "usr/lib/glewlwyd"
        (self.folder / "none").mkdir()
        text = f"""
            port = {httpx.URL(self.origin).port}
            bind_address = "127.0.0.1"
            external_url = "{self.origin}"
            login_url = "login.html"
            api_prefix = "api"
            cookie_domain = "127.0.0.1"
            cookie_secure = 0
            log_mode = "console"
            log_level = "INFO"
            session_expiration = 3600
            session_key = "GLEWLWYD2_SESSION_ID"
            admin_session_authentication = "cookie"
            profile_session_authentication = "cookie"
            login_api_enabled = true
            admin_scope = "g_admin"
            profile_scope = "g_profile"
            user_module_path = "{modules}/user"
            user_middleware_module_path = "{self.folder}/none"
            client_module_path = "{modules}/client"
            user_auth_scheme_module_path = "{modules}/scheme"
            plugin_module_path = "{modules}/plugin"
            hash_algorithm = "SHA512"
            database = {{ type = "sqlite3"; path = "{self.folder}/glewlwyd.db"; }};
        """
        (self.folder / "glewlwyd.conf").write_text(text)

    def _set_up(self, seconds: int) -> None:
        with httpx.Client(base_url=self.origin, timeout=10) as admin:
            # The database comes with this one.
            login = {"username": "admin", "password": "password"}
            _ok(admin.post("/api/auth/", json=login))
            plugin = {"module": "oidc", "name": "oidc", "display_name": "oidc"}
            _ok(admin.post("/api/mod/plugin/", json={**plugin, "parameters": self._oidc(seconds)}))
            for scope in ("email", *SCOPES):
                described = {"name": scope, "display_name": scope, "description": scope}
                described |= {"password_required": False, "scheme": {}}
                _ok(admin.post("/api/scope/", json=described))
            for client in (MACHINE, IMPOSTOR):
                _ok(admin.post("/api/client/", json=_machine(client)))
            laptop = {"client_id": LAPTOP, "name": LAPTOP, "enabled": True, "confidential": False}
            laptop |= {"authorization_type": ["code"], "redirect_uri": [CALLBACK], "scope": []}
            _ok(admin.post("/api/client/", json=laptop))
            for name, address in PEOPLE.items():
                person = {"username": name, "name": name, "email": address, "enabled": True}
                person |= {"password": PASSWORD, "scope": ["g_profile", "openid", "email", *SCOPES]}
                _ok(admin.post("/api/user/", json=person))

    def _oidc(self, seconds: int) -> dict[str, Any]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        kinds = ("token", "id-token", "password", "device")
        return {
            "iss": self.name,
            "jwt-type": "rsa",
            "jwt-key-size": "256",
            "key": private.decode(),
            "cert": public.decode(),
            "jwks-show": True,
            "allow-non-oidc": True,
            "pkce-allowed": True,
            "auth-type-code-enabled": True,
            "auth-type-client-enabled": True,
            "auth-type-refresh-enabled": True,
            **{f"auth-type-{kind}-enabled": False for kind in kinds},
            "access-token-duration": seconds,
            "refresh-token-duration": 3600,
            "refresh-token-rolling": True,
            "code-duration": 600,
            "subject-type": "public",
            "resource-allowed": True,
            "resource-change-allowed": False,
            "resource-scope": {scope: [AUDIENCE, ELSEWHERE] for scope in SCOPES},
            "additional-parameters": [{"user-parameter": "email", "token-parameter": "email"}],
        }


def _machine(name: str) -> dict[str, Any]:
    return {
        "client_id": name,
        "name": name,
        "enabled": True,
        "confidential": True,
        "password": MACHINE_SECRET,
        "authorization_type": ["client_credentials"],
        "token_endpoint_auth_method": ["client_secret_basic"],
        "redirect_uri": [],
        "scope": list(SCOPES),
    }


def _ok(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.request.url.path}: {answer.status_code} {answer.text}"
    return answer
