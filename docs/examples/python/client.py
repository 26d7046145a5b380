#!/usr/bin/env python3
"""Books one place with Giliran, the way a client should.

What it shows:

1. A request carries a `request_id`. Whatever goes wrong on the way, the same
   request with the same id is sent again: it gets the same booking, never a
   second one.
2. Only `busy`, `unavailable`, `not_open`, a timeout and "no responders" are
   worth another try, after `retry_after_ms` where the answer names it.
3. `granted` says which booking is the request's, not that it still stands: the
   same request is answered with it after it was cancelled or has expired as well.
   What holds is `booking.status`; who wants a place anew makes a new id.
4. The booking can be looked up, and its event read from the feed. An event may
   speak of an entry into a draw instead: then its `booking` is null.

Exit code 0: booked, the repetition got the same booking, and (with --events)
the booking's event was seen; or entered into a draw, which is told. 1: anything
else. 2: wrong usage.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import uuid
from datetime import datetime, timedelta, timezone

import nats
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

WORTH_A_RETRY = {"busy", "unavailable", "not_open"}
# What a booking's status is while it stands; a held one has to be confirmed in time.
STANDS = {"held", "confirmed"}
# Fields of a booking that a repetition must find unchanged.
SAME = ("id", "opening", "office", "date", "session", "numbers", "request_id")
# How far the broker's clock and the engine's may differ when the feed is read
# from the moment of the grant.
CLOCK_MARGIN = timedelta(minutes=5)


class Rejected(Exception):
    """A final rejection; another try would not help."""


class GaveUp(Exception):
    """Nothing was settled in the time given. The same request id may be tried
    again later: if it was granted meanwhile, the booking comes back."""


def show(direction, subject, payload):
    print(f"{direction} {subject} {json.dumps(payload, ensure_ascii=False)}", flush=True)


class Client:
    def __init__(self, connection, prefix, timeout, patience):
        self.connection = connection
        self.prefix = prefix
        self.timeout = timeout
        self.patience = patience

    async def ask(self, operation, request):
        """Sends a request until it is settled, always the same bytes."""
        subject = f"{self.prefix}.{operation}"
        payload = json.dumps(request).encode()
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self.patience
        tries = 0
        while True:
            tries += 1
            show("->", subject, request)
            pause = None
            try:
                message = await self.connection.request(subject, payload, timeout=self.timeout)
            except NoRespondersError:
                why = "no engine is active just now"
            except NatsTimeout:
                why = f"no answer within {self.timeout} s"
            else:
                answer = json.loads(message.data)
                show("<-", subject, answer)
                if answer["outcome"] != "rejected":
                    return answer
                why = answer["reason"]
                if why not in WORTH_A_RETRY:
                    raise Rejected(f"{operation}: {why} {answer.get('detail', '')}".strip())
                pause = answer.get("retry_after_ms")
            if pause is None:
                # Nobody said when: double from 0.2 s to 3.2 s, and scatter, so that
                # a crowd does not come back in step.
                pause = 200 * 2 ** min(tries - 1, 4) * random.uniform(0.5, 1.5)
            if clock() + pause / 1000 > give_up_at:
                raise GaveUp(f"{operation}: {why}; last of {tries} tries")
            print(f".. {why}; again in {pause:.0f} ms, same request id", flush=True)
            await asyncio.sleep(pause / 1000)

    async def await_event(self, booking, within):
        """Reads the feed from about the moment of the grant on, until it speaks
        of this booking. An ordered consumer is ephemeral, notices gaps, and
        leaves nothing behind on the server."""
        stream = f"{self.prefix.upper().replace('.', '_')}_EVENTS"
        granted = datetime.fromisoformat(booking["granted_at"].replace("Z", "+00:00"))
        begin = min(granted, datetime.now(timezone.utc)) - CLOCK_MARGIN
        jetstream = self.connection.jetstream()
        clock = asyncio.get_running_loop().time
        until = clock() + within
        while True:
            try:
                events = await jetstream.subscribe(
                    f"{self.prefix}.event.>",
                    stream=stream,
                    ordered_consumer=True,
                    config=ConsumerConfig(
                        deliver_policy=DeliverPolicy.BY_START_TIME,
                        opt_start_time=begin.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                    ),
                )
                break
            except NotFoundError:
                # `giliran feed` makes the stream when it first runs.
                if clock() > until:
                    raise GaveUp(f"there is no stream {stream}: is the feed running?") from None
                await asyncio.sleep(0.5)
        try:
            while clock() < until:
                try:
                    message = await events.next_msg(timeout=max(0.05, until - clock()))
                except NatsTimeout:
                    break
                event = json.loads(message.data)
                # Of an entry into a draw there is no booking.
                about = event["data"].get("booking")
                if about and about["id"] == booking["id"]:
                    show("<-", message.subject, event)
                    return event
        finally:
            await events.unsubscribe()
        raise GaveUp(f"no event of booking {booking['id']} within {within} s")


def arguments():
    parser = argparse.ArgumentParser(description="Book one place with Giliran.")
    parser.add_argument("applicants", nargs="+", metavar="APPLICANT", help="1 to 5 applicant ids")
    parser.add_argument("--office", required=True)
    parser.add_argument("--date", help="the day, YYYY-MM-DD; any, if left out")
    parser.add_argument("--session", help="the session; any that need not be named, if left out")
    parser.add_argument("--opening", help="needed when several openings are open")
    parser.add_argument("--request-id", help="made up if left out; give it again to go on after a crash")
    parser.add_argument("--wait", action="store_true",
                        help="where all is sold out, wait for returned places")
    parser.add_argument("--ref", help="handed back in booking and events; nothing personal")
    parser.add_argument("--prefix", default="giliran.v1", help="the subject prefix")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds to wait for one answer")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to keep trying")
    parser.add_argument("--events", action="store_true", help="wait for the booking's event as well")
    return parser.parse_args()


async def connect():
    """NATS_URL, and where the server asks for them NATS_USER with NATS_PASSWORD
    or NATS_CREDENTIALS, and NATS_INBOX_PREFIX."""
    options = {"name": "giliran example client"}
    if user := os.environ.get("NATS_USER"):
        options |= {"user": user, "password": os.environ.get("NATS_PASSWORD", "")}
    if credentials := os.environ.get("NATS_CREDENTIALS"):
        options["user_credentials"] = credentials
    if inbox := os.environ.get("NATS_INBOX_PREFIX"):
        options["inbox_prefix"] = inbox
    url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")

    async def on_error(error):
        print(f"!! NATS: {error}", file=sys.stderr, flush=True)

    connecting = nats.connect(url, error_cb=on_error, **options)
    try:
        return await asyncio.wait_for(connecting, timeout=10)
    except asyncio.TimeoutError:
        raise GaveUp("no connection to NATS within 10 s") from None


async def run(args):
    choice = {"office": args.office, "date": args.date, "session": args.session}
    request = {
        # Made once, before the first try; a real client stores it with the order.
        "request_id": args.request_id or str(uuid.uuid4()),
        "applicants": args.applicants,
        "choices": [{name: value for name, value in choice.items() if value}],
        "channel": "example",
    }
    if args.opening:
        request["opening"] = args.opening
    if args.ref:
        request["ref"] = args.ref
    if args.wait:
        request["wait"] = True

    connection = await connect()
    try:
        client = Client(connection, args.prefix, args.timeout, args.patience)
        answer = await client.ask("book", request)
        if answer["outcome"] == "entered":
            receipt = answer["entry"]["receipt"]
            print(f"entered; receipt {receipt}: `lookup` or its event tells what came of it")
            return
        booking = answer["booking"]
        if booking["status"] not in STANDS:
            raise Rejected(
                f"booking {booking['id']} of this request is {booking['status']}: for another "
                "place make a new request id"
            )

        # As after a lost answer: the same request, the same booking.
        again = (await client.ask("book", request))["booking"]
        changed = [name for name in SAME if again[name] != booking[name]]
        if changed:
            raise Rejected(f"the repetition got another booking: {', '.join(changed)} differ")

        question = {"booking": booking["id"], "applicant": args.applicants[0]}
        found = (await client.ask("lookup", question))["booking"]
        if found["id"] != booking["id"]:
            raise Rejected("lookup: another booking came back")

        if args.events:
            await client.await_event(booking, args.patience)
        numbers = ", ".join(str(number) for number in booking["numbers"])
        print(
            f"booked {booking['id']}: {booking['office']}, {booking['date']}, "
            f"session {booking['session']}, queue number {numbers}"
        )
        if booking["status"] == "held":
            print(f"held until {booking['hold_expires_at']}: to be confirmed before")
    finally:
        await connection.drain()


def main():
    args = arguments()
    try:
        asyncio.run(run(args))
    except (Rejected, GaveUp, OSError, nats.errors.Error) as error:
        print(f"client.py: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
