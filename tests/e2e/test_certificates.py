"""Certificates of a real nginx, each wrong in another way, and each told as what it is."""

import datetime
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import READERS, System
from support import pki
from support.docker import Docker
from support.nginx import Nginx, free_port
from support.postgres import Postgres
from support.programs import Program, Workshop, workshop
from support.rest import Rest
from support.wait import wait_until

AIA = "http://lab.test/issuing.der"


class Lab:
    """A PKI, an nginx that shows its certificates, and a collector that trusts its root."""

    def __init__(self, place: Workshop, docker: Docker) -> None:
        self.place = place
        self.docker = docker
        self.folder = place.folder
        self.root = pki.authority("Lab Root")
        self.issuing = pki.authority("Lab Issuing", self.root)
        self.other = pki.authority("Other Root")
        self.nginx = Nginx()
        self.ports = {name: self._serve(name, *chain) for name, chain in self._chains().items()}
        chain, key = pki.write(self.folder, "mail", self.good, self.issuing)
        self.smtp, self.imap = self.nginx.smtp(chain, key), self.nginx.imap(chain, key)
        self.nginx.start()
        roots = self.folder / "roots.pem"
        roots.write_text(self.root.pem)
        self.collector: Program = place.collector(
            docker.host, MAINTENANT_PROBE_CA_CERT=str(roots)
        )
        self.rest: Rest = self.collector.rest()

    def _chains(self) -> dict[str, list[pki.Signed]]:
        """What the servers show, by name; the first is the server's own."""
        self.good = pki.server(self.issuing, issuer_url=AIA)
        second = pki.authority("Lab Second", self.issuing)
        unknown = pki.authority("Unknown Issuing", self.other)
        short = pki.authority("Lab Short", self.root, life=(-1, 20))
        ended = pki.authority("Lab Ended", self.root, life=(-100, -2))
        # The root itself, vouched for by an older one until ten days ago.
        cross = pki.issue(
            "Lab Root", self.other, life=(-2000, -10), ca=True, key=self.root.key
        )
        return {
            "good": [self.good, self.issuing],
            "with-root": [self.good, self.issuing, self.root],
            "misordered": [pki.server(second), self.issuing, second],
            "extra": [self.good, self.issuing, self.other],
            "cross": [self.good, self.issuing, cross],
            "incomplete": [self.good],
            "untrusted": [pki.server(unknown), unknown, self.other],
            "untrusted-usual": [pki.server(unknown), unknown],
            "self-signed": [pki.server()],
            "self-signed-ca": [pki.server(ca=True)],
            "wrong-name": [pki.server(self.issuing, sans=["other.test"]), self.issuing],
            "cn-only": [pki.server(self.issuing, sans=[]), self.issuing],
            "expired": [pki.server(self.issuing, life=(-40, -10)), self.issuing],
            "not-yet": [pki.server(self.issuing, life=(10, 40)), self.issuing],
            "minutes-early": [pki.server(self.issuing, life=(0.02, 40)), self.issuing],
            "expiring": [pki.server(self.issuing, life=(-300, 5.5)), self.issuing],
            "short-life": [pki.server(self.issuing, life=(-1, 5.6)), self.issuing],
            "short-path": [pki.server(short), short],
            "ended-path": [pki.server(ended), ended],
        }

    def _serve(self, name: str, own: pki.Signed, *others: pki.Signed) -> int:
        return self.nginx.tls(*pki.write(self.folder, name, own, *others))

    def watch(self, port: int, **settings: Any) -> dict[str, Any]:
        """Asks for a server to be watched; its monitor with every key of its first check."""
        body = {"hostname": "127.0.0.1", "port": port, **settings}
        answer = self.rest.http.post("/certificates", json=body)
        assert answer.status_code == 201, answer.text
        row = answer.json()["certificate"]["id"]
        # The answer has the first check only if that ends within five seconds.
        until_checked(self, row, lambda check: True)
        return self.detail(row)

    def detail(self, row: int) -> dict[str, Any]:
        return self.rest.get(f"/certificates/{row}")

    def forget(self, row: int) -> None:
        assert self.rest.http.delete(f"/certificates/{row}").status_code == 204

    def close(self) -> None:
        self.rest.close()
        self.nginx.close()


@pytest.fixture(scope="module")
def lab(docker: Docker) -> Iterator[Lab]:
    with workshop() as place:
        here = Lab(place, docker)
        try:
            yield here
        finally:
            here.close()


@dataclass
class Row:
    """What is shown under which name, and what is to be said about it."""

    shown: str
    verdict: str
    status: str = "error"
    name: str | None = "lab.test"
    chain_valid: bool | None = True
    hostname_match: bool = True
    says: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    warns: list[str] = field(default_factory=list)


ROOTS = ["ca_certificates", "MAINTENANT_PROBE_CA_CERT"]
ROWS = [
    Row("good", "ok", "valid"),
    Row("good", "ok", "valid", name="a.lab.test"),
    Row("good", "ok", "valid", name=None),  # 127.0.0.1 is one of its addresses
    Row("with-root", "ok", "valid"),
    Row("misordered", "ok", "valid", warns=["out of order"]),
    Row("extra", "ok", "valid", warns=["`Other Root` is sent although no client needs it"]),
    Row("cross", "ok", "valid", warns=["`Lab Root` is sent although it ended"]),
    Row("incomplete", "incomplete_chain", chain_valid=False, says=["Lab Issuing"], hints=[AIA]),
    Row("untrusted", "untrusted_root", chain_valid=False, says=["Other Root"], hints=ROOTS),
    Row("untrusted-usual", "untrusted_root", chain_valid=False, says=["Other Root"], hints=ROOTS),
    Row("self-signed", "self_signed", chain_valid=False, hints=ROOTS),
    Row("self-signed-ca", "self_signed", chain_valid=False, hints=["CA:TRUE", *ROOTS]),
    Row(
        "wrong-name",
        "name_mismatch",
        hostname_match=False,
        says=["`lab.test`", "`other.test`"],
        hints=["server_name"],
    ),
    Row(
        "cn-only",
        "common_name_only",
        hostname_match=False,
        says=["common name"],
        hints=["subject alternative name"],
    ),
    Row("expired", "expired", "expired", says=["10 days ago"], hints=["Renew", "clock"]),
    Row("not-yet", "not_yet_valid", says=["begins at"], hints=["clock"]),
    Row("minutes-early", "not_yet_valid", says=["minutes"], hints=["clock", "minutes behind"]),
    Row("expiring", "ok", "expiring"),
    Row("short-life", "ok", "valid"),
    Row("short-path", "ok", "expiring", warns=["`Lab Short` ends at"]),
    Row("ended-path", "expired", "expired", chain_valid=None, says=["`Lab Ended`"], hints=["current"]),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.shown}-{row.name}")
def test_every_cause_is_a_verdict_of_its_own(lab: Lab, row: Row) -> None:
    settings = {"server_name": row.name} if row.name else {}
    seen = lab.watch(lab.ports[row.shown], **settings)
    try:
        check, monitor = seen["latest_check"], seen["certificate"]
        assert check["verdict"] == row.verdict, check
        assert monitor["status"] == row.status, seen
        assert check["chain_valid"] is row.chain_valid, check
        assert check["hostname_match"] is row.hostname_match, check
        assert bool(check["hint"]) is (row.verdict != "ok")
        assert monitor.get("last_error", "") == check["error_message"]
        for part in row.says:
            assert part in check["error_message"]
        for part in row.hints:
            assert part in check["hint"]
        assert len(check["warnings"]) == len(row.warns), check["warnings"]
        for part, warning in zip(row.warns, check["warnings"], strict=True):
            assert part in warning
        # Whatever is wrong, the facts are there.
        own = lab.folder / f"{row.shown}.pem"
        assert check["fingerprint_sha256"] == fingerprint(own)
        assert check["tls_version"] == "TLSv1.3"
        assert check["not_after"] and check["issuer_cn"] and check["chain"]
    finally:
        lab.forget(seen["certificate"]["id"])


def test_the_facts_of_a_certificate_are_read(lab: Lab) -> None:
    seen = lab.watch(lab.ports["good"], server_name="lab.test")
    check = seen["latest_check"]
    assert check["subject_cn"] == "lab.test"
    assert (check["issuer_cn"], check["issuer_org"]) == ("Lab Issuing", "Lab Issuing Ltd")
    assert check["sans"] == ["lab.test", "*.lab.test", "127.0.0.1"]
    assert int(check["serial_number"], 16) == lab.good.certificate.serial_number
    assert check["signature_algorithm"] == "ecdsa-with-SHA256"
    ends = datetime.datetime.fromisoformat(check["not_after"])
    assert ends == lab.good.ends
    assert check["days_remaining"] == 363
    chain = [(link["position"], link["subject_cn"], link["issuer_cn"]) for link in check["chain"]]
    assert chain == [(0, "lab.test", "Lab Issuing"), (1, "Lab Issuing", "Lab Root")]
    listed = lab.rest.get("/certificates", source="standalone")["certificates"]
    mine = next(one for one in listed if one["id"] == seen["certificate"]["id"])
    assert mine["latest_check"]["days_remaining"] == 363
    lab.forget(mine["id"])


def test_days_are_those_of_the_first_end_on_the_path(lab: Lab) -> None:
    check = lab.watch(lab.ports["short-path"], server_name="lab.test")["latest_check"]
    assert check["days_remaining"] == 19
    assert check["path_not_after"] < check["not_after"]


def test_a_root_of_ones_own_is_trusted_for_one_server(lab: Lab) -> None:
    port = lab.ports["untrusted"]
    seen = lab.watch(port, server_name="lab.test", ca_certificates=lab.other.pem)
    assert seen["latest_check"]["verdict"] == "ok", seen
    own = (lab.folder / "self-signed-ca.pem").read_text()
    port = lab.ports["self-signed-ca"]
    seen = lab.watch(port, server_name="lab.test", ca_certificates=own)
    assert seen["latest_check"]["verdict"] == "ok", seen


def test_the_name_asked_for_chooses_the_certificate(lab: Lab) -> None:
    port = free_port()
    for name in ("one.test", "two.test"):
        signed = pki.server(lab.issuing, name=name, sans=[name])
        lab.nginx.tls(*pki.write(lab.folder, name, signed, lab.issuing), name=name, port=port)
    lab.nginx.stop()
    lab.nginx.start()
    seen = lab.watch(port, server_name="two.test")
    check = seen["latest_check"]
    assert (check["verdict"], check["subject_cn"]) == ("ok", "two.test")
    row = seen["certificate"]["id"]
    # Without a name the server shows its first.
    put(lab, row, server_name="")
    check = until_checked(lab, row, lambda check: check["subject_cn"] == "one.test")
    assert check["verdict"] == "name_mismatch"


def test_a_renewal_ends_the_alert(lab: Lab) -> None:
    old = pki.server(lab.issuing, life=(-300, 2.5))
    files = pki.write(lab.folder, "renewed", old, lab.issuing)
    port = lab.nginx.tls(*files)
    lab.nginx.stop()
    lab.nginx.start()
    with lab.rest.stream("/containers/events") as events:
        seen = lab.watch(port, server_name="lab.test")
        row = seen["certificate"]["id"]
        assert seen["certificate"]["last_alerted_threshold"] == 3
        alert = event(events, "certificate.alert", row)
        assert (alert["alert_type"], alert["threshold_days"]) == ("expiring", 3)
        assert alert["days_remaining"] == 2
        pki.write(lab.folder, "renewed", pki.server(lab.issuing), lab.issuing)
        lab.nginx.stop()
        lab.nginx.start()
        put(lab, row, warning_thresholds=[3, 30, 3])
        recovery = event(events, "certificate.recovery", row)
        assert recovery["previous_alert_type"] == "expiring"
        changed = all_events(events, "certificate.status_changed", row)
        assert [(e["previous_status"], e["new_status"]) for e in changed] == [
            ("unknown", "expiring"),
            ("expiring", "valid"),
        ]
    after = lab.detail(row)["certificate"]
    assert after["warning_thresholds"] == [30, 3]
    assert "last_alerted_threshold" not in after


def test_checks_are_kept_over_a_restart(docker: Docker, lab: Lab) -> None:
    with workshop() as place:
        collector = place.collector(docker.host)
        rest = collector.rest()
        body = {"hostname": "127.0.0.1", "port": lab.ports["good"]}
        made = rest.http.post("/certificates", json=body).json()
        assert made["latest_check"]["verdict"] == "untrusted_root"
        row = made["certificate"]["id"]
        collector.kill()
        rest = place.collector(docker.host).rest()
        again = rest.get(f"/certificates/{row}")
        assert again["latest_check"]["fingerprint_sha256"] == fingerprint(lab.folder / "good.pem")
        assert again["certificate"]["status"] == "error"
        checks = rest.get(f"/certificates/{row}/checks")
        assert checks["total"] == 1 and not checks["has_more"]


# --- what an assistant reads ------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(docker: Docker, lab: Lab) -> Iterator[System]:
    """A system of its own that watches each of these servers, and one more because of an endpoint."""
    with workshop() as place:
        roots = {"MAINTENANT_PROBE_CA_CERT": str(lab.folder / "roots.pem")}
        system = System(place, docker.host, **roots)
        for row in {row.shown: row for row in reversed(ROWS)}.values():
            if row.shown == "with-root":
                target = f"https://127.0.0.1:{lab.ports[row.shown]}/status/200"
                body = {"name": "secured", "target": target, "endpoint_type": "http"}
                answer = system.rest.http.post("/endpoints", json=body)
            else:
                body = {"hostname": "127.0.0.1", "port": lab.ports[row.shown]}
                settings = {"server_name": row.name} if row.name else {}
                answer = system.rest.http.post("/certificates", json={**body, **settings})
            assert answer.status_code == 201, answer.text

        def all_checked() -> bool:
            found = system.rest.get("/certificates")["certificates"]
            assert len(found) == len(lab.ports)
            assert all("latest_check" in certificate for certificate in found)
            return True

        wait_until(all_checked, "every certificate was checked")
        try:
            yield system
        finally:
            system.close()


@pytest.mark.parametrize("kind", READERS)
def test_an_assistant_reads_each_verdict(lab: Lab, told: System, kind: tuple[str, str]) -> None:
    reader = told.reader(*kind)
    listed = reader.call("list_certificates", limit=100)["certificates"]
    by_port = {row["port"]: row for row in listed}
    for row in ROWS:
        found = by_port[lab.ports[row.shown]]
        assert (found["verdict"], found["status"]) == (row.verdict, row.status), found
        assert found["expires"] and found["issuer"], found
        for part in row.hints:
            assert part in found["hint"], found
    assert by_port[lab.ports["with-root"]]["source"] == "auto"


@pytest.mark.parametrize("kind", READERS)
def test_an_assistant_asks_which_expire_soon(
    lab: Lab, told: System, kind: tuple[str, str]
) -> None:
    page = told.reader(*kind).call("list_certificates", expires_within_days=30, limit=100)
    soon = {"expired", "ended-path", "expiring", "short-life", "short-path"}
    ports = {row["port"] for row in page["certificates"]}
    assert ports == {lab.ports[name] for name in soon}


def test_a_certificate_of_an_endpoint_lives_as_long_as_the_endpoint(lab: Lab, told: System) -> None:
    port = lab.ports["with-root"]
    answer = told.rest.http.post("/certificates", json={"hostname": "127.0.0.1", "port": port})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "ALREADY_AUTO_DETECTED"
    (auto,) = told.rest.get("/certificates", source="auto")["certificates"]
    answer = told.rest.http.delete(f"/certificates/{auto['id']}")
    assert answer.json()["error"]["code"] == "CANNOT_DELETE_AUTO"
    named = {"headers": {"Host": "lab.test"}}
    assert told.rest.http.put(f"/endpoints/{auto['endpoint_id']}", json=named).status_code == 200
    wait_until(
        lambda: told.rest.get(f"/certificates/{auto['id']}")["certificate"].get("server_name") == "lab.test",
        "it is checked under the name that the endpoint sends",
    )
    assert told.rest.http.delete(f"/endpoints/{auto['endpoint_id']}").status_code == 204
    gone = lambda: told.rest.get("/certificates", source="auto")["total"] == 0  # noqa: E731
    wait_until(gone, "its certificate is watched no more")


# --- what does not come to a certificate ------------------------------------------------------


def test_a_server_of_old_protocols_is_told(lab: Lab) -> None:
    for version in ("-tls1", "-tls1_1"):
        with openssl(lab, version, "-cipher", "ALL:@SECLEVEL=0") as port:
            seen = lab.watch(port)
            check = seen["latest_check"]
            assert check["verdict"] == "protocol_too_old", check
            assert "TLS 1.2" in check["hint"]
            assert check["days_remaining"] == -1
            lab.forget(seen["certificate"]["id"])


def test_a_stapled_revocation_is_told(lab: Lab) -> None:
    staple = lab.folder / "revoked.der"
    staple.write_bytes(pki.revoke(lab.good, lab.issuing))
    with openssl(lab, "-status_file", staple) as port:
        check = lab.watch(port, server_name="lab.test")["latest_check"]
    assert check["verdict"] == "revoked", check
    assert check["chain_valid"] and check["hostname_match"]
    assert "new key" in check["hint"]


def test_a_server_that_asks_for_a_client_certificate_still_shows_its_own(lab: Lab) -> None:
    with openssl(lab, "-Verify", "1", "-verify_return_error", "-tls1_2") as port:
        check = lab.watch(port, server_name="lab.test")["latest_check"]
    assert check["verdict"] == "ok", check
    assert "client certificate" in check["warnings"][0]


def test_nobody_there_and_no_tls_there_are_two_things(lab: Lab) -> None:
    nobody = lab.watch(free_port())["latest_check"]
    assert nobody["verdict"] == "unreachable"
    assert "connection refused" in nobody["error_message"]
    plain = lab.watch(lab.nginx.port)["latest_check"]
    assert plain["verdict"] == "no_tls"
    # Whoever looks names up may take his time.
    unknown = lab.rest.http.post("/certificates", json={"hostname": "nowhere.invalid"}).json()
    check = until_checked(lab, unknown["certificate"]["id"], lambda check: True)
    assert check["verdict"] == "unreachable"
    metadata = lab.rest.http.post("/certificates", json={"hostname": "169.254.169.254"}).json()
    assert "not probed" in metadata["latest_check"]["error_message"]
    for one in (unknown, metadata):
        lab.forget(one["certificate"]["id"])


def test_a_silent_server_does_not_hold_the_request(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        answer = lab.rest.http.post("/certificates", json={"hostname": "127.0.0.1", "port": port})
        assert answer.status_code == 201
        assert answer.json()["certificate"]["status"] == "unknown"
        row = answer.json()["certificate"]["id"]
        check = until_checked(lab, row, lambda check: True)
        assert check["verdict"] == "unreachable"
        assert "in time" in check["error_message"]
    lab.forget(row)


# --- STARTTLS ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
def test_mail_servers_change_to_tls(lab: Lab, protocol: str) -> None:
    port = lab.smtp if protocol == "smtp" else lab.imap
    seen = lab.watch(port, starttls=protocol, server_name="lab.test")
    assert seen["latest_check"]["verdict"] == "ok", seen
    assert seen["latest_check"]["fingerprint_sha256"] == fingerprint(lab.folder / "mail.pem")
    row = seen["certificate"]["id"]
    put(lab, row, starttls="")
    check = until_checked(lab, row, lambda check: check["verdict"] != "ok")
    assert check["verdict"] == "no_tls"
    assert "starttls" in check["hint"]
    lab.forget(row)


def test_postgresql_changes_to_tls(lab: Lab) -> None:
    chain, key = pki.write(lab.folder, "postgres", lab.good, lab.issuing)
    database = Postgres(chain, key)
    try:
        seen = lab.watch(database.port, starttls="postgres", server_name="lab.test")
        assert seen["latest_check"]["verdict"] == "ok", seen
        assert seen["latest_check"]["fingerprint_sha256"] == fingerprint(chain)
        lab.forget(seen["certificate"]["id"])
    finally:
        database.close()
    database = Postgres()
    try:
        check = lab.watch(database.port, starttls="postgres")["latest_check"]
        assert check["verdict"] == "no_tls", check
        assert "refuses TLS over PostgreSQL" in check["error_message"]
    finally:
        database.close()


def test_words_slipped_in_before_tls_are_a_fault(lab: Lab) -> None:
    with scripted(b"220 hi\r\n", b"250 STARTTLS\r\n", b"220 go\r\n250 forged\r\n") as port:
        check = lab.watch(port, starttls="smtp")["latest_check"]
    assert check["verdict"] == "unacceptable", check
    assert "arrived in the clear" in check["error_message"]


# --- labels -----------------------------------------------------------------------------------


def test_a_label_asks_for_servers_as_long_as_its_container_exists(lab: Lab) -> None:
    port = lab.ports["good"]
    value = f"https://localhost:{port}/path, bad entry, localhost:0"
    labels = {"maintenant.tls.certificates": value, "maintenant.tls.certificate": "x"}
    name = lab.docker.name("labelled")
    container = lab.docker.run(name, labels=labels)
    monitor = wait_until(lambda: watched(lab, "localhost", port), "the label is read")
    assert (monitor["source"], monitor["external_id"]) == ("label", container)
    wait_until(lambda: watched(lab, "localhost", port).get("latest_check"), "it is checked")
    problems = lab.rest.get("/problems")["problems"]
    mine = [p for p in problems if p["container_name"] == name]
    mine = {p["label_key"]: p["error"] for p in mine}
    assert set(mine) == set(labels)
    assert "there is no such label" in mine["maintenant.tls.certificate"]
    errors = [p["error"] for p in problems if p["label_key"] == "maintenant.tls.certificates"]
    assert any("`bad entry`" in error for error in errors)
    assert any("1 to 65535" in error for error in errors)
    answer = lab.rest.http.post("/certificates", json={"hostname": "LOCALHOST", "port": port})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "DUPLICATE_MONITOR")
    lab.docker.remove(container)
    wait_until(lambda: watched(lab, "localhost", port) is None, "it is forgotten")
    wait_until(
        lambda: not [p for p in lab.rest.get("/problems")["problems"] if p["label_key"] in labels],
        "its problems are gone",
    )


def test_an_ignored_container_asks_for_nothing(lab: Lab) -> None:
    port = lab.ports["with-root"]
    value = f"localhost:{port}"
    ignored = {"maintenant.tls.certificates": value, "maintenant.ignore": "true"}
    lab.docker.run(lab.docker.name("tls-ignored"), labels=ignored)
    last = {"maintenant.tls.certificates": f"localhost:{lab.ports['extra']}"}
    lab.docker.run(lab.docker.name("last"), labels=last)
    wait_until(lambda: watched(lab, "localhost", lab.ports["extra"]), "the last label is read")
    assert watched(lab, "localhost", port) is None


# --- helpers ----------------------------------------------------------------------------------


def fingerprint(pem: Path) -> str:
    """SHA-256 of the first certificate of a file, as openssl says."""
    command = ["openssl", "x509", "-in", str(pem), "-noout", "-fingerprint", "-sha256"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.partition("=")[2].strip().replace(":", "").lower()


def put(lab: Lab, row: int, **settings: Any) -> None:
    answer = lab.rest.http.put(f"/certificates/{row}", json=settings)
    assert answer.status_code == 200, answer.text


def until_checked(
    lab: Lab, row: int, so: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Waits for a newest check that is so."""

    def check() -> dict[str, Any] | None:
        newest = lab.detail(row).get("latest_check")
        return newest if newest and so(newest) else None

    return wait_until(check, f"certificate {row} is checked")


def watched(lab: Lab, host: str, port: int) -> dict[str, Any] | None:
    listed = lab.rest.get("/certificates")["certificates"]
    return next((c for c in listed if (c["hostname"], c["port"]) == (host, port)), None)


def all_events(events: Any, name: str, row: int) -> list[dict[str, Any]]:
    frames = [frame.data for frame in events.events if frame.event == name]
    return [data for data in frames if data["monitor_id"] == row]


def event(events: Any, name: str, row: int) -> dict[str, Any]:
    return wait_until(lambda: all_events(events, name, row), f"{name} of {row}")[-1]


class openssl:
    """A server of openssl's, for what nginx will not do. It shows the good certificate."""

    def __init__(self, lab: Lab, *options: str | Path) -> None:
        self.port = free_port()
        own, key = pki.write(lab.folder, "openssl", lab.good)
        others, _ = pki.write(lab.folder, "openssl-issuing", lab.issuing)
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-quiet"]
        command += ["-cert", own, "-cert_chain", others, "-key", key, *options]
        nothing = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)

    def __enter__(self) -> int:
        def listens() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(listens, "openssl listens")
        return self.port

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class scripted:
    """A server that says one thing at once, and one more for each thing it hears."""

    def __init__(self, *says: bytes) -> None:
        self.says = says
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> int:
        self.thread.start()
        return self.socket.getsockname()[1]

    def _serve(self) -> None:
        client, _ = self.socket.accept()
        with client:
            for what in self.says:
                client.sendall(what)
                if not client.recv(4096):
                    return

    def __exit__(self, *_: object) -> None:
        self.thread.join(timeout=10)
        self.socket.close()
