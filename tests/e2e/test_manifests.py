"""What `deploy/` holds is accepted by the tools that will read it, and fits the programs."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from support.manifests import (
    DEPLOY,
    at_hand,
    dashboard,
    documents,
    environment_file,
    labels,
    metrics,
    promtool,
    queries,
    scraped,
    variables,
)
from support.panva import private_jwk
from support.places import binary
from support.programs import Program, Workshop, run_to_end
from support.wait import wait_until

PROGRAMS = {"maintenant", "maintenant-collector", "maintenant-gateway"}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
KUBERNETES = DEPLOY / "kubernetes"
# The oldest with all that is used, and the newest of the validator.
VERSIONS = ("1.30", "1.37")
# Of another project, so without a bundled schema.
FOREIGN = {KUBERNETES / "monitoring" / "servicemonitor.yaml"}
MANIFESTS = sorted(
    path
    for path in KUBERNETES.rglob("*.yaml")
    if path.name != "kustomization.yaml" and path not in FOREIGN
)
OURS = re.compile(r"\b(?:MAINTENANT|DOCKER|OTEL)_[A-Z_]+")


def name(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def program_of(unit: Path) -> str:
    return unit.stem


# --- systemd ------------------------------------------------------------------------------------


def test_there_is_a_unit_for_every_program() -> None:
    assert {program_of(unit) for unit in UNITS} == PROGRAMS


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "tests/run installs systemd, which need not run"
    text = unit.read_text()
    start = f"ExecStart=/usr/local/bin/{program_of(unit)}\n"
    assert start in text
    # Where the programs are here; whether they are there is looked at.
    copy = tmp_path / unit.name
    copy.write_text(text.replace(start, f"ExecStart={binary(program_of(unit))}\n"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_systemd_rates_a_unit_as_well_confined(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=True,
    )
    exposure = re.search(r"exposure level for .*: ([0-9.]+) ", done.stdout)
    assert exposure and float(exposure.group(1)) < 2, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_variables_of_a_unit_and_its_settings_exist(unit: Path) -> None:
    settings = unit.with_name(f"{unit.stem.removeprefix('maintenant-')}.env")
    used = set(OURS.findall(unit.read_text())) | set(OURS.findall(settings.read_text()))
    assert len(used) > 3
    assert used <= variables(program_of(unit))


@pytest.mark.parametrize("file", ["systemd/gateway.env", "kubernetes/gateway/settings.yaml"])
def test_a_gateway_takes_its_settings(file: str, tmp_path: Path) -> None:
    ended = run_to_end(
        "maintenant-gateway", "check", cwd=tmp_path, **at_hand(settings_in(file), tmp_path)
    )
    # Nobody answers at these addresses; wrong settings would be 64.
    assert ended.code == 1, ended


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("maintenant", "systemd/maintenant.env"),
        ("maintenant-collector", "systemd/collector.env"),
        ("maintenant-collector", "kubernetes/collector/settings.yaml"),
    ],
)
def test_a_collector_takes_its_settings(
    program: str, file: str, tmp_path: Path, place: Workshop
) -> None:
    settings = at_hand(settings_in(file), tmp_path)
    own = {name: "127.0.0.1:0" for name in settings if name.endswith("_ADDR")}
    own["DOCKER_HOST"] = f"unix://{tmp_path}/nowhere"
    started = place.start(program, **{**settings, **own})
    started.until_listening()
    started.stop()


def settings_in(file: str) -> dict[str, str]:
    path = DEPLOY / file
    if path.suffix == ".env":
        return environment_file(path)
    (document,) = documents(path)
    data: dict[str, str] = document["data"]
    return data


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_only_what_hears_sighup_is_reloaded(unit: Path) -> None:
    hears = program_of(unit) != "maintenant-collector"
    assert ("ExecReload=" in unit.read_text()) == hears


# --- Kubernetes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=name)
def test_a_manifest_fits_the_schema_of_kubernetes(manifest: Path, version: str) -> None:
    for document in documents(manifest):
        # Strict: an unknown field is an error.
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_would_find_a_wrong_field() -> None:
    (document,) = documents(KUBERNETES / "gateway" / "deployment.yaml")
    document["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)


@pytest.mark.parametrize("folder", ["gateway", "collector"])
def test_kustomize_takes_every_file_of_its_folder(folder: str) -> None:
    (kustomization,) = documents(KUBERNETES / folder / "kustomization.yaml")
    present = {path.name for path in (KUBERNETES / folder).glob("*.yaml")}
    assert set(kustomization["resources"]) == present - {"kustomization.yaml"}
    (namespace,) = documents(KUBERNETES / folder / "namespace.yaml")
    assert namespace["metadata"]["name"] == kustomization["namespace"]


@pytest.mark.parametrize("folder", ["gateway", "collector"])
def test_variables_of_a_manifest_exist(folder: str) -> None:
    (settings,) = documents(KUBERNETES / folder / "settings.yaml")
    container = workload(folder)["containers"][0]
    own = container.get("env", [])
    # Some are there only to be put into others.
    parts = set(re.findall(r"\$\(([A-Z_]+)\)", str(own)))
    used = set(settings["data"]) | {entry["name"] for entry in own} - parts
    assert len(used) > 3
    assert used <= variables(f"maintenant-{folder}")


def test_files_that_settings_name_are_mounted() -> None:
    for folder in ("gateway", "collector"):
        (settings,) = documents(KUBERNETES / folder / "settings.yaml")
        mounts = [mount["mountPath"] for mount in workload(folder)["containers"][0]["volumeMounts"]]
        for variable, value in settings["data"].items():
            path = value.removeprefix("unix://")
            if path.startswith("/"):
                assert any(path == at or path.startswith(f"{at}/") for at in mounts), variable


def test_a_gateway_is_confined() -> None:
    pod = workload("gateway")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # A Service named `maintenant…` would set variables that look like ours.
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    confined = pod["containers"][0]["securityContext"]
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}


def test_the_grace_of_a_gateway_is_enough_for_its_end() -> None:
    pod = workload("gateway")
    until_unknown = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    # Calls under way, then audit lines and spans: docs/gateway.md, Stop.
    assert pod["terminationGracePeriodSeconds"] >= until_unknown + 10 + 5


def test_parts_of_the_gateway_find_each_other() -> None:
    pod = {"app.kubernetes.io/name": "maintenant-gateway"}
    parts = {
        document["kind"]: document["spec"]
        for path in (KUBERNETES / "gateway").glob("*.yaml")
        for document in documents(path)
        if "spec" in document
    }
    assert parts["Deployment"]["template"]["metadata"]["labels"] == pod
    assert parts["Deployment"]["selector"]["matchLabels"] == pod
    assert parts["Service"]["selector"] == pod
    assert parts["PodDisruptionBudget"]["selector"]["matchLabels"] == pod
    assert parts["NetworkPolicy"]["podSelector"]["matchLabels"] == pod
    (monitor,) = documents(next(iter(FOREIGN)))
    assert monitor["spec"]["selector"]["matchLabels"] == pod
    named = {port["name"] for port in workload("gateway")["containers"][0]["ports"]}
    assert {port["targetPort"] for port in parts["Service"]["ports"]} == named
    assert {port["name"] for port in parts["Service"]["ports"]} == named
    assert monitor["spec"]["endpoints"][0]["port"] in named
    assert parts["HorizontalPodAutoscaler"]["minReplicas"] >= 2


def workload(folder: str) -> dict[str, Any]:
    """The Pod of a folder's one workload."""
    file = {"gateway": "deployment.yaml", "collector": "daemonset.yaml"}[folder]
    (document,) = documents(KUBERNETES / folder / file)
    pod: dict[str, Any] = document["spec"]["template"]["spec"]
    return pod


# --- proxies ------------------------------------------------------------------------------------


def test_routes_of_traefik_lead_somewhere() -> None:
    """Caddy and nginx are run by test_reverse_proxies.py; Traefik is not at hand."""
    (static,) = documents(DEPLOY / "proxy" / "traefik.yml")
    (dynamic,) = documents(DEPLOY / "proxy" / "traefik-dynamic.yml")
    assert static["providers"]["file"]["filename"].endswith("/traefik-dynamic.yml")
    http = dynamic["http"]
    for router in http["routers"].values():
        assert set(router["entryPoints"]) <= static["entryPoints"].keys()
        assert router["service"] in http["services"]
    for service in http["services"].values():
        assert service["loadBalancer"]["serversTransport"] in http["serversTransports"]


def test_every_proxy_publishes_the_same_paths() -> None:
    published = {
        "/mcp",
        "/.well-known/oauth-protected-resource",
        "/status",
        "/status/",
        "/ping/",
    }
    (dynamic,) = documents(DEPLOY / "proxy" / "traefik-dynamic.yml")
    rules = "".join(router["rule"] for router in dynamic["http"]["routers"].values())
    assert set(re.findall(r"Path(?:Prefix)?\(`([^`]+)`\)", rules)) == published
    nginx = (DEPLOY / "proxy" / "nginx.conf").read_text()
    assert set(re.findall(r"location (?:= )?(\S+) \{", nginx)) == published | {"/"}
    caddy = (DEPLOY / "proxy" / "Caddyfile").read_text()
    listed = " ".join(re.findall(r"^\t@\w+ path (.*)$", caddy, re.MULTILINE)).split()
    assert {path.removesuffix("*") for path in listed} == published | {
        "/.well-known/oauth-protected-resource/mcp"
    }


# --- Prometheus and Grafana ---------------------------------------------------------------------


def test_promtool_takes_the_configuration_and_the_rules() -> None:
    said = promtool("check", "config", "prometheus.yml", cwd=DEPLOY / "prometheus")
    assert "rules found" in said
    promtool("test", "rules", "rules_test.yml", cwd=DEPLOY / "prometheus")


def test_every_alert_is_shown_to_fire() -> None:
    named = [rule["alert"] for rule in rules()]
    (tests,) = documents(DEPLOY / "prometheus" / "rules_test.yml")
    fired = {
        case["alertname"]
        for test in tests["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert len(named) == len(set(named)) and set(named) == fired


def test_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(queries(dashboard()))
    ]
    assert len(recorded) > 20
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", file.name, cwd=tmp_path)


def test_the_dashboard_is_whole() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 39
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    known = {variable["name"] for variable in board["templating"]["list"]}
    assert "datasource" in known
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
            used = set(re.findall(r"\$([a-z]+)", str(panel["targets"])))
            assert used <= known, panel["title"]


def test_rules_and_dashboard_ask_for_metrics_and_labels_that_exist(
    scrape: dict[str, set[str]],
) -> None:
    board = dashboard()
    asked = [rule["expr"] for rule in rules()] + list(queries(board))
    asked += [str(variable["query"]) for variable in board["templating"]["list"]]
    wanted = set().union(*(metrics(expression) for expression in asked))
    assert len(wanted) > 12
    assert wanted <= scrape.keys()
    for metric, label in set().union(*(labels(expression) for expression in asked)):
        # Prometheus adds two.
        assert label in scrape[metric] | {"job", "instance", "le"}, f"{metric}{{{label}}}"


def test_the_dashboard_shows_every_metric(scrape: dict[str, set[str]]) -> None:
    shown = set().union(*(metrics(query) for query in queries(dashboard())))
    assert scrape.keys() <= shown


def rules() -> list[dict[str, Any]]:
    (file,) = documents(DEPLOY / "prometheus" / "rules.yml")
    return [rule for group in file["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def scrape() -> Iterator[dict[str, set[str]]]:
    """`/metrics` of a gateway to which everything that is counted has happened."""
    place, keys = Workshop(), Keys()
    try:
        yield scraped(eventful(place, keys))
    finally:
        place.close()
        keys.close()


def eventful(place: Workshop, keys: "Keys") -> str:
    collector = place.collector("unix:///nowhere", MAINTENANT_RUNTIME="none")
    token = "a-static-token-of-the-tests-0123456789"
    gateway = place.gateway(
        collector.url,
        MAINTENANT_METRICS_ADDR="127.0.0.1:0",
        MAINTENANT_MCP_TOKEN=token,
        MAINTENANT_MCP_ISSUER=keys.url,
        MAINTENANT_MCP_JWKS_URL=f"{keys.url}/jwks",
        MAINTENANT_MCP_AUDIENCE="https://monitor.example.org/mcp",
        MAINTENANT_MCP_RATE="1",
        MAINTENANT_MCP_CACHE="2s",
    )
    gateway.until_ready()
    assert call(gateway, None).status_code == 401
    answers = [call(gateway, token).text for _ in range(2)]
    assert "Too many calls" in answers[1], answers
    gateway.process.send_signal(1)
    url = metrics_url(gateway)

    def after_the_reload() -> str:
        text = httpx.get(url, timeout=20).text
        assert "maintenant_reloads_total{" in text
        return text

    return wait_until(after_the_reload, "it has reloaded")


def call(gateway: Program, token: str | None) -> httpx.Response:
    headers = {"Accept": "application/json, text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    params = {"name": "list_alerts", "arguments": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return httpx.post(f"{gateway.url}/mcp", json=body, headers=headers, timeout=20)


def metrics_url(gateway: Program) -> str:
    gateway.until_listening()
    line = next(line for line in gateway.log_lines if line.get("metrics"))
    return f"http://{line['address']}/metrics"


class Keys:
    """The keys of an issuer, and nothing else of one."""

    def __init__(self) -> None:
        key = {k: v for k, v in private_jwk("EdDSA", "one").items() if k != "d"}

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps({"keys": [key]}).encode())

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
