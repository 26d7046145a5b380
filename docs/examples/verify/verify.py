#!/usr/bin/env python3
"""Recomputes a draw from its published extract: docs/draw.md, written a second time.

    python3 verify.py draw.json [--root HEX] [--commitment HEX]
                                [--receipt RECEIPT --request-id ID]
    python3 verify.py --proof proof.json --root HEX [--receipt RECEIPT --request-id ID]

Needs Python 3.8 and nothing else. BLAKE3 is not in Python's library, so it stands
here, as far as it is needed: inputs of any length, plain and keyed. It follows the
specification, without tricks. Exit code 0: the file says what the draw gives; 1: it
does not; 2: there is no such file, or an option that cannot be meant so.

It does not check a public value's signature: that needs a pairing, which Python does
not have. `giliran verify` does.
"""

import argparse
import json
import re
import struct
import sys

# --- BLAKE3 -----------------------------------------------------------------

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
      0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
MASK = 0xFFFFFFFF


def _mix(v, a, b, c, d, x, y):
    v[a] = (v[a] + v[b] + x) & MASK
    w = v[d] ^ v[a]
    v[d] = (w >> 16 | w << 16) & MASK
    v[c] = (v[c] + v[d]) & MASK
    w = v[b] ^ v[c]
    v[b] = (w >> 12 | w << 20) & MASK
    v[a] = (v[a] + v[b] + y) & MASK
    w = v[d] ^ v[a]
    v[d] = (w >> 8 | w << 24) & MASK
    v[c] = (v[c] + v[d]) & MASK
    w = v[b] ^ v[c]
    v[b] = (w >> 7 | w << 25) & MASK


def _compress(chaining, block, counter, length, flags):
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = list(chaining) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    for turn in range(7):
        _mix(v, 0, 4, 8, 12, m[0], m[1])
        _mix(v, 1, 5, 9, 13, m[2], m[3])
        _mix(v, 2, 6, 10, 14, m[4], m[5])
        _mix(v, 3, 7, 11, 15, m[6], m[7])
        _mix(v, 0, 5, 10, 15, m[8], m[9])
        _mix(v, 1, 6, 11, 12, m[10], m[11])
        _mix(v, 2, 7, 8, 13, m[12], m[13])
        _mix(v, 3, 4, 9, 14, m[14], m[15])
        if turn < 6:
            m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def _chunk(key, flags, data, counter, last):
    """The chaining value of a chunk of up to 1,024 bytes."""
    blocks = [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    value = list(key)
    for i, block in enumerate(blocks):
        extra = (CHUNK_START if i == 0 else 0) | (CHUNK_END if i == len(blocks) - 1 else 0)
        if last and i == len(blocks) - 1:
            extra |= ROOT
        value = _compress(value, block, counter, len(block), flags | extra)
    return value


def blake3(data, key=None):
    """BLAKE3 of `data`; with a key of 32 bytes, in keyed mode."""
    words, flags = (IV, 0) if key is None else (struct.unpack("<8I", key), KEYED)
    chunks = [data[i:i + 1024] for i in range(0, len(data), 1024)] or [b""]

    def tree(first, count, root):
        if count == 1:
            return _chunk(words, flags, chunks[first], first, root)
        left = 1 << (count - 1).bit_length() - 1
        pair = tree(first, left, False) + tree(first + left, count - left, False)
        node = flags | PARENT | (ROOT if root else 0)
        return _compress(words, struct.pack("<16I", *pair), 0, 64, node)

    return struct.pack("<8I", *tree(0, len(chunks), True))


# --- The draw ---------------------------------------------------------------

class Wrong(Exception):
    """What is wrong with the file."""


def tagged(tag, *parts):
    return blake3(f"giliran {tag:<7}1".encode() + b"".join(parts))


def no_extract(why):
    return Wrong(f"this is not an extract of a draw or a proof, or not all of one: {why}")


def is_text(value):
    """a text"""
    # Half of a surrogate pair is no character.
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def number_of_bits(bits):
    def fits(value):
        return type(value) is int and 0 <= value < 1 << bits
    fits.__doc__ = f"a number from 0 to {(1 << bits) - 1}"
    return fits


def list_of(what):
    def fits(value):
        return isinstance(value, list) and all(what(one) for one in value)
    fits.__doc__ = f"a list, each of it {what.__doc__}"
    return fits


def record(value):
    """an object"""
    return isinstance(value, dict)


def or_null(what):
    def fits(value):
        return value is None or what(value)
    fits.__doc__ = f"null or {what.__doc__}"
    return fits


U16, U32 = number_of_bits(16), number_of_bits(32)
DRAW = {"format": is_text, "ledger": is_text, "opening": is_text, "ordinal": U32,
        "commitment": is_text, "beacon": or_null(record), "root": is_text, "seed": is_text,
        "slots": list_of(record), "passed": list_of(U32), "ballots": list_of(record)}
BEACON = {"name": is_text, "value": is_text}
SLOT = {"office": is_text, "date": is_text, "session": is_text, "places": U32}
BALLOT = {"number": is_text, "holder": is_text, "places": U16, "slots": list_of(U32),
          "drawn": or_null(U32)}


PROOF = {"format": is_text, "ledger": is_text, "opening": is_text, "ordinal": U32,
         "beacon": or_null(is_text),
         "root": is_text, "slots": list_of(record), "entries": number_of_bits(64),
         "index": number_of_bits(64), "ballot": record, "path": list_of(is_text)}
ENTRY = {name: fits for name, fits in BALLOT.items() if name != "drawn"}


def check_fields(what, value, fields):
    """Every field is there, is what it has to be, and there is no other."""
    for name in fields:
        if name not in value:
            raise no_extract(f"{what}missing field `{name}`")
    for name, given in value.items():
        if name not in fields:
            raise no_extract(f"{what}unknown field {name!r:.80}")
        if not fields[name](given):
            raise no_extract(f"{what}{name}: {given!r:.80} is not {fields[name].__doc__}")


def read(file, kind, fields):
    """The extract, or proof, as it stands in the file."""
    def once(pairs):
        if len(dict(pairs)) < len(pairs):
            raise no_extract("a field a second time")
        return dict(pairs)

    try:
        draw = json.load(file, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise no_extract(error) from None
    if not record(draw):
        raise no_extract("an object is needed")
    if draw.get("format", kind) != kind:
        raise Wrong(f"format: {draw['format']!r:.80} is another; this reads {kind}")
    check_fields("", draw, fields)
    if draw.get("beacon") is not None:
        check_fields("beacon: ", draw["beacon"], BEACON)
    for i, slot in enumerate(draw["slots"]):
        check_fields(f"slots[{i}]: ", slot, SLOT)
    for i, ballot in enumerate(draw.get("ballots", [])):
        check_fields(f"ballots[{i}]: ", ballot, BALLOT)
    if "ballot" in draw:
        check_fields("ballot: ", draw["ballot"], ENTRY)
    return draw


def unhex(what, text, length=None):
    if not re.fullmatch("([0-9a-f]{2})*", text):
        raise Wrong(f"{what}: {text!r:.80} is not hexadecimal in lower case")
    data = bytes.fromhex(text)
    if length is not None and len(data) != length:
        raise Wrong(f"{what}: {2 * length} digits are needed, not {len(text)}")
    return data


def number_of(draw, receipt):
    ledger = unhex("ledger", draw["ledger"], 16)
    number = tagged("ballot", ledger, struct.pack("<I", draw["ordinal"]), receipt)[:10]
    return bytes([number[0] & 7]) + number[1:]


def text(text):
    """With its length in bytes before it."""
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def merkle(level):
    while len(level) > 1:
        pairs = [level[i:i + 2] for i in range(0, len(level), 2)]
        level = [tagged("node", *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0] if level else bytes(32)


def leaf_of(ballot, number, holder):
    wanted = struct.pack(f"<{len(ballot['slots'])}I", *ballot["slots"])
    return tagged("leaf", number, holder, struct.pack("<H", ballot["places"]), wanted)


def root_of(draw, beacon, entries, top):
    about = [text(draw["opening"]), text(beacon)]
    for slot in draw["slots"]:
        about += [text(slot[name]) for name in ("office", "date", "session")]
        about.append(struct.pack("<I", slot["places"]))
    head = tagged("head", unhex("ledger", draw["ledger"], 16),
                  struct.pack("<I", draw["ordinal"]), *about)
    return tagged("root", head, struct.pack("<Q", entries), top)


def verify(draw):
    """The file's own words against what they give; how many entries were drawn."""
    slots, numbers, leaves = draw["slots"], [], []
    for i, ballot in enumerate(draw["ballots"]):
        what = f"ballots[{i}]"
        number = unhex(f"{what}.number", ballot["number"], 10)
        holder = unhex(f"{what}.holder", ballot["holder"], 32)
        if ballot["places"] < 1:
            raise Wrong(f"{what}.places: 0, and an entry has at least 1")
        beyond = [s for s in ballot["slots"] if s >= len(slots)]
        if beyond:
            raise Wrong(f"{what}.slots: {beyond[0]}, and there are {len(slots)} slots, from 0 on")
        if numbers and numbers[-1] == number:
            raise Wrong(f"{what}.number: a second time")
        if numbers and numbers[-1] > number:
            raise Wrong(f"{what}.number: out of order; ballots stand by rising number")
        numbers.append(number)
        leaves.append(leaf_of(ballot, number, holder))

    beyond = [s for s in draw["passed"] if s >= len(slots)]
    if beyond:
        raise Wrong(f"passed: {beyond[0]}, and there are {len(slots)} slots, from 0 on")
    if draw["passed"] != sorted(set(draw["passed"])):
        raise Wrong("passed: not by rising index, each once")

    operator = unhex("seed", draw["seed"], 32)
    if blake3(operator) != unhex("commitment", draw["commitment"], 32):
        raise Wrong("seed: it is not the one that was committed to")

    beacon = draw["beacon"] or {"name": "", "value": ""}
    root = root_of(draw, beacon["name"], len(leaves), merkle(leaves))
    if root != unhex("root", draw["root"], 32):
        raise Wrong(f"root: it is not that of these entries and places, which is {root.hex()}; "
                    "one of them was changed, added or dropped")

    seed = tagged("seed", root, operator, unhex("beacon.value", beacon["value"]))
    free = [0 if s in draw["passed"] else slot["places"] for s, slot in enumerate(slots)]
    drawn = 0
    for i in sorted(range(len(numbers)), key=lambda i: (blake3(numbers[i], seed), numbers[i])):
        ballot = draw["ballots"][i]
        got = next((s for s in ballot["slots"] if free[s] >= ballot["places"]), None)
        if got is not None:
            free[got] -= ballot["places"]
            drawn += 1
        if got != ballot["drawn"]:
            raise Wrong(f"ballot {ballot['number']}: it says {ballot['drawn']}, "
                        f"the draw gives it {got}")
    return drawn


def verify_proof(proof, told, receipt, request_id):
    """An entry and the hashes beside its way, against the root that was told."""
    index, entries = proof["index"], proof["entries"]
    if index >= entries:
        raise Wrong(f"index: {index}, and there are {entries} entries")
    number = unhex("ballot.number", proof["ballot"]["number"], 10)
    holder = unhex("ballot.holder", proof["ballot"]["holder"], 32)
    node, path = leaf_of(proof["ballot"], number, holder), list(proof["path"])
    while entries > 1:
        if index ^ 1 < entries:
            if not path:
                raise Wrong("path: it is too short")
            beside = unhex("path", path.pop(0), 32)
            node = tagged("node", *((beside, node) if index % 2 else (node, beside)))
        index, entries = index // 2, (entries + 1) // 2
    if path:
        raise Wrong("path: it is too long")
    root = root_of(proof, proof["beacon"] or "", proof["entries"], node)
    if root != unhex("root", proof["root"], 32):
        raise Wrong(f"root: entry and path lead to {root.hex()}, not to {proof['root']}; "
                    "one of them was changed")
    if told != proof["root"]:
        raise Wrong(f"root: another one was published before the draw; the proof's is {proof['root']}")
    if receipt is not None:
        if number_of(proof, receipt) != number:
            raise Wrong("the entry is not that of this receipt")
        if tagged("holder", receipt, request_id.encode()) != holder:
            raise Wrong("the entry was made by another request")


SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def receipt_bytes(text):
    """Fifteen symbols of 5 bits; the sixteenth checks them, in GF(2^5)."""
    plain = text.upper().replace("-", "").replace("O", "0").replace("I", "1").replace("L", "1")
    bits = check = 0
    fits = len(plain) == 16 and all(symbol in SYMBOLS for symbol in plain)
    for i, symbol in enumerate(plain if fits else ""):
        check = check << 1 ^ (0b100101 if check & 16 else 0)
        if i < 15:
            check ^= SYMBOLS.index(symbol)
            bits = bits << 5 | SYMBOLS.index(symbol)
    if not fits or SYMBOLS[check] != plain[15]:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a receipt: sixteen letters and digits, "
            "the last of which checks the others")
    return bits.to_bytes(10, "big")


def hash_digits(text):
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"64 hexadecimal digits are needed, not {text!r}")
    return text.lower()


def find(draw, receipt, request_id):
    number = number_of(draw, receipt).hex()
    ballot = next((b for b in draw["ballots"] if b["number"] == number), None)
    if ballot is None:
        raise Wrong(f"this receipt is not in the draw of opening {draw['opening']}: it is of "
                    "another opening, was withdrawn, or was left out")
    if ballot["holder"] != tagged("holder", receipt, request_id.encode()).hex():
        raise Wrong("the entry of this receipt was made by another request")
    return ballot


def main():
    parser = argparse.ArgumentParser(description="Recomputes a draw from its extract.")
    parser.add_argument("file")
    parser.add_argument("--proof", action="store_true", help="the file is an entry's proof")
    parser.add_argument("--root", type=hash_digits, help="as published at the close")
    parser.add_argument("--commitment", type=hash_digits, help="as published before the opening")
    parser.add_argument("--receipt", type=receipt_bytes)
    parser.add_argument("--request-id")
    args = parser.parse_args()
    if (args.receipt is None) != (args.request_id is None):
        parser.error("--receipt and --request-id go together")
    if args.proof and args.root is None:
        parser.error("--proof needs --root")
    try:
        with open(args.file, encoding="utf-8") as file:
            if args.proof:
                proof = read(file, "giliran-proof/1", PROOF)
                verify_proof(proof, args.root, args.receipt, args.request_id)
                print(f"{args.file}: ballot {proof['ballot']['number']} is one of the "
                      f"{proof['entries']} in the draw of opening {proof['opening']}")
                return 0
            draw = read(file, "giliran-draw/1", DRAW)
        drawn = verify(draw)
        for what, told in ("root", args.root), ("commitment", args.commitment):
            if told not in (None, draw[what]):
                raise Wrong(f"{what}: another one was published before the draw; "
                            f"the file's is {draw[what]}")
        print(f"{args.file}: the draw of opening {draw['opening']} gives what it says: "
              f"{len(draw['ballots'])} entries, {drawn} drawn")
        if draw["beacon"]:
            print(f"mixed in: {draw['beacon']['name']!r:.200}; its signature is not checked here")
        else:
            print("no public value was mixed in: the operator must be trusted")
        if args.receipt:
            ballot = find(draw, args.receipt, args.request_id)
            print(f"ballot {ballot['number']}: in the draw; slot {ballot['drawn']}")
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    except Wrong as wrong:
        print(f"{args.file}: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
