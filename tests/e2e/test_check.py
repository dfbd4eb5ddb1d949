"""`maintenant-gateway check`: what works and what does not, before anybody is served."""

import json

from support.docker import Docker
from support.programs import Ended, Workshop, run_to_end

NOBODY = "http://127.0.0.1:9"
TOKEN = "correct-horse-battery-staple-canary"
OTHER = "wrong-guess-of-some-length-canary"
ISSUER = {
    "MAINTENANT_MCP_ISSUER": "https://id.example.org",
    "MAINTENANT_MCP_JWKS_URL": f"{NOBODY}/jwks",
}


def check(place: Workshop, code: int, *arguments: str, **settings: str) -> Ended:
    """Runs `check`, which ends with this code and tells no secret."""
    ended = run_to_end("maintenant-gateway", "check", *arguments, cwd=place.folder, **settings)
    assert ended.code == code, ended
    assert "canary" not in ended.stdout + ended.stderr, ended
    return ended


def test_a_collector_in_order_is_well_and_mcp_need_not_be_set(
    place: Workshop, docker: Docker
) -> None:
    collector = place.collector(docker.host, MAINTENANT_API_TOKEN=TOKEN)
    collector.rest().until_connected(True)
    docker.run(docker.name("watched"))
    settings = {"MAINTENANT_URL": collector.url, "MAINTENANT_API_TOKEN": TOKEN}
    ended = check(place, 0, "--json", **settings)
    report = json.loads(ended.stdout)
    assert report["ok"] is True, ended
    findings = [(one["about"], one["result"]) for one in report["parts"][0]["findings"]]
    for about in ("reached", "token", "runtime", "routes"):
        assert (about, "ok") in findings, ended
    assert ("edition", "warning") in findings, ended
    text = check(place, 0, "--url", collector.url, MAINTENANT_API_TOKEN=TOKEN).stdout
    assert text.endswith("all well\n"), text
    assert "MAINTENANT_EDITION=extended" in text and "acknowledge_alert" in text, text


def test_a_missing_and_a_wrong_token_are_told_apart(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_API_TOKEN=TOKEN, MAINTENANT_RUNTIME="none")
    missing = check(place, 1, MAINTENANT_URL=collector.url)
    assert "the gateway has none" in missing.stdout, missing
    wrong = check(place, 1, MAINTENANT_URL=collector.url, MAINTENANT_API_TOKEN=OTHER)
    assert "refused the gateway's credentials" in wrong.stdout, wrong


def test_who_is_silent_is_named_with_the_cause_and_the_code_is_1(place: Workshop) -> None:
    ended = check(place, 1, MAINTENANT_URL=f"a={NOBODY},b=unix:/nowhere.sock", **ISSUER)
    assert "nobody listens" in ended.stdout and "socket does not exist" in ended.stdout, ended
    assert "issuer https://id.example.org" in ended.stdout, ended
    assert "cannot connect" in ended.stdout, ended


def test_wrong_settings_end_with_64(place: Workshop) -> None:
    assert "MAINTENANT_URL" in check(place, 64).stderr
    empty = place.folder / "ca.pem"
    empty.write_text("nothing")
    url = "https://localhost:9"
    ended = check(place, 64, MAINTENANT_URL=url, MAINTENANT_CA_CERT=str(empty))
    assert "MAINTENANT_CA_CERT" in ended.stderr, ended
    ended = check(place, 64, "--token", "/nowhere/token", MAINTENANT_URL=NOBODY)
    assert "cannot read /nowhere/token" in ended.stderr, ended


def test_a_token_from_a_file_is_refused_by_its_rule(place: Workshop) -> None:
    file = place.folder / "token"
    file.write_text(f"Bearer {OTHER}\n")
    ended = check(place, 64, "--token", str(file), MAINTENANT_URL=NOBODY, **ISSUER)
    assert "space" in ended.stderr, ended
    file.write_text(f"{OTHER}\n")
    ended = check(place, 1, "--token", str(file), MAINTENANT_URL=NOBODY, **ISSUER)
    assert "token: refused: " in ended.stdout, ended
