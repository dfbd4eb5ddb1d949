"""Made-up keys at the door: goal 5 of `docs/security-goals.md`, over HTTP."""

import asyncio
import base64
import json
import multiprocessing
import os
import re
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import httpx
from support.goals import FULL, LIST, p99, said, times
from support.issuers import AUDIENCE, BASE_URL, claims
from support.panva import Panva
from support.programs import Workshop
from support.wait import wait_until

FORGED_PER_SECOND = 1000
# Each from an address of its own: of one client no more than some a second are looked at.
CONNECTIONS = 200
SECONDS = 600 if FULL else 5
CALLS_PER_SECOND = 20
# Of unknown keys the issuer is asked for this often at most, in seconds.
COOL_DOWN = 30


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(payload: str) -> str:
    """A token like the issuer's, by a key that nobody has ever seen."""
    head = {"alg": "ES256", "typ": "at+jwt", "kid": os.urandom(12).hex()}
    return f"{encoded(head)}.{payload}.{encoded(os.urandom(64))}"


async def forge(port: int, payload: str, client: int, count: int) -> Counter[int]:
    """Sends forged tokens over one connection, at its share of the rate; counts the answers."""
    answers: Counter[int] = Counter()
    here = (f"127.1.0.{client + 1}", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=here)
    begin = time.monotonic() + client / FORGED_PER_SECOND
    for at in range(count):
        await asyncio.sleep(begin + at * CONNECTIONS / FORGED_PER_SECOND - time.monotonic())
        writer.write(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\n"
            b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
            % (forged(payload).encode(), len(LIST), LIST)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
        assert length, head
        await reader.readexactly(int(length[1]))
        answers[int(head.split()[1])] += 1
    writer.close()
    return answers


def flood(port: int, payload: str) -> tuple[Counter[int], float]:
    """All connections at once; the answers, and how many seconds it took."""

    async def together() -> list[Counter[int]]:
        each = FORGED_PER_SECOND * SECONDS // CONNECTIONS
        clients = (forge(port, payload, client, each) for client in range(CONNECTIONS))
        return await asyncio.gather(*clients)

    begin = time.monotonic()
    answers = asyncio.run(together())
    return sum(answers, Counter()), time.monotonic() - begin


def test_made_up_keys_cost_the_issuer_little_and_others_no_time(place: Workshop) -> None:
    issuer = Panva("ES256")
    try:
        about = {"MAINTENANT_MCP_ISSUER": issuer.name, "MAINTENANT_BASE_URL": BASE_URL}
        gateway = place.gateway("http://127.0.0.1:9", **about)
        token = issuer.machine(audience=AUDIENCE).access

        kinds = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        headers = {"Authorization": f"Bearer {token}", **kinds}

        def taken() -> bool:
            answer = httpx.post(f"{gateway.url}/mcp", content=LIST, headers=headers, timeout=20)
            return answer.is_success

        wait_until(taken, "the gateway has the keys", context=lambda: gateway.last_words)
        calls, pause = CALLS_PER_SECOND * min(SECONDS, 60), 1 / CALLS_PER_SECOND
        quiet = asyncio.run(times(gateway.url, calls, pause, token))
        before = issuer.asked_for_keys()
        port = int(gateway.address.rpartition(":")[2])
        # The flood has a process of its own: what it takes is not the time of others.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as crowd:
            flooding = crowd.submit(flood, port, encoded(claims(token)))
            busy: list[float] = []
            while not flooding.done():
                busy += asyncio.run(times(gateway.url, CALLS_PER_SECOND, pause, token))
            answers, seconds = flooding.result()
        fetched = issuer.asked_for_keys() - before
    finally:
        issuer.close()
    waits = [round(1000 * value, 1) for value in (p99(quiet), p99(busy), max(busy))]
    said(
        f"{answers.total()} forged tokens over HTTP in {seconds:.0f} s: {fetched} fetches; "
        f"{len(busy)} calls beside them all answered: p99 {waits[0]} ms quiet, {waits[1]} ms "
        f"beside them, the longest {waits[2]} ms"
    )
    assert set(answers) == {401}, answers
    assert before >= 1
    assert fetched <= seconds // COOL_DOWN + 1, fetched
    assert not FULL or p99(busy) <= 2 * p99(quiet), waits
