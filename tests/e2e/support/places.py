"""Where things are. Everything written by the tests goes below the build folder or `/tmp`."""

import os
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
SCRATCH = TARGET / "tests"
LEGACY_PYTHON = REPOSITORY / ".venv" / "legacy" / "bin" / "python"
NODE_MODULES = REPOSITORY / "tests" / "node_modules"


def binary(name: str) -> Path:
    """A program of the debug build; `tests/run` builds it."""
    path = TARGET / "debug" / name
    assert path.is_file(), f"{path} is not built; `cargo build --workspace` builds it"
    return path


def short_folder(purpose: str) -> Path:
    """A new folder with a short path: unix sockets allow about 100 characters."""
    return Path(tempfile.mkdtemp(prefix=f"mt-{purpose}-", dir="/tmp"))
