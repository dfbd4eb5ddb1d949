"""Files of `deploy/` as the tests read them, and the tools of others that judge them."""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from . import pki
from .places import REPOSITORY, SCRATCH, binary
from .programs import clean_environment

DEPLOY = REPOSITORY / "deploy"
PROMTOOL = SCRATCH / "promtool" / "usr" / "bin" / "promtool"
# Of metrics and of the functions around them.
_METRIC = re.compile(r"\b(?:maintenant|process)_[a-z_]+\b")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


@cache
def variables(program: str) -> frozenset[str]:
    """Every variable a program reads, by its `--help`; secrets stand there beside their file."""
    shown = subprocess.run(
        [binary(program), "--help"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    # A narrow terminal breaks `[env: NAME=]` after the colon.
    named = re.findall(r"\[env:\s+([A-Z_]+)=", shown.stdout)
    values = re.findall(r"\bset\s+(MAINTENANT_[A-Z_]+)\s+to", shown.stdout)
    assert len(named) > 20, shown.stdout
    return frozenset(named) | frozenset(values)


def environment_file(path: Path) -> dict[str, str]:
    """All settings of a systemd environment file, those in comments too."""
    found = re.findall(r"^#?([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE)
    return dict(found)


def at_hand(settings: dict[str, str], folder: Path) -> dict[str, str]:
    """The same settings with servers that refuse at once, and with files that are there."""
    root = pki.authority("manifests")
    chain, key = pki.write(folder, "tls", pki.server(root), root)
    (folder / "token").write_text("a-token-of-the-tests-0123456789-0123456789\n")
    (folder / "people").write_text("ada@example.org\n")
    (folder / "endpoints.toml").write_text("")
    kinds = {
        "api-token": folder / "token",
        "people": folder / "people",
        "endpoints.toml": folder / "endpoints.toml",
        "ca.crt": chain,
        "tls.crt": chain,
        "tls.key": key,
        "maintenant.db": folder / "maintenant.db",
    }
    for name, value in settings.items():
        if name in ("MAINTENANT_URL", "MAINTENANT_MCP_ISSUER"):
            value = re.sub(r"//[^/,]+", "//127.0.0.1:9", value)
        value = re.sub(
            r"/[a-z/]+/([a-z-]+(?:\.[a-z]+)?)$",
            lambda path: str(kinds.get(path[1], path[0])),
            value,
        )
        settings = {**settings, name: value}
    return settings


def promtool(*arguments: str | Path, cwd: Path) -> str:
    """What promtool says; it must be content."""
    assert PROMTOOL.is_file(), f"{PROMTOOL} is not there; tests/run fetches it"
    done = subprocess.run([PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def metrics(expression: str) -> set[str]:
    """Names of the metrics in a PromQL expression; of a histogram, its own."""
    return {_SUFFIX.sub("", name) for name in _METRIC.findall(expression)}


def labels(expression: str) -> set[tuple[str, str]]:
    """Which labels are asked of which metrics: `metric{label="…"}`."""
    found = re.findall(r"\b((?:maintenant|process)_[a-z_]+)\{([^}]*)\}", expression)
    return {
        (_SUFFIX.sub("", metric), label)
        for metric, matchers in found
        for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers)
    }


def scraped(text: str) -> dict[str, set[str]]:
    """The metrics of an OpenMetrics page, and the labels they have."""
    found: dict[str, set[str]] = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        found[f"{name}_total" if kind == "counter" else name] = set()
    for name, pairs in re.findall(r"^([a-z_]+)\{([^}]*)\} ", text, re.MULTILINE):
        of = found.get(name, found.get(_SUFFIX.sub("", name)))
        assert of is not None, f"{name} has no TYPE"
        of.update(re.findall(r'([a-z_]+)="', pairs))
    return found


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "maintenant-gateway.json").read_text())
    return read


def queries(board: dict[str, Any]) -> Iterator[str]:
    """The PromQL of all panels, with Grafana's own variables filled in."""
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"]
            for name, value in (("__rate_interval", "1m"), ("__range", "1h")):
                text = text.replace(f"${name}", value)
            yield re.sub(r"\$[a-z]+", ".*", text)
