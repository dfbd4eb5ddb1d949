"""The document and the server agree: schemathesis asks what the document allows, and what it does not.

The collector lives in a network namespace of its own: among the things generated are targets to
probe, and none of them may be reached.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import REPOSITORY
from support.programs import Program, Workshop, clean_environment, workshop

TOKEN = "schemathesis-token"
ALONE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


def subjects() -> list[str]:
    """All tags of the document."""
    document = json.loads((REPOSITORY / "openapi" / "openapi.json").read_text())
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["tags"] for operation in operations), "an operation without a tag"
    return sorted({tag for operation in operations for tag in operation["tags"]})


@pytest.fixture(scope="module")
def alone() -> Iterator[tuple[Workshop, Program]]:
    with workshop() as place:
        collector = place.start(
            "maintenant-collector",
            before=ALONE,
            MAINTENANT_DB=str(place.database),
            MAINTENANT_RUNTIME="none",
            MAINTENANT_EDITION="extended",
            MAINTENANT_SMTP_HOST="127.0.0.1",
            MAINTENANT_SMTP_TLS="none",
            MAINTENANT_API_TOKEN=TOKEN,
        )
        collector.until_listening()
        yield place, collector


@pytest.mark.parametrize("subject", subjects())
def test_no_answer_is_outside_the_document(
    alone: tuple[Workshop, Program], subject: str
) -> None:
    place, collector = alone
    schemathesis = Path(sys.executable).parent / "schemathesis"
    done = subprocess.run(
        [
            "nsenter",
            f"--net=/proc/{collector.process.pid}/ns/net",
            schemathesis,
            "run",
            f"{collector.url}/api/v1/openapi.json",
            f"--header=Authorization: Bearer {TOKEN}",
            f"--checks={CHECKS}",
            f"--include-tag={subject}",
            "--exclude-path-regex=(events|stream)$",
            "--max-examples=25",
            "--seed=1",
            "--no-shrink",
            "--continue-on-failure",
            "--suppress-health-check=all",
        ],
        cwd=place.folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout, done.stdout
    assert collector.process.poll() is None, collector.last_words
    faults = [line for line in collector.log_lines if line.get("level") == "ERROR"]
    assert faults == []
