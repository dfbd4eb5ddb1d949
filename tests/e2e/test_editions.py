"""What an edition opens is what the document says: in community each route marked `PRO_REQUIRED` is
refused before anything of the call is looked at, and in extended none is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.programs import Workshop, workshop
from support.rest import Rest

METHODS = {"get", "post", "put", "patch", "delete"}
# What the extended edition opens, as the contract marks it, without what is not served.
PRO = {
    ("post", "/channels/{id}/rules"),
    ("delete", "/channels/{id}/rules/{rule_id}"),
    ("post", "/status/incidents"),
    ("put", "/status/incidents/{id}"),
    ("delete", "/status/incidents/{id}"),
    ("post", "/status/incidents/{id}/updates"),
    ("post", "/status/maintenance"),
    ("put", "/status/maintenance/{id}"),
    ("delete", "/status/maintenance/{id}"),
    ("get", "/status/subscribers"),
}
# Features of `/edition` that the extended edition opens, and those that both have.
OPENED = {"alert_routing", "incidents", "maintenance_windows", "subscribers"}
ALWAYS = {"resource_history", "slack", "teams"}
NEVER = {
    "alert_entity_routing",
    "alert_escalation",
    "changelog",
    "cve_enrichment",
    "k8s_cluster",
    "personalization",
    "risk_scoring",
    "security_posture",
    "smtp",  # no mail server is configured here
    "swarm_dashboard",
}
GARBAGE = {"path": "no-id", "body": "{no json"}
PLAUSIBLE = {"path": "987654321", "body": "{}"}


class Editions:
    """A collector of each edition, both watching nothing, and their document."""

    def __init__(self, place: Workshop) -> None:
        self.rest: dict[str, Rest] = {}
        for edition in ("community", "extended"):
            collector = place.collector(
                "",
                MAINTENANT_RUNTIME="none",
                MAINTENANT_EDITION=edition,
                MAINTENANT_DB=str(place.folder / f"{edition}.db"),
            )
            self.rest[edition] = collector.rest()
        self.document = self.rest["community"].get("/openapi.json")

    def operations(self) -> list[tuple[str, str, bool]]:
        """Method, path, and whether it is marked."""
        refusal: dict[str, str] = {"description": ""}
        return [
            (
                method,
                path,
                "PRO_REQUIRED" in operation["responses"].get("403", refusal)["description"],
            )
            for path, item in self.document["paths"].items()
            for method, operation in item.items()
            if method in METHODS
        ]

    def code(self, edition: str, method: str, path: str, call: dict[str, str]) -> tuple[int, str]:
        """Status and code of the answer; of a stream only the head is read."""
        http = self.rest[edition].http
        filled = re.sub(r"\{[^}]*\}", call["path"], path)
        url = http.base_url.copy_with(path=filled)
        body = call["body"] if method in ("post", "put", "patch") else None
        with http.stream(method.upper(), url, content=body) as answer:
            if answer.status_code != 403:
                return answer.status_code, ""
            answer.read()
            return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(scope="module")
def editions() -> Iterator[Editions]:
    with workshop() as place:
        yield Editions(place)


@pytest.mark.parametrize("call", [GARBAGE, PLAUSIBLE], ids=["garbage", "plausible"])
def test_community_refuses_what_is_marked_before_validation_and_nothing_else(
    editions: Editions, call: dict[str, str]
) -> None:
    operations = editions.operations()
    marked = {
        (method, path.removeprefix("/api/v1")) for method, path, is_marked in operations if is_marked
    }
    assert marked == PRO
    wrong = []
    for method, path, is_marked in operations:
        answer = editions.code("community", method, path, call)
        if (answer == (403, "PRO_REQUIRED")) is not is_marked:
            wrong.append((method, path, answer))
    assert wrong == []


@pytest.mark.parametrize("call", [GARBAGE, PLAUSIBLE], ids=["garbage", "plausible"])
def test_extended_refuses_nothing_for_its_edition(
    editions: Editions, call: dict[str, str]
) -> None:
    answers = {
        (method, path): editions.code("extended", method, path, call)
        for method, path, _ in editions.operations()
    }
    assert {key: answer for key, answer in answers.items() if answer[0] == 403} == {}


def test_a_refusal_says_how_the_edition_is_changed(editions: Editions) -> None:
    method, path, _ = next(operation for operation in editions.operations() if operation[2])
    url = re.sub(r"\{[^}]*\}", "1", path).removeprefix("/api/v1")
    answer = editions.rest["community"].http.request(method, url)
    assert "MAINTENANT_EDITION=extended" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("edition", "word"), [("community", "community"), ("extended", "enterprise")]
)
def test_the_edition_is_told_with_the_features_that_exist(
    editions: Editions, edition: str, word: str
) -> None:
    told: dict[str, Any] = editions.rest[edition].get("/edition")
    assert told["edition"] == word
    quotas = ["certificates", "endpoints", "heartbeats", "status_components"]
    assert told["quotas"] == {kind: {"used": 0, "limit": -1} for kind in quotas}
    opened = dict.fromkeys(OPENED, edition == "extended")
    expected = {**opened, **dict.fromkeys(ALWAYS, True), **dict.fromkeys(NEVER, False)}
    assert told["features"] == expected
