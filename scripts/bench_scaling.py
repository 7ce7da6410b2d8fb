#!/usr/bin/env python3
"""How the cost of training grows with batch, layers, sequence length and vocabulary.

    cargo build --release --package slender
    python3 scripts/bench_scaling.py --report docs/performance.md
    python3 scripts/bench_scaling.py --rounds 1 --repetitions 1      # a trial of two minutes
    python3 scripts/bench_scaling.py --rounds 0                      # prints what --out holds

Runs `slender bench train` around one base, configs/bench/b-11m.toml, and changes one quantity at a
time. What is expected is that the time of a token is proportional to its model FLOPs, which
`slender bench` counts (model_flops_per_s / tokens_per_s); the prediction is anchored at the base
and has no other constant. A point below it has costs that the FLOPs do not know, such as memory
traffic and the optimizer's pass; a point above it runs its products better than the base does.

A round measures every point once, in a process of its own and in shuffled order; the next round
takes the same order backwards, so that a steady drift of the machine's speed cancels and none looks
like a trend. The base, on which every prediction stands, is measured four times in a round.

Every measurement is appended to --out as a line of JSON when it is there, and one that --out holds
is not repeated: an interrupted run goes on where it was, and rounds can be added. Measurements of
another build or other settings are not mixed in; the script stops and says so.

Environment: SLENDER names the program (default: target/release/slender). Needs Python 3.11 and
nothing else; two rounds take five to eight minutes on two cores.
"""

import argparse
import hashlib
import json
import math
import pathlib
import random
import shlex
import statistics
import sys
import time

from compare_torch import ROOT, SLENDER, Store, output_of
from compare_torch_report import BUSY, fail, replace_section
from scaling_picture import draw

FORMAT = "slender-bench-scaling/1"
BEGIN, END = "<!-- bench_scaling begin -->", "<!-- bench_scaling end -->"
CONFIG = "configs/bench/b-11m.toml"
BASE = {"batch": 8, "layers": 8, "sequence": 256, "vocabulary": 4096}
# The sequence length changes at this many tokens in a batch, the base's.
TOKENS = BASE["batch"] * BASE["sequence"]
KEYS = {
    "batch": "train.batch_size",
    "layers": "model.n_layers",
    "sequence": "model.max_seq_len",
    "vocabulary": "data.tokenizer.vocab_size",
}
# Each holds the base's own value.
VALUES = {
    "batch": [1, 2, 4, 8, 16],
    "layers": [2, 4, 8, 16, 32],
    "sequence": [256, 512, 1024, 2048],
    "vocabulary": [1024, 4096, 16384, 32768, 65536],
}
TITLES = {
    "batch": ("Batch", f"sequences of {BASE['sequence']} tokens in a batch"),
    "layers": ("Layers", "layers"),
    "sequence": ("Sequence length", f"tokens in a sequence, {TOKENS:,} in a batch"),
    "vocabulary": ("Vocabulary", "tokens in the vocabulary, 1k = 1,024"),
}
BASE_VISITS = 4


# ----------------------------------------------------------------------------------- measurements


def shape_at(knob, value):
    """The four quantities at a point."""
    shape = BASE | {knob: value}
    return shape | ({"batch": TOKENS // value} if knob == "sequence" else {})


def name_of(knob, value):
    return "base" if value == BASE[knob] else f"{knob}={value}"


def points():
    """Shapes by name; the base is there once, though it is a point of each picture."""
    return {name_of(k, value): shape_at(k, value) for k in VALUES for value in VALUES[k]}


def visits(turn):
    """Names in the order of a round, each with the number of the visit."""
    names = [name for name in points() if name != "base"]
    random.Random(turn // 2).shuffle(names)
    out = [(name, 0) for name in names]
    for visit in range(BASE_VISITS):
        # At equal distances, neither first nor last.
        at = round((visit + 0.5) * len(names) / BASE_VISITS) + visit
        out.insert(at, ("base", visit))
    return out if turn % 2 == 0 else out[::-1]


def repetitions_at(shape, least):
    """Counted steps of a process: more where a step is short, odd so that one is the median."""
    work = shape["batch"] * shape["sequence"] / TOKENS * shape["layers"] / BASE["layers"]
    return max(least, min(round(least / work), 5 * least)) | 1


def measure(store, options):
    """All rounds, as far as the store does not hold them."""
    if options.rounds and not SLENDER.exists():
        fail(f"{SLENDER} is missing: cargo build --release --package slender, or set SLENDER")
    build = hashlib.sha256(SLENDER.read_bytes()).hexdigest()[:16] if options.rounds else None
    shapes = points()
    jobs = [(name, turn, v) for turn in range(options.rounds) for name, v in visits(turn)]
    start, done = time.monotonic(), 0
    for number, key in enumerate(jobs, 1):
        shape = shapes[key[0]]
        count = repetitions_at(shape, options.repetitions)
        settings = {"config": CONFIG, "shape": shape, "repetitions": count, "build": build}
        settings |= {"threads": options.threads}
        command = [SLENDER, "bench", "train", CONFIG, "--json", "--repetitions", count]
        command += ["--threads", options.threads]
        for knob, value in shape.items():
            command += ["--set", f"{KEYS[knob]}={value}"]
        fresh = key not in store.lines
        result = store.measure(key, settings, lambda: json.loads(output_of(command)))["result"]
        if fresh:
            done += 1
            seconds = time.monotonic() - start
            left = seconds / done * sum(job not in store.lines for job in jobs)
            print(
                f"{number}/{len(jobs)} {key[0]}: {result['tokens_per_s']['median']:,.0f} tokens/s; "
                f"{seconds:.0f} s so far, about {left:.0f} s to go",
                file=sys.stderr,
            )


# ------------------------------------------------------------------------------------------ report


def summary(store, name):
    """Medians over the visits of a point, with the slowest and the fastest step; None without."""
    results = [record["result"] for key, record in store.lines.items() if key[0] == name]
    if not results:
        return None
    middle = lambda key: statistics.median(result[key] for result in results)
    speeds = [result["tokens_per_s"] for result in results]
    return {
        "tokens_per_s": statistics.median(speed["median"] for speed in speeds),
        "slowest": min(speed["min"] for speed in speeds),
        "fastest": max(speed["max"] for speed in speeds),
        # The same in every visit, but for the last digit.
        "flops_per_token": results[0]["model_flops_per_s"] / speeds[0]["median"],
        "flops_per_s": middle("model_flops_per_s"),
        "peak_share": middle("peak_share"),
        "memory": middle("peak_memory_bytes"),
    }


def series(store):
    """For each knob the rows that there are, by value, with what the base predicts for them."""
    base = summary(store, "base")
    if base is None:
        fail(f"{store.path} holds no measurement of the base")
    out = {}
    for knob, values in VALUES.items():
        rows = {value: summary(store, name_of(knob, value)) for value in values}
        out[knob] = {value: row for value, row in rows.items() if row}
        for row in out[knob].values():
            cost = row["flops_per_token"] / base["flops_per_token"]
            row["predicted"] = base["tokens_per_s"] / cost
    return out


def growth(rows):
    """How FLOPs, time of a token and memory grow from a knob's first value to its last."""
    first, last = rows[min(rows)], rows[max(rows)]
    return {
        "flops": last["flops_per_token"] / first["flops_per_token"],
        "time": first["tokens_per_s"] / last["tokens_per_s"],
        "memory": last["memory"] / first["memory"],
    }


def digits(value):
    """A ratio in three digits."""
    return f"{value:.{min(2, max(0, 2 - math.floor(math.log10(value))))}f}"


def tables(found):
    text = [
        "| from .. to | model FLOPs per token | time per token | time / FLOPs | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for knob, rows in found.items():
        grows = growth(rows)
        text.append(
            f"| {TITLES[knob][0].lower()} {min(rows):,} .. {max(rows):,} "
            f"| x {digits(grows['flops'])} | x {digits(grows['time'])} "
            f"| **{grows['time'] / grows['flops']:.2f}** | x {digits(grows['memory'])} |"
        )
    text += [
        "",
        "Tokens/s, the median with the slowest and the fastest step, beside what model FLOPs predict",
        "from the base (bold):",
        "",
        "| | model MFLOPs per token | predicted | measured | measured / predicted "
        "| model GFLOP/s | share of matmul peak | peak memory |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for knob, rows in found.items():
        for value, row in rows.items():
            name = f"{TITLES[knob][0].lower()} {value:,}"
            text.append(
                f"| {f'**{name}**' if value == BASE[knob] else name} "
                f"| {row['flops_per_token'] / 1e6:,.1f} | {row['predicted']:,.0f} "
                f"| {row['tokens_per_s']:,.0f} ({row['slowest']:,.0f} to {row['fastest']:,.0f}) "
                f"| {row['tokens_per_s'] / row['predicted']:.2f} | {row['flops_per_s'] / 1e9:,.0f} "
                f"| {row['peak_share']:.2f} | {row['memory'] / 1e6:,.0f} MB |"
            )
    return text


def report(store, picture):
    """The Markdown of everything in the store; `picture` is the link of the picture, or None."""
    found = series(store)
    records = store.lines.values()
    join = lambda values: ", ".join(map(str, sorted(set(values))))
    dates = sorted(r["date"][:16].replace("T", " ") for r in records)
    turns = len({r["key"][1] for r in records})
    text = [
        f"Measured {dates[0]} to {dates[-1]} UTC on {join(r['settings']['machine'] for r in records)}; "
        f"{join(r['settings']['threads'] for r in records)} threads; "
        f"{turns} round{'s' * (turns > 1)}, {len(records)} processes.",
        "",
    ]
    busy = sum(r["busy_before"] > BUSY for r in records)
    if busy:
        text += [
            f"**Disturbed:** {busy} of {len(records)} measurements began while other programs kept",
            f"more than {BUSY:.0%} of the machine busy.",
            "",
        ]
    text += ["```sh", *dict.fromkeys(r["command"] for r in records), "```", ""]
    if picture:
        text += [
            "![Tokens per second against batch, layers, sequence length and vocabulary, measured and "
            f"predicted]({picture})",
            "",
        ]
    text += tables(found)
    builds = join(r["settings"]["build"] for r in records)
    text += ["", f"SHA-256 of the program begins with {builds}.", ""]
    return "\n".join(text)


def panels(found):
    """What the picture shows of each knob."""
    out = []
    for knob, rows in found.items():
        grows = growth(rows)
        note = f"a token's FLOPs × {digits(grows['flops'])}, its time × {digits(grows['time'])}"
        title, axis = TITLES[knob]
        out.append({"title": title, "note": note, "axis": axis, "base": BASE[knob], "rows": rows})
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=2, help="rounds; 0 only prints what --out holds (default: 2)")
    add("--repetitions", type=int, default=3, help="counted steps at the base (default: 3)")
    add("--threads", type=int, default=2, help="threads of the program (default: 2)")
    out = ROOT / "target/bench_scaling.jsonl"
    add("--out", type=pathlib.Path, default=out, help="measurements (target/bench_scaling.jsonl)")
    add(
        "--report",
        type=pathlib.Path,
        metavar="FILE",
        help=f"put the tables between {BEGIN} and {END}, and the picture into images/scaling.svg "
        "beside the file (default: the picture goes beside --out)",
    )
    options = parser.parse_args()
    if options.rounds < 0 or options.threads < 1 or options.repetitions < 1:
        parser.error("--rounds is at least 0, --threads and --repetitions at least 1")
    if options.report:
        if not options.report.exists():
            parser.error(f"--report {options.report}: no such file")
        # Complains about missing marks now, not after the measurements.
        text = options.report.read_text()
        if text.count(BEGIN) != 1 or text.count(END) != 1:
            parser.error(f"--report {options.report}: needs one line {BEGIN} and one line {END}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    parts = ["python3", "scripts/bench_scaling.py", "--rounds", options.rounds]
    parts += ["--repetitions", options.repetitions, "--threads", options.threads]

    store = Store(options.out, shlex.join(map(str, parts)), FORMAT)
    measure(store, options)
    picture = options.out.with_suffix(".svg")
    if options.report:
        picture = options.report.parent / "images/scaling.svg"
    section = report(store, "images/scaling.svg" if options.report else None)
    draw(panels(series(store)), picture)
    if options.report:
        replace_section(options.report, section, BEGIN, END)
    print(section)
    print(f"picture: {picture}", file=sys.stderr)


if __name__ == "__main__":
    main()
