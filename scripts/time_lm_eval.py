#!/usr/bin/env python3
"""Time the paper's eight tasks with `slender eval` and with lm-evaluation-harness, one after the other.

    python3 scripts/time_lm_eval.py MODEL --bench BENCH --limit 25 --rounds 3 --batch-sizes 1 16

MODEL is a Hugging Face folder of the Llama family; BENCH as in `compare_lm_eval.py`, whose task definitions
are used. Both programs score the same first `--limit` rows of each task, on the same number of threads, in
turns (slender, harness, slender, harness, ...), so that a disturbed minute hits both. Counted is the whole
program from start to end, loading included; the harness's own start (importing torch and transformers,
loading the model, reading the rows) is also measured and printed, because it weighs on short runs only.
The harness runs once for each of `--batch-sizes`: 1 is its default, and the best is what slender is held to.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from compare_lm_eval import PAPER_EIGHT, harness_task

HARNESS = """
import json, logging, sys, time
sys.path.insert(0, {here!r})
started = time.time()
import lm_eval, torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from time_lm_eval import PAPER_EIGHT, harness_task
import pathlib
logging.disable(logging.WARNING)
torch.set_num_threads({threads})
manager = TaskManager()
model = HFLM(pretrained={model!r}, device="cpu", dtype="float32", batch_size={batch})
tasks = [harness_task(manager, name, pathlib.Path({bench!r}), pathlib.Path({rows!r})) for name in PAPER_EIGHT]
ready = time.time()
result = lm_eval.simple_evaluate(model=model, tasks=tasks, limit={limit}, bootstrap_iters=0)
print(json.dumps({{"start": ready - started, "scoring": time.time() - ready,
                  "acc": {{k: v["acc,none"] for k, v in result["results"].items()}}}}))
"""


def slender(args):
    command = [
        args.slender, "eval", str(args.model), "--tasks", "paper", "--data-dir", str(args.bench), "--limit",
        str(args.limit), "--threads", str(args.threads), "--no-cache", "--json",
    ]  # fmt: skip
    begun = time.time()
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    total = time.time() - begun
    return {
        "total": total,
        "start": total - result["elapsed_s"],
        "acc": {k: v["acc,none"] for k, v in result["results"].items()},
    }


def harness(args, batch):
    with tempfile.TemporaryDirectory() as rows:
        code = HARNESS.format(
            here=str(pathlib.Path(__file__).parent), threads=args.threads, model=str(args.model), batch=batch,
            bench=str(args.bench), rows=rows, limit=args.limit,
        )  # fmt: skip
        begun = time.time()
        run = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        total = time.time() - begun
    return {**json.loads(run.stdout.splitlines()[-1]), "total": total}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--bench", type=pathlib.Path, default=pathlib.Path("../shared/data/bench"))
    parser.add_argument("--limit", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--slender", default="target/release/slender")
    args = parser.parse_args()
    args.model, args.bench = args.model.resolve(), args.bench.resolve()
    times = {"slender": []} | {f"lm-eval, batch {batch}": [] for batch in args.batch_sizes}
    starts = {name: [] for name in times}
    for round_ in range(args.rounds):
        ours = slender(args)
        runs = {"slender": ours} | {f"lm-eval, batch {b}": harness(args, b) for b in args.batch_sizes}
        for name, run in runs.items():
            assert run["acc"] == ours["acc"], f"{name} scores otherwise: {run['acc']} and {ours['acc']}"
            times[name].append(run["total"])
            starts[name].append(run["start"])
            print(f"round {round_ + 1}: {name}: {run['total']:.1f} s", file=sys.stderr, flush=True)
    median = {name: statistics.median(all_) for name, all_ in times.items()}
    begin = {name: statistics.median(all_) for name, all_ in starts.items()}
    print("| program | seconds, each round | median | start alone | slender is faster by | without the starts |")
    print("|---|---|---|---|---|---|")
    for name, all_ in times.items():
        whole = median[name] / median["slender"]
        rest = (median[name] - begin[name]) / (median["slender"] - begin["slender"])
        print(
            f"| {name} | {', '.join(f'{t:.1f}' for t in all_)} | {median[name]:.1f} | {begin[name]:.1f} "
            f"| {whole:.2f} | {rest:.2f} |"
        )
    print(f"\n{args.limit} examples of each of {len(PAPER_EIGHT)} tasks, {args.threads} threads, accuracies equal.")


if __name__ == "__main__":
    main()
