"""What the tests of `docs/security-goals.md` have in common."""

import asyncio
import os
import time

import httpx

# At the size the goals are stated for, where figures are bounds too; else small.
FULL = os.environ.get("MAINTENANT_GOALS") == "full"
LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'


def said(figure: str) -> None:
    """What `tests/goals/run` prints of a test."""
    print(f"\nfigure: {figure}")


async def times(url: str, count: int, pause: float, token: str | None = None) -> list[float]:
    """How long calls of a well-behaved client take, one connection for all of them."""
    taken = []
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        for _ in range(count):
            begin = time.monotonic()
            answer = await client.post(f"{url}/mcp", content=LIST)
            taken.append(time.monotonic() - begin)
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(pause)
    return taken


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]
