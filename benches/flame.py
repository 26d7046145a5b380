"""Draws where the engine's time goes under one row of the benchmark, as a flame graph:

    cargo xtask bench flame S4 --out docs/performance/flame-s4.svg

`giliran bench` runs with this row, and `perf` samples the engine's process meanwhile. A frame is
as wide as its part of the samples, and stands on its caller; what is inlined counts with that.
"""

import collections
import html
import pathlib
import re
import subprocess
import sys
import tempfile

WIDTH, HEIGHT, CHARACTER, LEAST = 1200, 17, 6.7, 0.005  # LEAST: a part of all samples.
ALLOCATOR = r"^_?mi_|malloc|realloc|^cfree|^free|__rust_|__rdl"
KINDS = [  # What a frame belongs to: the first whose expression is in its name.
    ("kernel", r"^kernel", "#c9b8e8"),
    ("Giliran", r"^giliran|^the engine", "#f2b07a"),
    ("NATS client and tokio", r"async_nats|tokio|mio::|bytes::|futures", "#9cc9ee"),
    ("memory allocator", ALLOCATOR, "#f3d36b"),
    ("other", r"", "#cfd4da"),
]
BENCH = "bench --rows {} --passes 1 --book 400000"
DULL = r"\[unknown\]|_*start$|main$|_*clone|.*thread_start|start_thread|std::|core::ops|tokio::runtime::"


def measured(row, giliran, folder):
    """Samples the engine's process during the row; what `perf script` says."""
    bench = subprocess.Popen([giliran, *BENCH.format(row).split()], stderr=subprocess.PIPE, text=True)
    data, perf = f"{folder}/perf.data", None
    for line in bench.stderr:
        sys.stderr.write(line)
        if perf is None and line.startswith(f"pass 1 of 1: {row} "):
            engine = subprocess.check_output(["pgrep", "-P", str(bench.pid), "-f", " serve "], text=True)
            perf = "perf record -q -e cpu-clock -F 997 --call-graph dwarf,16384".split()
            perf = subprocess.Popen([*perf, "-o", data, "-p", engine.strip()])
    if bench.wait() or perf is None or perf.wait():
        sys.exit("the benchmark or perf failed; see above")
    script = "perf script --no-inline -F comm,ip,sym,dso -i".split()
    return subprocess.run([*script, data], capture_output=True, text=True).stdout


def plain(symbol):
    """A name without hashes, generic arguments and the trait that it implements."""
    name = re.sub(r"::h[0-9a-f]{16}$|::\{\{closure\}\}|\.llvm\.\d+|\+0x[0-9a-f]+$", "", symbol)
    name = re.sub(r"^<&?(.+?) as .+?>::", r"\1::", name)
    while (shorter := re.sub(r"(::)?<[^<>]*>", "", name)) != name:
        name = shorter
    return name.removeprefix("<")


def folded(script):
    """How often each stack was seen, from the outermost to the innermost frame."""
    stacks = collections.Counter()
    for sample in script.strip().split("\n\n"):
        stack = ["the engine"]
        for frame in reversed(sample.split("\n")[1:]):
            _, symbol, where = re.match(r"\s*(\S+) (.*) \((.*)\)", frame).groups()
            if "kernel" in where:  # One frame for all of a call.
                stack += [] if stack[-1].startswith("kernel") else ["kernel"]
                if call := re.match(r"__(?:x64|arm64)_sys_(\w+)|asm_exc_(\w+)", symbol):
                    stack[-1] = f"kernel: {call[1] or call[2]}"
                continue
            name = plain(symbol)
            allocates = re.search(ALLOCATOR, name) and re.search(ALLOCATOR, stack[-1])
            if name != stack[-1] and not allocates and not re.match(DULL, name):
                stack.append(name)
        stacks[tuple(stack)] += 1
    return stacks


def placed(stacks, total, left=0, depth=0):
    """Each frame that is wide enough: its name, where it begins, its height, its samples."""
    groups = collections.defaultdict(collections.Counter)
    for stack, count in stacks.items():
        groups[stack[0]][stack[1:]] += count
    for name, inner in sorted(groups.items()):
        count = sum(inner.values())
        if count >= LEAST * total:
            yield name, left, depth, count
            inner.pop((), None)
            yield from placed(inner, total, left, depth + 1)
        left += count


def drawn(stacks, row):
    """The picture: frames from the bottom up, and what their colours mean."""
    frames = list(placed(stacks, total := sum(stacks.values())))
    high = (max(frame[2] for frame in frames) + 3) * HEIGHT
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" role="img">'
           f"<title>The engine under {row}, {total} samples</title><metadata>Made by: giliran "
           f"{BENCH.format(row)}, sampled by perf</metadata>"
           "<style>text{font:11px ui-monospace,monospace;fill:#1c1f23}"
           'rect{stroke:#fff;stroke-width:.6}</style><rect width="100%" height="100%" fill="#fff"/>']

    def box(x, y, width, name, about):
        short, room = "::".join(name.split("::")[-2:]), int((width - 4) / CHARACTER)
        label = short if len(short) <= room else short[: room - 1] + "…" if room > 3 else ""
        colour = next(colour for kind, known, colour in KINDS if kind == name or re.search(known, name))
        svg.append(f'<g><title>{html.escape(about)}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" '
                   f'height="{HEIGHT}" fill="{colour}"/><text x="{x + 2:.1f}" y="{y + 12}">'
                   f"{html.escape(label)}</text></g>")

    for place, kind in enumerate(KINDS):
        box(place * 200, 0, 180, kind[0], kind[0])
    for name, left, depth, count in frames:
        box(left / total * WIDTH, high - (depth + 1) * HEIGHT, count / total * WIDTH, name,
            f"{name}, {count / total:.1%}")
    return "\n".join(svg) + "</svg>\n"


if __name__ == "__main__":
    row, giliran, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        stacks = folded(measured(row, giliran, folder))
    pathlib.Path(out).write_text(drawn(stacks, row))
