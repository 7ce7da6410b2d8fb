#!/usr/bin/env python3
"""Fine-tunes a checkpoint on conversations, in slender and in PyTorch, and compares what is learned.

    cargo build --release --package slender
    python3 -m venv .venv && .venv/bin/pip install torch numpy safetensors transformers
    .venv/bin/python scripts/compare_finetune.py FOLDER

FOLDER is a model with a chat template, as transformers saves it; docs/models.md says how to get
SmolLM2-135M-Instruct. Three things are compared:

1. The text and the ids of every conversation, rendered by transformers' `apply_chat_template` and by
   `slender tokenizer chat`.
2. Which ids the loss counts. The answers are found a second time by their place in the text: for ChatML
   templates, what is between `<|im_start|>assistant` and `<|im_end|>`, and that token itself.
3. The losses of the first steps, against the plain decoder and AdamW of compare_loss_curve.py, which start
   from the same file of weights and see the batches that `slender data batch` prints. Micro-batches hold
   unequal numbers of answers, so dividing by the wrong number shows.

It fails when a text, an id or a count differs or a loss is more than 1e-3 apart, and otherwise writes
docs/finetuning-vs-pytorch.md. SmolLM2 takes some minutes and 6 GB.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile
import tomllib

import torch
import transformers
from safetensors.torch import load_file

import compare_loss_curve as curve
import golden_model

REPORT = curve.ROOT / "docs/finetuning-vs-pytorch.md"
BOUND = 1e-3
STEPS = 10
ROWS = 400
CONFIG = """
[model]
from = "{model}"
max_seq_len = 192

[data]
sources = [{{ kind = "files", paths = ["chats.jsonl"], content = "conversations" }}]
document_mask = true
valid_fraction = 0.1
cache_dir = "cache"

[train]
batch_size = 4
micro_batch_size = 2
steps = {steps}
lr = 1e-4
warmup_steps = 2

[eval]
loss_every = 0
tasks = []

[run]
log_every = 1
checkpoint_every = 0
"""


def conversations():
    """Sums, words spelled out and lists, with and without instructions, of one to three turns."""
    draw = random.Random(7)
    words = "heron miller weir naïve 東京 café twins ledger 🙂 quay".split()
    rows = []
    for _ in range(ROWS):
        messages = []
        if draw.random() < 0.4:
            messages.append({"role": "system", "content": f"Answer in {draw.randint(1, 9)} words.\n"})
        for _ in range(draw.randint(1, 3)):
            a, b, word = draw.randint(0, 999), draw.randint(0, 99), draw.choice(words)
            question, answer = draw.choice(
                [
                    (f"What is {a} plus {b}?", f"{a} + {b} = {a + b}."),
                    (f" Spell “{word}”, please.", " ".join(word) + "\n"),
                    (f"List {b % 7 + 1} times {word}:", "\n".join(f"- {word}" for _ in range(b % 7 + 1))),
                ]
            )
            messages += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        rows.append(messages)
    return rows


def answers(tokenizer, text):
    """Ids of a rendered ChatML text, and which of them answer; from the text alone."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    opening, closing = "<|im_start|>assistant\n", "<|im_end|>"
    spans, at = [], text.find(opening)
    while at >= 0:
        begin = at + len(opening)
        spans.append((begin, text.index(closing, begin) + len(closing)))
        at = text.find(opening, begin)
    inside = lambda begin, end: any(a <= begin and end <= b for a, b in spans)
    return encoded.input_ids, [inside(*offset) for offset in encoded.offset_mapping]


def slender(folder, *args):
    done = subprocess.run([curve.SLENDER, *args], cwd=folder, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"slender {' '.join(args)}: exit code {done.returncode}")
    return done.stdout


def compare_texts(model, folder, rows):
    """Compares every rendering and mask; ids and counted ids in all."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    plain = slender(folder, "tokenizer", "chat", model, "chats.jsonl")
    lines = slender(folder, "tokenizer", "chat", model, "chats.jsonl", "--json").splitlines()
    texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in rows]
    if plain != "".join(texts):
        raise SystemExit("the rendered texts differ")
    ids = counted = 0
    for row, text, line in zip(rows, texts, lines, strict=True):
        ours, (theirs, mask) = json.loads(line), answers(tokenizer, text)
        if ours["ids"] != theirs or ours["counted"] != mask:
            raise SystemExit(f"ids or counts differ: {row}\n{ours}\n{theirs}\n{mask}")
        ids, counted = ids + len(theirs), counted + sum(mask)
    return ids, counted


def shape_of(model):
    """The shape in golden_model.py's terms, from a `config.json` of transformers."""
    config = json.loads((model / "config.json").read_text())
    rope = config.get("rope_parameters") or config
    assert config["model_type"] == "llama" and rope.get("rope_type", "default") == "default"
    return golden_model.shape_of(
        n_layers=config["num_hidden_layers"],
        dim=config["hidden_size"],
        n_heads=config["num_attention_heads"],
        n_kv_heads=config["num_key_value_heads"],
        head_dim=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        ffn_hidden=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        max_seq_len=192,
        rope_theta=rope["rope_theta"],
        norm_eps=config["rms_norm_eps"],
        tie_embeddings=config["tie_word_embeddings"],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="folder with a ChatML template")
    model = parser.parse_args().model.resolve()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(prefix="slender-finetune-") as folder:
        folder = pathlib.Path(folder)
        rows = conversations()
        lines = (json.dumps({"messages": row}, ensure_ascii=False) + "\n" for row in rows)
        (folder / "chats.jsonl").write_text("".join(lines))
        ids, counted = compare_texts(str(model), folder, rows)
        print(f"{ids} ids, {counted} counted: equal")

        (folder / "tune.toml").write_text(CONFIG.format(model=model, steps=STEPS))
        config = tomllib.loads(slender(folder, "config", "show", "tune.toml"))
        lines = slender(folder, "data", "batch", "tune.toml", "--count", str(STEPS), "--json")
        batches = [json.loads(line) for line in lines.splitlines()]
        slender(folder, "train", "tune.toml", "--run-dir", "run", "--quiet")
        metrics = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
        metrics = [line for line in metrics if line.get("kind") == "train"]

    shape = shape_of(model)
    weights = {k: w.float() for k, w in load_file(model / "model.safetensors").items()}
    dims = {name: tuple(w.shape) for name, w in weights.items()}
    assert dims == golden_model.weight_shapes(shape)
    theirs = curve.train_pytorch(config, shape, weights, batches, torch.float32)
    table, worst = [], 0.0
    for line, (loss, rate, norm), batch in zip(metrics, theirs, batches, strict=True):
        assert abs(line["lr"] / rate - 1) < 1e-9
        micro = config["train"]["micro_batch_size"]
        per_row = [sum(target >= 0 for target in row) for row in batch["targets"]]
        parts = [sum(per_row[i : i + micro]) for i in range(0, len(per_row), micro)]
        worst = max(worst, abs(line["loss"] - loss))
        table.append(
            f"| {line['step']} | {' + '.join(map(str, parts))} | {line['loss']:.6f} | {loss:.6f} "
            f"| {line['loss'] - loss:+.1e} | {line['grad_norm'] / norm - 1:+.1e} |"
        )
    print("\n".join(table))
    if not worst <= BOUND:
        raise SystemExit(f"a loss differs by {worst:.1e}, more than {BOUND}")
    REPORT.write_text(
        f"""# Fine-tuning against PyTorch

Written by `scripts/compare_finetune.py`, which says in its head what is compared.

    cargo build --release --package slender
    .venv/bin/python scripts/compare_finetune.py smollm2

The checkpoint is SmolLM2-135M-Instruct with its own tokenizer and chat template; transformers
{transformers.__version__}, PyTorch {torch.__version__}, f32 on the CPU.

{ROWS} conversations, rendered by both: texts equal, {ids:,} ids equal, and the same {counted:,} of them
counted by the loss.

Batches of {config["train"]["batch_size"]}x{config["train"]["seq_len"]} tokens in micro-batches of \
{config["train"]["micro_batch_size"]}, conversations of a window kept apart. Losses are in nats per counted token.

| step | counted tokens of the micro-batches | slender | PyTorch | difference | gradient norm, relative |
|---:|---:|---:|---:|---:|---:|
"""
        + "\n".join(table)
        + f"\n\nLargest difference of a loss: **{worst:.1e}**.\n"
    )


if __name__ == "__main__":
    main()
