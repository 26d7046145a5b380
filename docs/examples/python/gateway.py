#!/usr/bin/env python3
"""A small gateway: takes HTTP, speaks NATS. `giliran gateway` does the same and more.

It sends the same request until it is settled or the caller's patience ends, and says what the
engine said: it never makes up an answer.
"""

import asyncio
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from giliran import Client, Unsettled

MOST_BYTES, PATIENCE, LONGEST_PATIENCE = 65_536, 10, 60
ROUTES = [
    (re.compile(r"/v1/openings/(?P<opening>[A-Za-z0-9-]+)/bookings"), "book"),
    (re.compile(r"/v1/bookings/(?P<booking>[A-Za-z0-9-]+)/cancellation"), "cancel"),
    (re.compile(r"/v1/bookings/(?P<booking>[A-Za-z0-9-]+)/reschedule"), "reschedule"),
    (re.compile(r"/v1/lookups"), "lookup"),
]
STATUS = {
    "malformed": 400, "not_permitted": 403, "unknown_opening": 404, "unknown_slot": 404,
    "not_found": 404, "conflict": 422, "party_too_large": 422, "busy": 503, "unavailable": 503,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > MOST_BYTES:
            self.close_connection = True
            return self.answer(413, {"detail": f"a body of at most {MOST_BYTES} bytes"})
        body = self.rfile.read(int(size))
        matches = ((route.fullmatch(self.path), operation) for route, operation in ROUTES)
        match, operation = next(((m, o) for m, o in matches if m), (None, None))
        if not match:
            return self.answer(404, {"detail": "no such address"})
        try:
            request = json.loads(body) | match.groupdict()
        except (TypeError, ValueError):
            return self.answer(400, {"detail": "the body is to be a JSON object"})
        if operation != "lookup":
            request["request_id"] = self.headers.get("Idempotency-Key")
        wait = re.fullmatch(r"wait=(\d+)", self.headers.get("Prefer", ""))
        patience = min(int(wait[1]), LONGEST_PATIENCE) if wait else PATIENCE
        asking = self.server.client.ask(operation, request, max(0.5, patience))
        try:
            answer = asyncio.run_coroutine_threadsafe(asking, self.server.loop).result()
        except Unsettled as error:
            # It may have been granted: the same key tells.
            return self.answer(504, {"detail": str(error)}, {"Retry-After": "1"})
        rejected = answer["outcome"] == "rejected"
        made = {"granted": 201, "entered": 202}[answer["outcome"]] if not rejected else 0
        status = STATUS.get(answer["reason"], 409) if rejected else made if operation == "book" else 200
        seconds = -(-answer.get("retry_after_ms", 0) // 1000)
        self.answer(status, answer, {"Retry-After": str(seconds)} if seconds else {})

    def answer(self, status, body, headers=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        kind = "json" if status < 400 else "problem+json"
        length = {"Content-Type": f"application/{kind}", "Content-Length": str(len(data))}
        for name, value in (length | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass  # A log of requests would name people.


async def main(port):
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.client, server.loop = await Client.connect(), asyncio.get_running_loop()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    await asyncio.to_thread(server.serve_forever)


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8080))
    except KeyboardInterrupt:
        pass
