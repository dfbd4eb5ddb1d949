"""A ping that was answered with 200 is stored, whatever happens next."""

import asyncio
import random
from collections import Counter

import httpx
from support.database import integrity, select
from support.pings import Heartbeat
from support.programs import Workshop

HEARTBEATS = 200
CLIENTS = 64
BEFORE_THE_KILL = 1500


async def storm(jobs: list[Heartbeat], acknowledged: Counter[str], kill: asyncio.Event) -> None:
    """Pings until the collector is gone; each ping is named, and counted once it is answered."""

    async def client(number: int) -> None:
        chosen = random.Random(number)
        async with httpx.AsyncClient(timeout=60) as http:
            for turn in range(10_000):
                job = chosen.choice(jobs)
                name = f"{number}-{turn}"
                try:
                    answer = await http.post(f"{job.url}/log?rid={name}", content=name)
                except httpx.TransportError:
                    return  # it was killed: of this one nothing is known
                assert answer.status_code in (200, 429), answer.text
                if answer.status_code == 200:
                    acknowledged[f"{job.id} {name}"] += 1
                if acknowledged.total() >= BEFORE_THE_KILL:
                    kill.set()

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))


def test_every_acknowledged_ping_is_found_after_kill_9(place: Workshop) -> None:
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    rest = collector.rest()
    jobs = [Heartbeat.create(rest, f"job {number}") for number in range(HEARTBEATS)]
    acknowledged: Counter[str] = Counter()

    async def pour() -> None:
        kill = asyncio.Event()

        async def killer() -> None:
            await kill.wait()
            collector.process.kill()

        async with asyncio.TaskGroup() as group:
            group.create_task(storm(jobs, acknowledged, kill))
            group.create_task(killer())

    asyncio.run(pour())
    collector.process.wait()
    assert len(acknowledged) >= BEFORE_THE_KILL

    assert integrity(place.database) == "ok"
    collector = place.collector("", MAINTENANT_RUNTIME="none")
    rest = collector.rest()
    stored: Counter[str] = Counter()
    for job in jobs:
        pings = Heartbeat(rest, job.id, job.url).all_pings()
        for ping in pings:
            assert ping["payload"] == ping["run_id"], ping
            stored[f"{job.id} {ping['run_id']}"] += 1
    assert set(stored.values()) == {1}, "a ping is stored twice"
    lost = acknowledged.keys() - stored.keys()
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged pings are lost: {lost}"
    # At most one ping of each client was under way.
    assert len(stored) - len(acknowledged) <= CLIENTS
    collector.stop()
    rows = select(place.database, "SELECT count(*) FROM heartbeat_pings")
    assert rows == [(len(stored),)]
