#!/usr/bin/env python3
"""A nation asks at once: what of the system is full first, how long people wait, what it takes.

A model, not a measurement. It takes what one request costs each process from a recorded result of
`cargo xtask bench e2e`, and lets requests flow through the parts of the path in steps of 10 ms.
`docs/nation.md` explains it and has its tables.

  python3 benches/nation.py                          the tables, from the newest recorded result
  python3 benches/nation.py --requests 1e8 --cores 8
  python3 benches/nation.py --write docs/nation.md   puts them into the page
  python3 benches/nation.py --check docs/nation.md   fails where the tables there are others
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
STEP_S = 0.01

# What was not measured here, and is taken for it. Change it on the command line.
ASSUMED = {
    "requests": (1e9, "requests in the surge"),
    "places": (1e7, "places that there are"),
    "lasts": (600.0, "s, length of the surge"),
    "first": (0.2, "share of all requests in its first ten seconds; the others thin out evenly"),
    "cores": (16, "cores of a machine, each as fast as those that were measured"),
    "http_us": (30.0, "µs of a gateway's processor time for a booking over HTTP"),
    "network": (25.0, "Gbit/s of a machine's network, each way"),
    "copy_ms": (0.5, "ms that a copy of a block in another data centre takes, in a cluster of three"),
    "repeats": (1.0, "times that the engine gets each request"),
}

# The most grants of one block of the ledger.
BLOCK = 4_990
FIRST_S = 10.0
# Where the tables stand in a page.
BEGIN = "<!-- tables of benches/nation.py -->\n\n"
END = "\n\n<!-- end of the tables -->"


class Measured:
    """What a recorded result says of one request."""

    def __init__(self, file):
        result = json.loads(file.read_text())
        self.about = result["about"]
        self.bytes = result["bytes"]
        self.idle_ms = result["idle_ms"]
        self.rows = {}
        for one in result["passes"]:
            self.rows.setdefault(one["row"], []).append(one)
        counted = {}
        for line in (RESULTS / "instructions.txt").read_text().splitlines():
            if not line.startswith("#"):
                count, name = line.split(maxsplit=1)
                counted[name] = int(count)
        # Of a batched grant: reading it, deciding it and writing its answer are done by any
        # worker; the rest, from the queue to the ledger and into the tables, by one thread.
        serial = counted["sequence granted"] - counted["decide granted"]
        whole = counted["read batch"] + counted["sequence granted"] + counted["write granted"]
        self.serial = serial / whole

    def cpu(self, row, process=None):
        """Median µs of processor time a request, of one process or of all."""
        def of(one):
            return one["cpu_us"][process] if process else sum(one["cpu_us"].values())
        return statistics.median(of(one) for one in self.rows[row])

    def rate(self, row):
        return statistics.median(one["per_s"] for one in self.rows[row])

    def idle(self, row):
        return statistics.median(one["idle"] for one in self.rows[row])

    def block_ms(self, grants):
        """How long the ledger takes for a block: a synced append of its size."""
        a_byte = (self.idle_ms["append_64_kib"] - self.idle_ms["append"]) / 65_536
        return self.idle_ms["append"] + a_byte * grants * self.bytes["entry"]


def checks(measured):
    """Rows that no figure was taken from, predicted and measured."""
    cores = measured.about["cores"]
    mixed = 0.9 * measured.cpu("S1") + 0.1 * measured.cpu("S2")
    yield "one grant in ten, single (row `mixed`)", (
        cores * (1 - measured.idle("mixed")) / mixed * 1e6
    ), measured.rate("mixed")
    forms = measured.cpu("S2") + measured.cpu("S6 sold out") - measured.cpu("S5")
    yield "grants in JSON, single (`S6 single`, from JSON's price in batches)", (
        cores * (1 - measured.idle("S6 single")) / forms * 1e6
    ), measured.rate("S6 single")
    idle = measured.idle_ms
    yield "an idle grant, 1/ms (`S8`)", 1e3 / (idle["round_trip"] + idle["append"]), 1e3 / idle["grant"]


class Way:
    """The parts of one engine's path, each with what it can do in a second, and what it takes
    of a grant and of a rejection."""

    def __init__(self, measured, given, batched, copies):
        cores, m = given["cores"], measured
        grant, full = ("S4", "S5") if batched else ("S2", "S1")
        engine = (m.cpu(grant, "engine"), m.cpu(full, "engine"))
        serial = m.serial * engine[0]
        # A process that does nothing but answer is one connection's task; a batch is a message
        # of a thousand, so a thousandth of it each.
        message = m.cpu("echo U", "echo") / (1_000 if batched else 1)
        size = m.bytes
        ack_ms = m.block_ms(BLOCK) + (given["copy_ms"] if copies > 1 else 0)
        wire = given["network"] / 8 * 1e3  # bytes in a µs
        # µs of each part's time: name -> (servers, of a grant, of a rejection)
        out = (size["request"] + size["grant"] + copies * size["entry"]) / wire
        self.parts = {
            "broker, processor": (cores, m.cpu(grant, "broker"), m.cpu(full, "broker")),
            "broker, network": (1, out, (size["request"] + size["rejection"]) / wire),
            "engine, connection": (1, message, message),
            "engine, deciding": (cores - 2, engine[0] - serial, engine[1]),
            "engine, sequencer": (1, serial, 0.0),
            "ledger": (1, ack_ms * 1e3 / BLOCK, 0.0),
        }

    def most(self, of_grant):
        """Grants or rejections alone, a second, and what is full then."""
        took = {name: part[1 if of_grant else 2] / part[0] for name, part in self.parts.items()}
        name = max(took, key=took.get)
        return 1e6 / took[name], name


def arrivals(given, t):
    """Requests in a second at `t`: many in the first ten seconds, then ever fewer."""
    requests, lasts, first = given["requests"], given["lasts"], given["first"]
    if t < FIRST_S:
        return requests * first / FIRST_S
    rest = lasts - FIRST_S
    return requests * (1 - first) * 2 / rest * (1 - (t - FIRST_S) / rest) if t < lasts else 0.0


def surge(path, given, engines):
    """The surge through so many engines side by side, each with its share: whoever came first
    is served first, with a place as long as there is one."""
    left = given["places"] / engines
    (granting, by_grants), (rejecting, by_full) = path.most(True), path.most(False)
    waiting = most_waiting = longest_wait = 0.0
    sold_out_at = None
    full = {}
    t = 0.0
    while waiting > 0 or t < given["lasts"]:
        new = arrivals(given, t) / engines * STEP_S * given["repeats"]
        # What is at the queue's end waits for all before it.
        waiting += new
        grants = min(waiting, left)
        longest_wait = max(longest_wait, grants / granting + (waiting - grants) / rejecting - STEP_S)
        granted = min(grants, granting * STEP_S)
        rest = STEP_S - granted / granting
        rejected = min(waiting - grants, rejecting * rest) if granted == left or left == 0 else 0.0
        waiting, left = waiting - granted - rejected, left - granted
        if waiting > 0:
            name = by_grants if left > 0 else by_full
            full[name] = full.get(name, 0.0) + STEP_S
        most_waiting = max(most_waiting, waiting)
        t += STEP_S
        if sold_out_at is None and left <= 0:
            sold_out_at = t
    return {
        "sold_out_s": sold_out_at,
        "answered_s": t,
        "wait_s": longest_wait,
        "waiting": most_waiting * engines,
        "full": max(full, key=full.get) if full else "nothing",
    }


def number(value):
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def tables(measured, given):
    about = measured.about
    lines = ["| what | predicted | measured | |", "|---|---|---|---|"]
    for what, predicted, was in checks(measured):
        off = (predicted / was - 1) * 100
        lines.append(f"| {what} | {number(predicted)} | {number(was)} | {off:+.0f} % |")
    lines += ["", "| one engine, cluster of three | grants a second | full first | rejections a "
              "second | full first |", "|---|---|---|---|---|"]
    for batched, name in ((False, "one request a message"), (True, "1,000 a message")):
        path = Way(measured, given, batched, 3)
        grants, by = path.most(True)
        full, by_full = path.most(False)
        lines.append(f"| {name} | {number(grants)} | {by} | {number(full)} | {by_full} |")
    lines += ["", "| engines, messages, broker | places gone after | longest wait | most who wait "
              "| all answered after | full longest |", "|---|---|---|---|---|---|"]
    for engines, batched, copies in ((1, False, 3), (1, True, 1), (1, True, 3), (4, True, 3),
                                     (38, True, 3)):
        end = surge(Way(measured, given, batched, copies), given, engines)
        form = "1,000 a message" if batched else "one a message"
        broker = "cluster of three" if copies > 1 else "alone"
        gone = "never" if end["sold_out_s"] is None else f"{end['sold_out_s']:.1f} s"
        lines.append(
            f"| {engines}, {form}, {broker} | {gone} | {end['wait_s']:.1f} s | "
            f"{number(end['waiting'])} | {end['answered_s']:.0f} s | {end['full']} |"
        )
    peak = arrivals(given, 0.0)
    machines = peak * given["http_us"] / 1e6 / given["cores"]
    even = given["requests"] / given["lasts"] * given["http_us"] / 1e6 / given["cores"]
    hours = given["requests"] * given["http_us"] / 1e6 / 3600
    engine_us = measured.cpu("S5")
    lines += ["", "| what it takes | |", "|---|---|",
              f"| requests a second at the peak | {number(peak)} |",
              f"| gateways at the peak, machines of {given['cores']:.0f} cores | {machines:.0f} |",
              f"| gateways where people are let in evenly (a waiting room) | {even:.0f} |",
              f"| processor time of all gateways | {hours:.1f} core-hours |",
              f"| processor time behind them, at {engine_us:.2f} µs a rejection | "
              f"{given['requests'] * engine_us / 1e6 / 3600:.2f} core-hours |",
              f"| ledger of all places, three copies | "
              f"{given['places'] * measured.bytes['entry'] * 3 / 1e9:.1f} GB |"]
    head = (f"From `{about['measured_at'][:10]}`, commit {about['commit']}, {about['cores']} cores; "
            f"share of a batched grant that one thread does: {measured.serial:.2f}.")
    return head + "\n\n" + "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="a result of `cargo xtask bench e2e`")
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--check", type=Path, metavar="FILE", help="a page that has the tables")
    page.add_argument("--write", type=Path, metavar="FILE", help="a page to put the tables into")
    for name, (value, what) in ASSUMED.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value,
                            help=f"{what.replace('%', '%%')} (%(default)g)")
    args = parser.parse_args()
    given = {name: getattr(args, name) for name in ASSUMED}
    for name, value in given.items():
        if value <= 0:
            parser.error(f"--{name.replace('_', '-')}: {value:g} is to be above 0")
    if given["cores"] < 3 or given["first"] > 1 or given["lasts"] <= FIRST_S:
        parser.error("--cores is to be 3 or more, --first 1 or less, --lasts more than 10")
    file = args.results or max(RESULTS.glob("e2e-*.json"))
    text = tables(Measured(file), given)
    page = args.check or args.write
    if page is None:
        print(text)
        return
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        sys.exit(f"{page}: no `{BEGIN.strip()}` and `{END.strip()}` in it")
    new = before + BEGIN + text + END + after
    if args.write:
        page.write_text(new)
    elif new != page.read_text():
        sys.exit(f"{page}: its tables are not those that this program prints from {file}; "
                 f"`python3 benches/nation.py --write {page}` puts these in")


if __name__ == "__main__":
    main()
