#!/usr/bin/env python3
"""Checks a statement of an opening, with nothing but Python's own library.

    python3 check.py 2026-W49.statement

Written from docs/statement.md, apart from giliran. Exit code 0: it holds
together; 1: it was changed, or says that a promise was broken; 2: no file, or no
text in UTF-8.
"""

import hashlib
import json
import re
import sys
from datetime import date, datetime, timedelta, timezone

ZERO = "0" * 64
SETTLES_MS = 5_000
TAKES = {"granted": "granted", "revived": "revived", "moved_in": None}
RETURNS = {"cancelled": "cancelled", "revoked": "revoked", "expired": "expired", "moved_out": "moved"}
FIELDS = {
    "opened": "", "closed": "", "closes_at": "at operator why", "beacon": "operator why",
    "granted": "slot places free", "revived": "slot places free", "moved_in": "slot places free",
    "released": "slot places free",
    "cancelled": "slot places withheld free", "revoked": "slot places withheld free",
    "expired": "slot places withheld free", "moved_out": "slot places withheld free",
    "quota": "slot to free operator why", "reserved": "slot to free operator why",
    "halted": "slot to free operator why",
    "refused": "reason second count",
}
REASONS = set("malformed unknown_opening not_open closed unknown_slot not_permitted party_too_large "
              "account_limit already_booked conflict sold_out expired not_found wrong_state busy "
              "unavailable applicant_limit unknown".split())
HEAD = ("giliran_statement ledger opening timezone opens_at closes_at order max_party hold_ms "
        "cancelled expired seq block")
TEXTS = {"opening", "timezone", "order", "cancelled", "expired", "office", "date", "session", "did",
         "reason", "state", "operator", "why"}
PLAIN = "[ -~]*"
# What no operator and no reason has: controls, what breaks a line or turns its
# direction, what is no character.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff"
                         "\ufff0-\ufffb" + "".join(
                             chr(plane << 16 | end) for plane in range(17) for end in (65534, 65535))
                         + "]")
SIGNED = {"operator": 64, "why": 256}
U32, U64, I64 = 2**32 - 1, 2**64 - 1, 2**63
NUMBERS = {"giliran_statement": (1, 1), "max_party": (1, 5), "hold_ms": (0, U64), "seq": (0, U64),
           "slot": (0, U32), "quota": (0, 65535), "places": (1, U32), "withheld": (0, U32),
           "to": (0, 65535), "second": (-I64, I64 - 1), "count": (0, U64), "free": (-I64, I64 - 1)}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Wrong(Exception):
    """What is wrong with a line."""


def need(condition, what):
    if not condition:
        raise Wrong(what)


def written(line):
    """The one way to write a line."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def fields(line, names, what):
    need(isinstance(line, dict), f"{what} is no object")
    need(list(line) == names.split(), f"{what} has other fields than it should, or in another order")
    for name, value in line.items():
        if name in NUMBERS and not (name == "hold_ms" and value is None):
            least, most = NUMBERS[name]
            need(type(value) is int and least <= value <= most, f"{name} cannot be {value!a}")
        if name in TEXTS:
            need(isinstance(value, str), f"{name} is no text")
        if name in SIGNED:
            need(1 <= len(value.encode()) <= SIGNED[name] and not UNPRINTABLE.search(value),
                 f"{name} cannot be {value!a}")


def matches(pattern, text, what):
    need(isinstance(text, str) and re.fullmatch(pattern, text), f"{text!a} is no {what}")


def hexadecimal(text, digits):
    matches(f"[0-9a-f]{{{digits}}}", text, f"{digits} hexadecimal digits")


def milliseconds(time):
    matches(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", time, "time")
    need("2000" <= time < "9999-12-30", f"{time!a} is no time")
    try:
        at = datetime.fromisoformat(time[:-1] + "+00:00")
    except ValueError as error:
        raise Wrong(f"{time!a} is no time") from error
    return (at - EPOCH) // timedelta(milliseconds=1)


def day(text):
    matches("[0-9]{4}-[0-9]{2}-[0-9]{2}", text, "day")
    need("2000" <= text < "9999-12-30", f"{text!a} is no day")
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise Wrong(f"{text!a} is no day") from error


class Slot:
    def __init__(self, quota):
        self.quota, self.reserved, self.halted, self.taken, self.withheld = quota, 0, 0, 0, 0
        self.lapsed, self.at_begin, self.block = 0, quota, None
        self.offered = [(float("-inf"), quota)]

    def free(self):
        return self.quota - self.reserved - self.taken - self.withheld

    def begin(self, block):
        if self.block != block:
            self.block, self.at_begin = block, self.free()

    def take(self, places):
        """Takes places; how many of them there were not."""
        lacking = max(0, -self.free(), -self.at_begin)
        beyond = max(0, self.taken + self.reserved - self.quota)
        self.taken += places
        if self.halted:
            return places
        return max(0, -self.free() - lacking, self.taken + self.reserved - self.quota - beyond)

    def note(self, ms):
        self.offered.append((ms, 0 if self.halted else max(self.free(), 0)))

    def least(self, start, end):
        before = [n for at, n in self.offered if at <= start][-1]
        return min([before] + [n for at, n in self.offered if start < at < end])


class Account:
    def __init__(self, head):
        self.head, self.slots, self.rejected = head, [], []
        self.opened = self.closed = False
        self.oversold = self.ever = self.moving = 0
        self.totals = dict.fromkeys(
            "quota reserved halted granted cancelled revoked expired moved at_once revived released taken "
            "withheld free refused sold_out".split(), 0)

    def block(self, seq, ms, changes):
        need(isinstance(changes, list), "its changes are no list")
        self.moving = 0
        for change in changes:
            self.change(seq, ms, change)
        need(self.moving == 0,
             f"moved_in and moved_out of one block differ by {abs(self.moving)} places")

    def change(self, seq, ms, change):
        did = change.get("did") if isinstance(change, dict) else None
        need(isinstance(did, str) and did in FIELDS, f"there is no change {did!a}")
        slot_too = "slot " if did == "refused" and "slot" in change else ""
        fields(change, "did " + slot_too + FIELDS[did], did)
        slot = None
        if "slot" in change:
            need(change["slot"] < len(self.slots), f"there is no slot {change['slot']}")
            slot = self.slots[change["slot"]]
        if did in ("opened", "closed"):
            need((self.state() == "open") == (did == "closed"), f"{did} while it is {self.state()}")
            self.opened, self.closed = True, did == "closed"
        elif did == "closes_at":
            milliseconds(change["at"])
        elif did == "beacon":
            pass
        elif did == "refused":
            self.reject(change)
        else:
            slot.begin(seq)
            self.places(slot, did, change)
            need(slot.free() == change["free"],
                 f"{did} in slot {change['slot']} leaves {slot.free()} places free, "
                 f"not {change['free']}")
            slot.note(ms)

    def reject(self, change):
        need(change["reason"] in REASONS, f"no rejection is called {change['reason']!a}")
        self.totals["refused"] += change["count"]
        need(self.totals["refused"] <= U64, "more rejections than can be counted")
        self.rejected.append(change)
        if change["reason"] == "sold_out":
            self.totals["sold_out"] += change["count"]

    def places(self, slot, did, change):
        if did in ("quota", "reserved", "halted"):
            need(did != "halted" or change["to"] <= 1, f"halted to {change['to']}")
            setattr(slot, did, change["to"])
            return
        places = change["places"]
        if did in TAKES:
            need(self.opened, "places are taken before it opened")
            self.ever += places
            need(self.ever < I64, "more places than can be counted")
            if did == "revived":
                need(places <= slot.lapsed, f"{places} revived where {slot.lapsed} have lapsed")
                slot.lapsed -= places
            elif did == "moved_in":
                self.moving += places
            self.oversold += slot.take(places)
            total = TAKES[did]
        elif did == "released":
            need(places <= slot.withheld, f"{places} released where {slot.withheld} are withheld")
            slot.withheld -= places
            total = "released"
        else:
            need(change["withheld"] <= places <= slot.taken,
                 f"{places} come back where {slot.taken} are taken")
            slot.taken -= places
            slot.withheld += change["withheld"]
            if did == "expired":
                slot.lapsed += places
            elif did == "moved_out":
                self.moving -= places
            self.totals["at_once"] += places - change["withheld"]
            total = RETURNS[did]
        if total:
            self.totals[total] += places

    def closing(self, end):
        totals = self.totals
        for slot in self.slots:
            totals["quota"] += slot.quota
            totals["reserved"] += slot.reserved
            totals["taken"] += slot.taken
            totals["withheld"] += slot.withheld
            shut = max(slot.free(), 0) if slot.halted else 0
            totals["halted"] += shut
            totals["free"] += slot.free() - shut
        undersold = unclear = None
        if self.rejected:
            undersold = unclear = 0
            for rejection in self.rejected:
                if rejection["reason"] != "sold_out":
                    continue
                if "slot" not in rejection:
                    unclear += rejection["count"]
                    continue
                start = rejection["second"] * 1000
                slot = self.slots[rejection["slot"]]
                least = slot.least(start - SETTLES_MS, start + 1000)
                if least >= self.head["max_party"]:
                    undersold += rejection["count"]
                elif least >= 1:
                    unclear += rejection["count"]
        return {"end": end, "totals": totals, "oversold": self.oversold, "undersold": undersold,
                "unclear": unclear, "says": self.says(end, undersold, unclear)}

    def state(self):
        return "closed" if self.closed else "open" if self.opened else "scheduled"

    def says(self, end, undersold, unclear):
        t = self.totals
        returned = t["cancelled"] + t["revoked"] + t["expired"] + t["moved"]
        first = (f"The opening is closed, at {end['time']}." if end["state"] == "closed" else
                 f"PRELIMINARY: the opening is {end['state']}, at {end['time']}; every figure may "
                 "change.")
        over = ("No oversell: at no point were more places taken than a slot had."
                if not self.oversold else
                f"OVERSOLD: {self.oversold} places were taken beyond what a slot had.")
        if undersold is None:
            under = "Undersell cannot be judged: the ledger holds no count of refusals."
        elif undersold == 0:
            under = (f"No undersell: of {t['sold_out']} requests told that all was sold out, none "
                     "is known to have been beside places free for any party; "
                     f"{unclear} cannot be judged.")
        else:
            under = (f"UNDERSOLD: {undersold} of {t['sold_out']} requests were told that all was "
                     f"sold out beside free places; {unclear} cannot be judged.")
        return [
            first,
            f"Quota: {t['quota']} places in {len(self.slots)} slots.",
            f"Granted: {t['granted']} places. Returned: {returned} (cancelled {t['cancelled']}, "
            f"taken back {t['revoked']}, lapsed {t['expired']}, moved {t['moved']}), "
            f"{t['at_once']} of them free at once; released later: {t['released']}; lapsed and "
            f"had again by a late payment: {t['revived']}.",
            f"At the end: {t['taken']} taken, {t['withheld']} withheld, {t['reserved']} reserved, "
            f"{t['halted']} in halted slots, {t['free']} free.",
            over,
            under,
        ]


class Statement:
    """Reads the lines; `self.line` is the one that is looked at."""

    def __init__(self, data):
        self.line, self.last = 0, ZERO
        self.whole = data.endswith(b"\n")
        self.lines = data.split(b"\n")
        if self.whole:
            self.lines.pop()

    def next(self, what):
        self.line += 1
        need(self.line <= len(self.lines) and self.lines != [b""],
             f"{what} is missing: the statement is incomplete")
        raw = self.lines[self.line - 1]
        need(self.whole or self.line < len(self.lines),
             "ends in the middle of a line: the statement is incomplete")
        found, space, text = raw.partition(b" ")
        need(space, "is not of the form HASH JSON")
        expected = hashlib.sha256(self.last.encode() + b" " + text).hexdigest()
        need(found == expected.encode(),
             "its hash does not fit: this line was changed, or one before it was left out, added "
             "or moved")
        self.last = expected
        try:
            line = json.loads(text.decode())
            the_one_way = written(line).encode() == text
        except (ValueError, RecursionError) as error:
            raise Wrong("is no JSON, or none for this") from error
        need(the_one_way, "is not written the one way there is to write it")
        return line

    def check(self):
        head = self.next("the first line")
        fields(head, HEAD, "the first line")
        hexadecimal(head["ledger"], 32)
        hexadecimal(head["block"], 64)
        milliseconds(head["opens_at"])
        milliseconds(head["closes_at"])
        matches("[A-Za-z0-9-]{1,40}", head["opening"], "opening's id")
        for name in ("timezone", "order", "cancelled", "expired"):
            matches(PLAIN, head[name], "plain text")
        account = Account(head)
        seq, time, block = head["seq"], None, head["block"]
        while True:
            line = self.next("the closing line")
            need(isinstance(line, dict), "is no object")
            if "slot" in line and time is None:
                fields(line, "slot office date session quota", "a slot")
                need(line["slot"] == len(account.slots),
                     f"slot {line['slot']} where slot {len(account.slots)} belongs")
                for name in ("office", "session"):
                    matches("[a-z0-9-]{1,40}", line[name], "id")
                day(line["date"])
                account.slots.append(Slot(line["quota"]))
            elif "end" in line:
                break
            else:
                fields(line, "seq time block changes", "a block")
                hexadecimal(line["block"], 64)
                at = milliseconds(line["time"])
                need(line["seq"] > seq, f"sequence {line['seq']} after {seq}")
                need(time is None or at >= time, "time runs backwards")
                seq, time, block = line["seq"], at, line["block"]
                account.block(seq, at, line["changes"])
        fields(line, "end totals oversold undersold unclear says", "the closing line")
        end = line["end"]
        fields(end, "state seq time block", "the end")
        hexadecimal(end["block"], 64)
        need(end["seq"] >= seq, f"sequence {end['seq']} after {seq}")
        at = milliseconds(end["time"])
        need(time is None or at >= time, "time runs backwards")
        need(end["seq"] > seq or end["block"] == block, f"another hash of block {seq} than before")
        need(end["state"] == account.state(), f"says {end['state']!a}, but it is {account.state()}")
        recomputed = account.closing(end)
        for name, value in recomputed.items():
            need(written(line[name]) == written(value),
                 f"{name} is {line[name]!a}, but the lines come to {value!a}")
        self.line += 1
        need(self.line > len(self.lines), "goes on behind its end")
        return head, recomputed


def main():
    if len(sys.argv) != 2:
        print("usage: check.py FILE", file=sys.stderr)
        return 2
    try:
        with open(sys.argv[1], "rb") as file:
            data = file.read()
        data.decode()
    except (OSError, UnicodeDecodeError) as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        return 2
    statement = Statement(data)
    try:
        head, closing = statement.check()
    except Wrong as wrong:
        print(f"{sys.argv[1]}: line {statement.line}: {wrong}", file=sys.stderr)
        return 1
    print(f"Opening {head['opening']}, up to sequence {closing['end']['seq']} of the ledger")
    for sentence in closing["says"]:
        print(f"- {sentence}")
    print(f"seal {statement.last}")
    return 1 if closing["oversold"] or closing["undersold"] else 0


if __name__ == "__main__":
    sys.exit(main())
