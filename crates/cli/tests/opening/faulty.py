"""The example client of Python with a fault planted, named in FAULT: what the conformance kit has to
find."""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.environ["EXAMPLES"])

import answers
import conformance
import giliran

FAULT = os.environ["FAULT"]
step = answers.next_step
ask = giliran.Client.ask


def takes_granted_for_done(answer, operation="book"):
    return "done" if answer["outcome"] == "granted" else step(answer, operation)


class NewIds:
    """A connection that makes each payload another request's."""

    def __init__(self, connection):
        self.connection, self.number = connection, 0

    async def request(self, subject, payload, timeout):
        self.number += 1
        request = json.loads(payload)
        if self.number > 1:
            request["request_id"] += f"-{self.number}"
        return await self.connection.request(subject, json.dumps(request).encode(), timeout)


async def with_new_ids(self, *words):
    self.connection = NewIds(self.connection)
    return await ask(self, *words)


async def claims_that_it_is_sold_out(self, operation, request, patience=60):
    try:
        return await ask(self, operation, request, patience)
    except giliran.Unsettled:
        return {"request_id": request["request_id"], "outcome": "rejected", "reason": "sold_out"}


class Bursts:
    """A connection that asks twice at once, in the hope of being the first."""

    def __init__(self, connection):
        self.connection = connection

    async def request(self, subject, payload, timeout):
        both = [self.connection.request(subject, payload, timeout=timeout) for _ in range(2)]
        first, _ = await asyncio.gather(*both)
        return first


async def in_bursts(self, *words):
    if not isinstance(self.connection, Bursts):
        self.connection = Bursts(self.connection)
    return await ask(self, *words)


async def believes_everybody(self, heard, known=None):
    async def take(message):
        told = json.loads(message.data)
        for event in told.get("events", [told]):
            booking = event["data"].get("booking") or {}
            version = (booking.get("id"), booking.get("version"))
            if known is None or version not in known:
                heard(event)
            if known is not None:
                known.add(version)

    await self.connection.subscribe(f"{self.prefix}.feed.events", cb=take)
    await self.connection.flush()


match FAULT:
    case "takes granted for done":
        conformance.next_step = takes_granted_for_done
    case "new id at each retry":
        giliran.Client.ask = with_new_ids
    case "claims that it is sold out":
        giliran.Client.ask = claims_that_it_is_sold_out
    case "asks twice at once":
        giliran.Client.ask = in_bursts
    case "believes everybody":
        giliran.Client.listen = believes_everybody
    case "believes whoever comes first":
        giliran.Client.listen = lambda self, heard: believes_everybody(self, heard, set())
    case other:
        sys.exit(f"no fault {other}")
conformance.main()
