"""Real identity providers issue the tokens; the gateway says whose call is let in.

The commands that set the providers up are in `support/glewlwyd.py` and `support/panva.py`.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from conftest import System
from support.glewlwyd import Glewlwyd
from support.issuers import (
    ALICE,
    AUDIENCE,
    BASE_URL,
    BOB,
    ELSEWHERE,
    IMPOSTOR,
    PEOPLE,
    SCOPES,
    Issuer,
    claims,
    header,
)
from support.mcp_clients import LEGACY, MODERN, Reader, Target
from support.panva import Panva
from support.programs import Program, Workshop, workshop
from support.wait import wait_until

METADATA = f"{BASE_URL}/.well-known/oauth-protected-resource/mcp"
KINDS = {
    "glewlwyd": Glewlwyd,
    "panva-es256": lambda: Panva("ES256"),
    "panva-ps256": lambda: Panva("PS256"),
    "panva-eddsa": lambda: Panva("EdDSA"),
    "panva-ed25519": lambda: Panva("Ed25519"),
}


@pytest.fixture(scope="module", params=KINDS)
def issuer(request: pytest.FixtureRequest) -> Iterator[Issuer]:
    """Each provider, with each algorithm it signs access tokens by."""
    provider: Issuer = KINDS[request.param]()
    try:
        yield provider
    finally:
        provider.close()


@pytest.fixture(scope="module")
def there() -> Iterator[Workshop]:
    with workshop() as here:
        yield here


def starting(there: Workshop, system: System, issuer: Issuer, **settings: str) -> Program:
    """A gateway that will take tokens of this issuer."""
    about = {"MAINTENANT_MCP_ISSUER": issuer.name, "MAINTENANT_BASE_URL": BASE_URL}
    return there.gateway(system.collector.url, **{**about, **settings})


def guarded(there: Workshop, system: System, issuer: Issuer, **settings: str) -> Program:
    """One that takes them: a call waits for the first keys no longer than two seconds."""
    gateway = starting(there, system, issuer, **settings)
    gateway.until_ready()
    return gateway


@pytest.fixture(scope="module")
def gateway(there: Workshop, system: System, issuer: Issuer) -> Program:
    """One that asks for nothing but a good token, and finds the keys itself."""
    return guarded(there, system, issuer)


def post(gateway: Program, token: str | None, method: str = "tools/list", **params: Any) -> httpx.Response:
    """One request of the earlier era, without a session."""
    headers = {"Accept": "application/json, text/event-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return httpx.post(f"{gateway.url}/mcp", json=body, headers=headers, timeout=20)


def admitted(gateway: Program, token: str) -> list[str]:
    """The tools that this token is shown."""
    answer = post(gateway, token)
    assert answer.status_code == 200, (answer.status_code, answer.text, gateway.last_words)
    return [tool["name"] for tool in answer.json()["result"]["tools"]]


def refused(gateway: Program, token: str, status: int, error: str | None) -> httpx.Response:
    """The answer to a token that is not taken: its challenge, and a body in JSON-RPC."""
    answer = post(gateway, token)
    assert answer.status_code == status, (answer.status_code, answer.text, gateway.last_words)
    challenge = answer.headers.get("www-authenticate", "")
    if error is not None:
        assert f'error="{error}"' in challenge, challenge
    assert answer.json()["error"]["message"]
    assert answer.headers["cache-control"] == "no-store"
    assert token not in answer.text + challenge + gateway.log
    return answer


def test_another_library_agrees_that_the_tokens_are_good(issuer: Issuer) -> None:
    """The tokens of these tests are what they seem, whatever the gateway thinks of them."""
    for token in (issuer.machine().access, issuer.person().access):
        algorithm = header(token)["alg"]
        if algorithm == "Ed25519":
            continue  # PyJWT knows its older name alone.
        key = jwt.PyJWKClient(issuer.jwks_url).get_signing_key_from_jwt(token)
        said = jwt.decode(token, key, [algorithm], audience=AUDIENCE, issuer=issuer.name)
        assert said["scope"].split()[-1] in (*SCOPES, "email")


@pytest.mark.parametrize("era", [LEGACY, MODERN])
@pytest.mark.parametrize("grant", ["machine", "person"])
def test_a_token_opens_the_tools(gateway: Program, issuer: Issuer, grant: str, era: str) -> None:
    token = (issuer.machine() if grant == "machine" else issuer.person()).access
    reader = Reader(f"{grant} {era}", Target.http(gateway.url, token), era)
    try:
        assert "containers" in reader.call("list_containers")
    finally:
        reader.close()


def test_the_keys_may_be_named_instead_of_found(
    there: Workshop, system: System, issuer: Issuer
) -> None:
    named = guarded(there, system, issuer, MAINTENANT_MCP_JWKS_URL=issuer.jwks_url)
    assert "list_containers" in admitted(named, issuer.machine().access)


def test_a_call_without_credentials_is_told_where_to_get_them(gateway: Program) -> None:
    answer = post(gateway, None)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert f'resource_metadata="{METADATA}"' in challenge and "error=" not in challenge


def test_the_metadata_names_resource_and_issuer(gateway: Program, issuer: Issuer) -> None:
    for path in ("/.well-known/oauth-protected-resource", METADATA.removeprefix(BASE_URL)):
        said = httpx.get(gateway.url + path).json()
        assert (said["resource"], said["authorization_servers"]) == (AUDIENCE, [issuer.name])


def test_a_token_for_another_resource_is_refused(gateway: Program, issuer: Issuer) -> None:
    token = issuer.machine(audience=ELSEWHERE).access
    assert claims(token)["aud"] in (ELSEWHERE, [ELSEWHERE])
    refused(gateway, token, 401, "invalid_token")


def test_an_id_token_of_another_client_is_refused(gateway: Program, issuer: Issuer) -> None:
    token = issuer.person().id
    assert token is not None
    refused(gateway, token, 401, "invalid_token")


def test_a_token_changed_by_one_character_is_refused(gateway: Program, issuer: Issuer) -> None:
    head, payload, signature = issuer.machine().access.split(".")
    for at in (0, len(signature) // 2):
        other = "A" if signature[at] != "A" else "B"
        changed = signature[:at] + other + signature[at + 1 :]
        refused(gateway, f"{head}.{payload}.{changed}", 401, "invalid_token")


def test_only_listed_people_are_let_in(there: Workshop, system: System, issuer: Issuer) -> None:
    listed = guarded(there, system, issuer, MAINTENANT_MCP_ALLOWED_EMAIL=PEOPLE[ALICE].upper())
    assert "list_containers" in admitted(listed, issuer.person(ALICE).access)
    answer = refused(listed, issuer.person(BOB).access, 403, None)
    assert PEOPLE[ALICE] not in answer.text
    # A machine is nobody, even one that is called as Alice is.
    refused(listed, issuer.machine().access, 403, None)
    impostor = issuer.machine(client=IMPOSTOR).access
    said = claims(impostor)
    assert (said["sub"], "email" in said) == (PEOPLE[ALICE], False)
    refused(listed, impostor, 403, None)


def test_a_listed_subject_is_let_in(there: Workshop, system: System, issuer: Issuer) -> None:
    token = issuer.person(BOB).access
    settings = {"MAINTENANT_MCP_ALLOWED_SUBJECTS": claims(token)["sub"]}
    listed = guarded(there, system, issuer, **settings)
    assert "list_containers" in admitted(listed, token)
    refused(listed, issuer.person(ALICE).access, 403, None)


def test_scopes_limit_what_is_listed_and_called(
    there: Workshop, system: System, issuer: Issuer
) -> None:
    scoped = guarded(there, system, issuer, MAINTENANT_MCP_SCOPES="true")
    tools = admitted(scoped, issuer.person(scope="monitor:read").access)
    assert "list_containers" in tools
    assert not {"get_container_logs", "pause_monitor", "create_incident"} & set(tools)
    everything = admitted(scoped, issuer.person(scope=" ".join(SCOPES)).access)
    assert len(everything) == 18, everything
    arguments = {"container_id": "1"}
    token = issuer.person(scope="monitor:read").access
    answer = post(scoped, token, "tools/call", name="get_container_logs", arguments=arguments)
    assert answer.status_code == 403, answer.text
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge and "logs:read" in challenge
    assert answer.json()["id"] == 7 and "logs:read" in answer.json()["error"]["message"]


def test_a_token_ends(place: Workshop, system: System) -> None:
    provider = Panva(seconds=3)
    try:
        gateway = guarded(place, system, provider, MAINTENANT_MCP_LEEWAY="0s")

        def let_in() -> str | None:
            token = provider.machine().access
            return token if post(gateway, token).status_code == 200 else None

        token = wait_until(let_in, "a token comes before its end")
        wait_until(lambda: post(gateway, token).status_code == 401, "the token ends")
        refused(gateway, token, 401, "invalid_token")
    finally:
        provider.close()


def test_a_gateway_that_starts_before_its_issuer_recovers(
    there: Workshop, system: System, issuer: Issuer
) -> None:
    token = issuer.machine().access
    issuer.stop()
    early = starting(there, system, issuer)
    try:
        answer = post(early, token)
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        ready = httpx.get(f"{early.url}/readyz", timeout=20)
        assert ready.status_code == 503 and "issuer" in ready.text
    finally:
        issuer.start()

    def taken() -> bool:
        return post(early, token).status_code == 200

    wait_until(taken, "the gateway finds the keys", context=lambda: early.last_words)


def test_calls_go_on_while_the_issuer_is_away(gateway: Program, issuer: Issuer) -> None:
    token = issuer.machine().access
    admitted(gateway, token)
    issuer.stop()
    try:
        for _ in range(20):
            admitted(gateway, token)
    finally:
        issuer.start()


@pytest.fixture
def rotating() -> Iterator[Panva]:
    provider = Panva()
    try:
        yield provider
    finally:
        provider.close()


def test_a_new_key_is_found_and_an_old_one_forgotten(
    place: Workshop, system: System, rotating: Panva
) -> None:
    gateway = guarded(place, system, rotating)
    old = rotating.machine().access
    admitted(gateway, old)
    rotating.stop()
    rotating.rotate()
    rotating.start()
    new = rotating.machine().access
    assert header(new)["kid"] != header(old)["kid"]

    def taken() -> bool:
        return post(gateway, new).status_code == 200

    # Half a minute after the last fetch, or one more after one that failed.
    wait_until(taken, "the new key is found", context=lambda: gateway.last_words)
    refused(gateway, old, 401, "invalid_token")


def test_several_issuers_are_kept_apart(place: Workshop, system: System, rotating: Panva) -> None:
    other, stranger = Panva("EdDSA"), Panva("ES256")
    try:
        both = place.gateway(
            system.collector.url,
            MAINTENANT_BASE_URL=BASE_URL,
            MAINTENANT_MCP_ISSUER=f"{rotating.name},{other.name}",
        )
        both.until_ready()
        for known in (rotating, other):
            admitted(both, known.machine().access)
        refused(both, stranger.machine().access, 401, "invalid_token")
    finally:
        other.close()
        stranger.close()
