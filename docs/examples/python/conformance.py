#!/usr/bin/env python3
"""Lets `giliran conformance` ask the clients beside it: a line in, a line out.

    giliran conformance -- python3 conformance.py
    giliran conformance --http -- python3 conformance.py --http

docs/conformance/README.md says what the lines mean.
"""

import asyncio
import json
import os
import sys
import threading

from answers import next_step


class Cannot(Exception):
    """This client does not do that."""


def read(line):
    """Bytes of an answer: what it says, and what to do next."""
    if line["form"] != "json":
        raise Cannot("this client reads JSON alone")
    answer = json.loads(bytes.fromhex(line["bytes"]))
    told = {"answer": answer}
    if "outcome" in answer:
        told["then"] = next_step(answer, line["operation"])
    return told


class OverNats:
    def __init__(self):
        import giliran

        self.giliran, self.loop = giliran, asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.client, self.events = None, []

    def run(self, doing):
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result()

    def connected(self):
        self.client = self.client or self.run(self.giliran.Client.connect())
        return self.client

    def start(self, _line):
        self.connected()
        return {}

    def write(self, line):
        if line["form"] != "json":
            raise Cannot("this client writes JSON alone")
        subject = f"{os.environ['GILIRAN_PREFIX']}.{line['operation']}"
        return {"subject": subject, "bytes": json.dumps(line["request"]).encode().hex()}

    def fold(self, line):
        bookings = {}
        for event in line["events"]:
            self.giliran.fold(bookings, json.loads(bytes.fromhex(event)))
        return {"bookings": bookings}

    def ask(self, line):
        asking = self.connected().ask(line["operation"], line["request"], line["patience_ms"] / 1000)
        try:
            answer = self.run(asking)
        except self.giliran.Unsettled as error:
            return {"unsettled": str(error)}
        told = {"answer": answer}
        if "outcome" in answer:
            told["then"] = next_step(answer, line["operation"])
        return told

    def listen(self, _line):
        self.run(self.connected().listen(self.events.append))
        return {}

    def heard(self, line):
        def of_booking():
            abouts = ((event, event["data"].get("booking")) for event in list(self.events))
            return [event for event, about in abouts if about and about["id"] == line["booking"]]

        async def enough():
            while len(of_booking()) < line["number"]:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)  # What is too much comes soon.

        try:
            self.run(asyncio.wait_for(enough(), line["within_ms"] / 1000))
        except TimeoutError:
            pass
        return {"events": of_booking()}


class OverHttp:
    def __init__(self):
        import http_client

        self.http = http_client

    def ask(self, line):
        url, patience = os.environ["GILIRAN_URL"], line["patience_ms"] / 1000
        try:
            answer, _ = self.http.ask(url, line["operation"], line["request"], patience)
        except NotImplementedError as error:
            raise Cannot(str(error)) from None
        except self.http.Unsettled as error:
            return {"unsettled": str(error)}
        return {"answer": answer, "then": next_step(answer, line["operation"])}


def main():
    client = OverHttp() if "--http" in sys.argv else OverNats()
    for text in sys.stdin:
        line = json.loads(text)
        try:
            do = read if line["do"] == "read" else getattr(client, line["do"], None)
            told = do(line) if do else {"cannot": f"{line['do']}: not by this client"}
        except Cannot as error:
            told = {"cannot": str(error)}
        except Exception as error:  # Whatever it is, the kit shows it.
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
