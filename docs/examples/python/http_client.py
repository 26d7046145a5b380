#!/usr/bin/env python3
"""Books one place over HTTP, with nothing but Python's standard library.

`ask` sends the same request with the same key until an answer settles it or the patience ends.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from urllib.parse import quote

from answers import next_step, pause_after

# Seconds that the gateway is given for an attempt, and beyond which it is not waited for.
WAIT, BEYOND = 10, 5


class Unsettled(Exception):
    """Nothing was settled in the time given: the same request with the same key tells."""


def call(url, method="GET", body=None, headers=None, timeout=10):
    """Status, headers and JSON body of a call; a problem is an answer like any other."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | (headers or {})
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.headers, json.load(response)
    except urllib.error.HTTPError as problem:
        return problem.code, problem.headers, json.load(problem)


def address(operation, request):
    """Path, idempotency key and body of a request as the wire protocol has it."""
    body = dict(request)
    match operation:
        case "book":
            return f"/v1/openings/{quote(body.pop('opening'))}/bookings", body.pop("request_id"), body
        case "cancel":
            booking = quote(body.pop("booking"))
            return f"/v1/bookings/{booking}/cancellation", body.pop("request_id"), body
        case "reschedule":
            booking = quote(body.pop("booking"))
            return f"/v1/bookings/{booking}/reschedule", body.pop("request_id"), body
        case "lookup":
            return "/v1/lookups", None, body
    raise NotImplementedError(f"{operation}: not over HTTP")


def ask(url, operation, request, patience=60):
    """The answer that settles a request, as the wire protocol has it, and where what becomes of it can
    be read; none where nothing was booked."""
    path, key, body = address(operation, request)
    give_up_at, tries = time.monotonic() + patience, 0
    while True:
        tries += 1
        left = max(0, give_up_at - time.monotonic())
        wait = int(min(WAIT, left))
        headers = {"Prefer": f"wait={wait}"} | ({"Idempotency-Key": key} if key else {})
        pause = pause_after(tries)
        try:
            status, told, answer = call(url + path, "POST", body, headers, wait + BEYOND)
            # 503 and 504 settle nothing, whatever they say; 429 is for whoever asks too often.
            if status not in (429, 503, 504) and next_step(answer, operation) != "again":
                return answer, told["Location"]
            why = answer.get("reason") or answer.get("title") or str(status)
            if told["Retry-After"]:
                pause = max(pause, float(told["Retry-After"]))
        except (OSError, ValueError) as error:
            why = str(error)  # No connection, or no whole answer: nothing is known.
        if time.monotonic() + pause >= give_up_at:
            raise Unsettled(f"{operation}: {why}; {tries} tries")
        time.sleep(pause)


def events(url, location, last=None):
    """What becomes of a request, as it changes (server-sent events); `location` comes with 201 and
    202. Ends when the connection does: come back with the last id."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    request = urllib.request.Request(f"{url}{location}/stream", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        event = {}
        for line in (raw.decode().rstrip("\r\n") for raw in response):
            if not line and "data" in event:
                yield event.get("id"), json.loads(event.pop("data"))
            elif not line.startswith(":") and ":" in line:
                name, _, value = line.partition(":")
                event[name] = value.removeprefix(" ")


def main():
    parser = argparse.ArgumentParser(description="Book one place with Giliran over HTTP.")
    parser.add_argument("applicants", nargs="+", metavar="APPLICANT", help="1 to 5 applicant ids")
    parser.add_argument("--opening", required=True)
    parser.add_argument("--office", required=True)
    parser.add_argument("--request-id", help="made up if left out; give it again to go on after a crash")
    parser.add_argument("--follow", action="store_true", help="print what becomes of it, until it has ended")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to keep trying")
    args = parser.parse_args()
    url = os.environ.get("GILIRAN_URL", "http://127.0.0.1:8080")
    wish = {
        # Made once, before the first try; a real client stores it with the order.
        "request_id": args.request_id or str(uuid.uuid4()),
        "applicants": args.applicants,
        "choices": [{"office": args.office}],
        "opening": args.opening,
    }
    try:
        answer, location = ask(url, "book", wish, args.patience)
    except Unsettled as error:
        print(f"http_client.py: {error}; go on with --request-id {wish['request_id']}", file=sys.stderr)
        return 1
    print(json.dumps(answer), flush=True)
    if args.follow and location:
        for _, news in events(url, location):
            print(json.dumps(news), flush=True)
    return 0 if next_step(answer) in ("done", "confirm", "wait") else 1


if __name__ == "__main__":
    sys.exit(main())
