#!/usr/bin/env python3
"""Checks that TensorBoard reads from a run what the run's metrics.jsonl says.

    python3 -m venv .venv && .venv/bin/pip install tensorboard
    .venv/bin/python scripts/check_tensorboard.py RUN

loads RUN/tensorboard with TensorBoard's own EventAccumulator and compares every scalar, at every
step, with the JSON lines (as f32). A step that is there twice, missing or out of order fails: that
is what a killed and resumed run would leave if its event files did not say where it resumed.
"""

import json
import pathlib
import sys

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NOT_A_SCALAR = {"kind", "step", "tokens", "task", "examples"}


def scalars_of(lines):
    """Tag to [(step, value)] as the trainer names them: kind/name, and task/TASK/name."""
    tags = {}
    for line in lines:
        prefix = f"{line['kind']}/" + (f"{line['task']}/" if "task" in line else "")
        for key, value in line.items():
            if key not in NOT_A_SCALAR:
                tags.setdefault(prefix + key, []).append((line["step"], np.float32(value)))
    return tags


def main(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    expected = scalars_of([json.loads(line) for line in lines[1:]])
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = {
        tag: [(event.step, np.float32(event.value)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    problems = [f"{tag} is only in TensorBoard" for tag in found.keys() - expected.keys()]
    problems += [f"{tag} is only in metrics.jsonl" for tag in expected.keys() - found.keys()]
    for tag in sorted(expected.keys() & found.keys()):
        if found[tag] == expected[tag]:
            continue
        steps, theirs = ([step for step, _ in pairs[tag]] for pairs in (expected, found))
        if steps == theirs:
            step = next(a[0] for a, b in zip(expected[tag], found[tag]) if a != b)
            problems.append(f"{tag}: another value at step {step}")
        else:
            twice = sorted({step for step in theirs if theirs.count(step) > 1})
            missing = sorted(set(steps) - set(theirs))
            problems.append(f"{tag}: steps differ; twice {twice}, missing {missing}")
    if not expected:
        problems.append("metrics.jsonl has no line")
    files = len(list((run / "tensorboard").iterdir()))
    points = sum(map(len, expected.values()))
    print(f"{run}: {len(expected)} tags, {points} points, {files} event files")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    raise SystemExit(main(pathlib.Path(sys.argv[1])))
