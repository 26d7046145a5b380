"""What gateways and teams do with the standard client: free places opened, read,
listed and watched, and every event taken by two teams side by side. Prints what they
saw as JSON."""

import asyncio
import json
import sys

import nats

URL = sys.argv[1]
WITHIN = 20
EVENTS = 4


async def connect(user):
    return await nats.connect(
        URL, user=user, password=f"secret-of-{user}", inbox_prefix=f"_INBOX.{user}".encode()
    )


async def gateway():
    client = await connect("gateway")
    bucket = await client.jetstream(domain="giliran").key_value("giliran-v1-availability")
    openings = await client.jetstream(domain="giliran").key_value("giliran-v1-openings")
    opening = json.loads((await openings.get("w")).value)
    watched = await openings.watch("w")
    assert json.loads((await watched.updates(timeout=WITHIN)).value) == opening, opening
    await watched.stop()
    key = "w.alpha.2030-01-07.all"
    got = json.loads((await bucket.get(key)).value)
    keys = await bucket.keys()
    watch = await bucket.watch(key)
    first = await watch.updates(timeout=WITHIN)
    assert json.loads(first.value) == got, first
    wish = {
        "request_id": "watching",
        "applicants": ["cut"],
        "choices": [{"office": "alpha", "date": "2030-01-07"}],
    }
    answer = await client.request("giliran.v1.book", json.dumps(wish).encode(), timeout=WITHIN)
    assert json.loads(answer.data)["outcome"] == "granted", answer.data
    while True:
        change = await watch.updates(timeout=WITHIN)
        if change is not None:
            break
    await watch.stop()
    await client.close()
    return {
        "keys": len(keys),
        "got": got,
        "watched": json.loads(change.value),
        "opening": opening,
    }


async def team(name):
    client = await connect(name)
    stream = client.jetstream(domain="giliran")
    reader = await stream.pull_subscribe_bind(consumer=name, stream="GILIRAN_V1_EVENTS")
    events = []
    while len(events) < EVENTS:
        for message in await reader.fetch(10, timeout=WITHIN):
            events.append(json.loads(message.data)["id"])
            await message.ack_sync(timeout=WITHIN)
    waiting = (await reader.consumer_info()).num_ack_pending
    assert waiting == 0, waiting
    await client.close()
    return events


async def main():
    teams = ["reader", "ledger-team"]
    seen, *events = await asyncio.gather(gateway(), *(team(name) for name in teams))
    print(json.dumps(seen | dict(zip(teams, events))))


asyncio.run(asyncio.wait_for(main(), 3 * WITHIN))
