#!/usr/bin/env python3
"""Trains one model twice, in slender and in PyTorch, and compares the loss of every step.

Both start from the weights that `slender init` writes and see the batches that `slender data batch`
prints. The PyTorch side is the plain decoder of golden_model.py with torch.optim.AdamW,
clip_grad_norm_ and the schedule written down once more, so nothing but those files is shared. It
runs in f32, which is what is compared, and once more in f64: the distance of the two PyTorch curves
says how much of a difference is rounding.

At three times the learning rate that distance is itself beyond the bound, because training there
amplifies rounding from step to step. That recipe is therefore compared one update at a time: PyTorch
starts from slender's own checkpoint, weights and moments, makes the next update in f64, and the
result is compared with slender's next checkpoint. This sees every step of AdamW, hides nothing
behind chaos, and is printed beside the error of the same update by PyTorch in f32.

    cargo build --release --package slender
    python3 -m venv .venv && .venv/bin/pip install torch numpy safetensors
    .venv/bin/python scripts/compare_loss_curve.py

fails if a loss differs by more than 1e-3 at any step or an update by more than 1e-4 of its length,
and otherwise writes docs/loss-curve-vs-pytorch.md. Five minutes on two free cores; 1.1 GB of
checkpoints in the temporary folder for a while.
"""

import json
import math
import os
import pathlib
import subprocess
import tempfile
import tomllib

import torch
from safetensors.torch import load_file

import golden_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLENDER = os.environ.get("SLENDER", ROOT / "target/release/slender")
CONFIG = ROOT / "scripts/loss-curve.toml"
REPORT = ROOT / "docs/loss-curve-vs-pytorch.md"
BOUND = 1e-3
UPDATE_BOUND = 1e-4
# More threads gain nothing at this size, and collapse when other programs want the cores.
THREADS = 1
TIMES = {1: "once", 2: "twice"}

# Title, and the overrides of scripts/loss-curve.toml.
VARIANTS = [
    ("Tied, no sharing", []),
    (
        "Untied, every block executed twice in a row",
        [
            "model.tie_embeddings=false",
            'model.layer_sharing={ kind = "immediate", repeats = 2 }',
        ],
    ),
]
HOT = ("Tied, no sharing, learning rate 3e-3: one update at a time", ["train.lr=3e-3"])


def slender(*args, sets=()):
    """Standard output of the program."""
    args = [str(arg) for arg in args] + [f"--set={item}" for item in sets]
    done = subprocess.run([SLENDER, *args], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"slender {' '.join(args)}: exit code {done.returncode}")
    return done.stdout


def shape_of(folder):
    """The shape in golden_model.py's terms, from the config.json that `slender init` wrote."""
    config = json.loads((folder / "config.json").read_text())
    record = config.get("slender", {})
    return golden_model.shape_of(
        n_layers=config["num_hidden_layers"],
        dim=config["hidden_size"],
        n_heads=config["num_attention_heads"],
        n_kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        ffn=record.get("ffn", "swiglu"),
        ffn_hidden=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        max_seq_len=config["max_position_embeddings"],
        rope_theta=config["rope_theta"],
        norm_eps=config["rms_norm_eps"],
        init_std=config["initializer_range"],
        qk_norm=record.get("qk_norm", False),
        tie_embeddings=config["tie_word_embeddings"],
        sharing=record.get("kind", "none"),
        repeats=record.get("repeats", 1),
    )


def learning_rate(train, step):
    """Linear warm-up, then half a cosine to `min_lr_ratio`; `step` counts from 0."""
    warmup, total, low = train["warmup_steps"], train["steps"], train["min_lr_ratio"]
    if step < warmup:
        return train["lr"] * (step + 1) / warmup
    done = (step - warmup) / (total - warmup)
    return train["lr"] * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))


def new_optimizer(train, weights):
    """AdamW with slender's groups: norm weights are not decayed."""
    decayed = [w for w in weights.values() if w.dim() == 2]
    norms = [w for w in weights.values() if w.dim() == 1]
    return torch.optim.AdamW(
        [{"params": decayed}, {"params": norms, "weight_decay": 0.0}],
        lr=0.0,
        betas=(train["beta1"], train["beta2"]),
        eps=train["eps"],
        weight_decay=train["weight_decay"],
    )


def update(config, shape, weights, optimizer, batch, step):
    """One step, counted from 0, in place; its loss, learning rate and gradient norm."""
    train, masked = config["train"], config["data"]["document_mask"]
    assert train["schedule"] == "cosine" and train["dropout"] == 0
    tokens, targets, segments = (
        torch.tensor(batch[key]) for key in ("inputs", "targets", "segments")
    )
    # What the loss counts in the whole batch; all of it, unless the text is conversations.
    counted = (targets != golden_model.IGNORE).sum()
    loss = 0.0
    for rows in torch.arange(len(tokens)).split(train["micro_batch_size"]):
        documents = segments[rows] if masked else None
        logits = golden_model.logits(shape, weights, tokens[rows], documents)
        part = golden_model.loss_sum(logits, targets[rows]) / counted
        part.backward()
        loss += part.item()
    norm = torch.nn.utils.clip_grad_norm_(list(weights.values()), train["grad_clip"])
    rate = learning_rate(train, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
    return loss, rate, norm.item()


def parameters(arrays, dtype):
    """Copies of `arrays` to be trained."""
    return {name: w.to(dtype, copy=True).requires_grad_() for name, w in arrays.items()}


def train_pytorch(config, shape, arrays, batches, dtype):
    """Loss, learning rate and gradient norm of every step."""
    weights = parameters(arrays, dtype)
    optimizer = new_optimizer(config["train"], weights)
    run = lambda step, batch: update(config, shape, weights, optimizer, batch, step)
    return [run(step, batch) for step, batch in enumerate(batches)]


def train_slender(sets, folder, *more):
    """Configuration, shape, initial weights, batches and training metrics of one run."""
    config = tomllib.loads(slender("config", "show", CONFIG, sets=sets))
    steps = config["train"]["steps"]
    slender("init", CONFIG, "--out", folder / "init", sets=sets)
    lines = slender("data", "batch", CONFIG, "--count", steps, "--json", sets=sets).splitlines()
    batches = [json.loads(line) for line in lines]
    assert [batch["step"] for batch in batches] == list(range(steps))
    slender("train", CONFIG, "--run-dir", folder / "run", "--quiet", sets=[*sets, *more])
    metrics = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    metrics = [line for line in metrics if line.get("kind") == "train"]
    assert [line["step"] for line in metrics] == list(range(1, steps + 1))
    shape = shape_of(folder / "init")
    initial = load_file(folder / "init/model.safetensors")
    dims = {name: tuple(w.shape) for name, w in initial.items()}
    assert dims == golden_model.weight_shapes(shape)
    return config, shape, initial, batches, metrics


def compare(title, sets, folder):
    """Trains one variant three times; its largest difference and its section of the report."""
    config, shape, initial, batches, metrics = train_slender(sets, folder)
    steps = len(batches)
    single = train_pytorch(config, shape, initial, batches, torch.float32)
    double = train_pytorch(config, shape, initial, batches, torch.float64)

    rows = []
    for line, (loss, rate, norm), (exact, _, _) in zip(metrics, single, double, strict=True):
        assert math.isclose(line["lr"], rate, rel_tol=1e-9), (line, rate)
        rows.append((line["step"], line["loss"], loss, exact, abs(line["grad_norm"] / norm - 1)))
    difference = lambda a, b: max((abs(row[a] - row[b]), row[0]) for row in rows)
    worst, at = difference(1, 2)
    ours, ours_at = difference(1, 3)
    theirs, theirs_at = difference(2, 3)
    norms = max(row[4] for row in rows)
    changed = sum(abs(a[2] - b[2]) for a, b in zip(rows, rows[1:])) / (steps - 1)
    print(
        f"{title}: |slender - PyTorch| <= {worst:.1e} (step {at}), PyTorch f32 - f64 {theirs:.1e}"
    )

    count = sum(w.numel() for w in initial.values())
    documents = sum(max(row) for batch in batches for row in batch["segments"])
    clipped = sum(norm > config["train"]["grad_clip"] for _, _, norm in single)
    train = config["train"]
    text = [f"## {title}", ""]
    text += [f"    --set '{item}'" for item in sets] + ([""] if sets else [])
    text += [
        f"{count:,} parameters, {shape['n_layers']} blocks, each executed {TIMES[shape['repeats']]}; "
        f"batches of {train['batch_size']}x{train['seq_len']} tokens in micro-batches of "
        f"{train['micro_batch_size']}, with {documents} document boundaries inside rows; learning rate "
        f"{train['lr']} after {train['warmup_steps']} steps of warm-up; the norm was clipped in "
        f"{clipped} of {steps} steps.",
        "",
        "| step | slender | PyTorch | difference |",
        "|---:|---:|---:|---:|",
    ]
    for step, ours_loss, loss, _, _ in rows:
        if step == 1 or step % 20 == 0:
            text.append(f"| {step} | {ours_loss:.6f} | {loss:.6f} | {ours_loss - loss:+.1e} |")
    text += [
        "",
        f"- Largest |slender - PyTorch| over all {steps} steps: **{worst:.1e}**, at step {at}.",
        f"- Yardstick: slender against PyTorch in f64 {ours:.1e} (step {ours_at}); PyTorch in f32 "
        f"against itself in f64 {theirs:.1e} (step {theirs_at}).",
        f"- From one step to the next the loss changes by {changed:.2f} on average.",
        f"- Gradient norms differ by at most {norms:.1e} of their value; learning rates are equal.",
        "",
    ]
    return worst, "\n".join(text)


def compare_updates(title, sets, folder):
    """Compares single updates of one variant; the largest error and its section of the report."""
    keep = ["run.checkpoint_every=1", "run.keep_last=1000"]
    config, shape, initial, batches, metrics = train_slender(sets, folder, *keep)

    def checkpoint(step, file):
        return load_file(folder / f"run/checkpoints/step-{step:08}" / file)

    def pytorch_update(step, dtype):
        """The update after `step`, from slender's state; the loss before and the weights after."""
        weights = parameters(checkpoint(step, "model.safetensors") if step else initial, dtype)
        optimizer = new_optimizer(config["train"], weights)
        if step:
            moments = checkpoint(step, "optimizer.safetensors")
            for name, weight in weights.items():
                state = {k: moments[f"{name}.{k}"].to(dtype) for k in ("exp_avg", "exp_avg_sq")}
                optimizer.state[weight] = {"step": torch.tensor(float(step)), **state}
        loss, _, _ = update(config, shape, weights, optimizer, batches[step], step)
        return loss, flat(weights)

    def flat(weights):
        return torch.cat([weights[name].detach().double().flatten() for name in initial])

    text = [
        f"## {title}",
        "",
        "PyTorch starts each time from slender's checkpoint. The error of an update is the length of",
        "its difference from the same update in f64, as a share of the update's own length.",
        "",
        "| update | loss, slender - PyTorch f64 | error, slender | error, PyTorch f32 |",
        "|---:|---:|---:|---:|",
    ]
    largest = [0.0, 0.0]
    for step in [0, 1, 5, *range(19, len(batches), 20)]:
        before = flat(checkpoint(step, "model.safetensors") if step else initial)
        loss, exact = pytorch_update(step, torch.float64)
        _, single = pytorch_update(step, torch.float32)
        ours = flat(checkpoint(step + 1, "model.safetensors"))
        length = (exact - before).norm()
        errors = [float((weights - exact).norm() / length) for weights in (ours, single)]
        largest = [max(pair) for pair in zip(largest, errors)]
        difference = metrics[step]["loss"] - loss
        row = f"| {step + 1} | {difference:+.1e} | {errors[0]:.1e} | {errors[1]:.1e} |"
        text.append(row)
    single = train_pytorch(config, shape, initial, batches, torch.float32)
    double = train_pytorch(config, shape, initial, batches, torch.float64)
    apart = lambda a, b: max(abs(x - y) for x, y in zip(a, b))
    losses = [line["loss"] for line in metrics], *([row[0] for row in c] for c in (single, double))
    ours, theirs = apart(losses[0], losses[1]), apart(losses[1], losses[2])
    print(f"{title}: error <= {largest[0]:.1e}, PyTorch f32 {largest[1]:.1e}")
    text += [
        "",
        f"- Largest error of an update: **{largest[0]:.1e}**; PyTorch in f32 {largest[1]:.1e}.",
        f"- Left to themselves for {len(batches)} steps, slender and PyTorch come to differ by {ours:.1e}",
        f"  in the loss, and PyTorch in f32 and in f64 by {theirs:.1e}: at this learning rate rounding",
        "  grows from step to step, and no two programs that round differently stay together.",
        "",
    ]
    return largest[0], "\n".join(text)


def main():
    torch.set_num_threads(THREADS)
    sections = []
    for function, bound, (title, sets) in [
        *((compare, BOUND, variant) for variant in VARIANTS),
        (compare_updates, UPDATE_BOUND, HOT),
    ]:
        with tempfile.TemporaryDirectory(prefix="slender-curve-") as folder:
            worst, section = function(title, sets, pathlib.Path(folder))
        if not worst <= bound:
            raise SystemExit(f"{title}: {worst:.1e} is more than {bound}\n\n{section}")
        sections.append(section)
    head = f"""# Loss curves against PyTorch

Written by `scripts/compare_loss_curve.py`, which says in its head what is shared by the two sides
(initial weights and batches, both printed by slender) and what is written twice (everything else).
It fails when a loss differs by more than {BOUND} at any step, or an update by more than
{UPDATE_BOUND:.0e} of its length.

    cargo build --release --package slender
    .venv/bin/python scripts/compare_loss_curve.py

slender ran on the `flex` device, PyTorch {torch.__version__} on the CPU, both in f32. The recipe is
`scripts/loss-curve.toml`. Losses are in nats per token.

"""
    REPORT.write_text(head + "\n".join(sections).rstrip() + "\n")


if __name__ == "__main__":
    main()
