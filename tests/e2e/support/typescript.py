"""The TypeScript SDKs of both generations, run by node."""

import json
import subprocess
from pathlib import Path
from typing import Any

from .places import NODE_MODULES

NODE = NODE_MODULES / "node" / "bin" / "node"
GENERATIONS = [("v1", "2025-11-25"), ("v2", "2025-11-25"), ("v2", "2026-07-28")]


def typescript(url: str, **order: Any) -> dict[str, Any]:
    """One connection and one call; without a tool, the search for the authorization server."""
    assert NODE.exists(), "tests/run installs node and the SDKs with npm"
    script = Path(__file__).with_name("typescript.mjs")
    done = subprocess.run(
        [NODE, script, json.dumps({"url": url, **order})],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
