"""The REST surface itself: tokens, envelopes, what is public."""

import httpx
import pytest
from support.programs import Program, Workshop
from support.rest import Rest

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def guarded(place: Workshop) -> Program:
    """A collector that asks for a token and watches nothing."""
    return place.collector("", MAINTENANT_RUNTIME="none", MAINTENANT_API_TOKEN=TOKEN)


def test_the_right_token_opens_the_api(guarded: Program) -> None:
    assert guarded.rest(TOKEN).http.get("/containers").status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN],
    ids=["none", "wrong", "longer", "basic", "empty", "bare"],
)
def test_anything_but_the_token_is_refused(guarded: Program, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization is not None else {}
    answer = httpx.get(f"{guarded.url}/api/v1/containers", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"]
    assert TOKEN not in answer.text


def test_health_needs_no_token(guarded: Program) -> None:
    answer = httpx.get(f"{guarded.url}/api/v1/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_the_token_is_not_in_the_log(guarded: Program) -> None:
    assert guarded.rest(TOKEN).http.get("/containers").status_code == 200
    assert guarded.rest("wrong-guess-of-a-caller").http.get("/containers").status_code == 401
    guarded.stop()
    assert TOKEN not in guarded.log and "wrong-guess-of-a-caller" not in guarded.log


@pytest.mark.parametrize("path", ["/no/such/route", "/containers/", "/containers/1/no-such-thing"])
def test_an_unknown_path_is_404_in_the_envelope(rest: Rest, path: str) -> None:
    answer = rest.http.get(path)
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"code", "message"}


def test_a_wrong_method_is_405_in_the_envelope_and_names_the_right_one(rest: Rest) -> None:
    answer = rest.http.put("/containers")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert set(answer.json()["error"]) == {"code", "message"}


def test_an_id_that_is_no_number_is_400(rest: Rest) -> None:
    answer = rest.http.get("/containers/web")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_ID")


def test_a_container_that_never_was_is_404_by_its_code(rest: Rest) -> None:
    answer = rest.http.get("/containers/987654321")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "CONTAINER_NOT_FOUND")


def test_a_foreign_host_name_is_refused_while_no_token_is_set(rest: Rest) -> None:
    """A page whose name was rebound to this machine still sends its own name."""
    answer = rest.http.get("/containers", headers={"Host": "rebound.example"})
    assert answer.status_code in (403, 421)
    assert "rebound.example" in answer.json()["error"]["message"]
