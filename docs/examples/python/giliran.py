"""A client of Giliran over NATS: what to send again, what to stop at, what to listen to.

    client = await Client.connect()
    answer = await client.ask("book", {"request_id": …, "applicants": […], "choices": […]})

`ask` sends the same bytes until an answer settles the request or the patience ends.
"""

import asyncio
import json
import os

import nats
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from answers import next_step, pause_after

# Seconds that an attempt waits for its answer.
ATTEMPT = 2.5


class Unsettled(Exception):
    """Nothing was settled in the time given. The request may have been granted: the same request
    again, or `lookup` by its id, tells."""


class Client:
    def __init__(self, connection, prefix="giliran.v1"):
        self.connection = connection
        self.prefix = prefix

    @classmethod
    async def connect(cls, prefix=None):
        """NATS_URL, and where the server asks for them NATS_USER with NATS_PASSWORD or
        NATS_CREDENTIALS, and NATS_INBOX_PREFIX."""
        options = {"name": "giliran example"}
        if user := os.environ.get("NATS_USER"):
            options |= {"user": user, "password": os.environ.get("NATS_PASSWORD", "")}
        if credentials := os.environ.get("NATS_CREDENTIALS"):
            options["user_credentials"] = credentials
        if inbox := os.environ.get("NATS_INBOX_PREFIX"):
            options["inbox_prefix"] = inbox
        url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
        connection = await asyncio.wait_for(nats.connect(url, **options), timeout=10)
        return cls(connection, prefix or os.environ.get("GILIRAN_PREFIX") or "giliran.v1")

    async def ask(self, operation, request, patience=60, seen=lambda direction, said: None):
        """The answer that settles a request; always the same bytes."""
        subject, payload = f"{self.prefix}.{operation}", json.dumps(request).encode()
        clock = asyncio.get_running_loop().time
        give_up_at, tries = clock() + patience, 0
        while True:
            tries += 1
            answer = None
            seen("->", request)
            try:
                left = max(0.05, give_up_at - clock())
                message = await self.connection.request(subject, payload, min(ATTEMPT, left))
            except NoRespondersError:
                why = "no engine is active"
            except NatsTimeout:
                why = "no answer in time"
            else:
                answer = json.loads(message.data)
                seen("<-", answer)
                # An answer to `availability` has no outcome, unless it is a rejection.
                if "outcome" not in answer or next_step(answer, operation) != "again":
                    return answer
                why = answer["reason"]
            pause = pause_after(tries, answer)
            if clock() + pause >= give_up_at:
                raise Unsettled(f"{operation}: {why}; {tries} tries")
            await asyncio.sleep(pause)

    async def listen(self, heard):
        """Calls `heard(event)` for each change of a booking or an entry, once. Who was not connected
        has missed it: `lookup` tells."""
        known = set()

        async def take(message):
            told = json.loads(message.data)
            if "first" not in told:
                return  # Not the feed's: anybody may have had the broker say it.
            for event in told["events"]:
                if event["id"] not in known:
                    known.add(event["id"])
                    heard(event)

        await self.connection.subscribe(f"{self.prefix}.feed.events", cb=take)
        await self.connection.flush()


def fold(bookings, event):
    """Keeps the newest state of each booking: events may come twice and late, speak of entries, or
    be of types that nobody knows yet."""
    booking = event["data"].get("booking")
    if booking and booking["version"] > bookings.get(booking["id"], {"version": 0})["version"]:
        bookings[booking["id"]] = booking
    return bookings
