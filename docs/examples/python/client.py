#!/usr/bin/env python3
"""Books one place with Giliran over NATS, the way a client should, and shows every message.

What it shows:

1. A request carries a `request_id`. Whatever goes wrong on the way, the same
   request with the same id is sent again (`giliran.py`): it gets the same booking,
   never a second one.
2. `granted` says which booking is the request's, not that it still stands: the
   same request is answered with it after it was cancelled or has expired as well.
   What holds is `booking.status`; who wants a place anew makes a new id.
3. The booking can be looked up, and its event heard. An event may speak of an entry
   into a draw instead: then its `booking` is null.

Exit code 0: booked, the repetition got the same booking, and (with --events)
the booking's event was heard; or entered into a draw, which is told. 1: anything
else. 2: wrong usage.
"""

import argparse
import asyncio
import json
import sys
import uuid

import nats

from answers import next_step
from giliran import Client, Unsettled

# Fields of a booking that a repetition must find unchanged.
SAME = ("id", "opening", "office", "date", "session", "numbers", "request_id")


class Rejected(Exception):
    """A final rejection; another try would not help."""


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
    parser.add_argument("--prefix", help="the subject prefix; giliran.v1 if unset")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to keep trying")
    parser.add_argument("--events", action="store_true", help="wait to hear the booking's event as well")
    return parser.parse_args()


async def ask(client, operation, request, patience):
    """The answer, where it is no rejection."""

    def show(direction, said):
        subject = f"{client.prefix}.{operation}"
        print(f"{direction} {subject} {json.dumps(said, ensure_ascii=False)}", flush=True)

    answer = await client.ask(operation, request, patience, show)
    if answer["outcome"] == "rejected":
        raise Rejected(f"{operation}: {answer['reason']} {answer.get('detail', '')}".strip())
    return answer


async def run(args):
    choice = {"office": args.office, "date": args.date, "session": args.session}
    given = {"opening": args.opening, "ref": args.ref, "wait": args.wait or None}
    request = {
        # Made once, before the first try; a real client stores it with the order.
        "request_id": args.request_id or str(uuid.uuid4()),
        "applicants": args.applicants,
        "choices": [{name: value for name, value in choice.items() if value}],
        "channel": "example",
    } | {name: value for name, value in given.items() if value}

    client = await Client.connect(args.prefix)
    try:
        events = asyncio.Queue()
        if args.events:
            # Before the request: what was told before that is not told again.
            await client.listen(events.put_nowait)
        await book(client, request, events, args)
    finally:
        await client.connection.drain()


async def book(client, request, events, args):
    answer = await ask(client, "book", request, args.patience)
    step = next_step(answer)
    if step == "wait":
        receipt = answer["entry"]["receipt"]
        print(f"entered; receipt {receipt}: `lookup` or its event tells what came of it")
        return
    booking = answer["booking"]
    if step == "gone":
        raise Rejected(
            f"booking {booking['id']} of this request is {booking['status']}: for another "
            "place make a new request id"
        )

    # As after a lost answer: the same request, the same booking.
    again = (await ask(client, "book", request, args.patience))["booking"]
    changed = [name for name in SAME if again[name] != booking[name]]
    if changed:
        raise Rejected(f"the repetition got another booking: {', '.join(changed)} differ")

    question = {"booking": booking["id"], "applicant": args.applicants[0]}
    found = (await ask(client, "lookup", question, args.patience))["booking"]
    if found["id"] != booking["id"]:
        raise Rejected("lookup: another booking came back")

    if args.events:
        await event_of(booking, events, args.patience)
    numbers = ", ".join(str(number) for number in booking["numbers"])
    print(
        f"booked {booking['id']}: {booking['office']}, {booking['date']}, "
        f"session {booking['session']}, queue number {numbers}"
    )
    if step == "confirm":
        print(f"held until {booking['hold_expires_at']}: to be confirmed before")


async def event_of(booking, events, within):
    """Waits until an event speaks of this booking."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        left = deadline - asyncio.get_running_loop().time()
        try:
            event = await asyncio.wait_for(events.get(), left)
        except asyncio.TimeoutError:
            raise Unsettled(f"no event of booking {booking['id']} within {within} s") from None
        # Of an entry into a draw there is no booking.
        about = event["data"].get("booking")
        if about and about["id"] == booking["id"]:
            print(f"<- event {json.dumps(event, ensure_ascii=False)}", flush=True)
            return


def main():
    args = arguments()
    try:
        asyncio.run(run(args))
    except asyncio.TimeoutError:
        print("client.py: no connection to NATS within 10 s", file=sys.stderr)
        return 1
    except (Rejected, Unsettled, OSError, nats.errors.Error) as error:
        print(f"client.py: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
