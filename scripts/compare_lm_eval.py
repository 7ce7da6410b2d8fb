#!/usr/bin/env python3
"""Score the same examples with lm-evaluation-harness and with `slender eval`, and compare each number.

    python3 scripts/compare_lm_eval.py lm-eval  MODEL --bench BENCH --work DIR   # the harness's side, cached
    python3 scripts/compare_lm_eval.py compare  MODEL --bench BENCH --work DIR   # ours, and the comparison
    python3 scripts/compare_lm_eval.py stories  STORIES_DIR --out MODEL          # a llama2.c folder as HF folder
    python3 scripts/compare_lm_eval.py gguf     FILE.gguf --out MODEL            # a GGUF file as HF folder

Needs `lm_eval` (0.4.13), `transformers`, `torch` (CPU), `datasets`; `gguf` for the last. The harness's own
task configurations are used; only where the rows come from is replaced by files of BENCH (JSON lines with the
hub's field names, see docs/evaluation.md). Both programs see the same first `--limit` rows of each file.

The harness is slow, so its result is kept per task in DIR/lm-eval/<task>.json and never computed twice;
stopping and starting again goes on at the next task. `--max-seconds` stops after the task in progress.

What is compared: every log-likelihood (bound 1e-3), the chosen answers by likelihood and by likelihood per
character (where they differ, the gap between the two best must itself be below twice the bound: a near-tie),
acc and acc_norm, and for generated answers the text.
"""

import argparse
import ast
import json
import math
import pathlib
import struct
import subprocess
import sys
import time

BOUND = 1e-3
# Task, file below BENCH, and the harness's split; in the order of what they cost.
TASKS = {
    "copa": "copa/validation.jsonl",
    "openbookqa": "openbookqa/test.jsonl",
    "winogrande": "winogrande/validation.jsonl",
    "commonsense_qa": "commonsense_qa/validation.jsonl",
    "piqa": "piqa/validation.jsonl",
    "social_iqa": "social_i_qa/validation.jsonl",
    "arc_easy": "arc_easy/test.jsonl",
    "arc_challenge": "arc_challenge/test.jsonl",
    "boolq": "boolq/validation.jsonl",
    "lambada_openai": "lambada/test.jsonl",
    "sciq": "sciq/validation.jsonl",
    "hellaswag": "hellaswag/validation.jsonl",
    "blimp": "blimp",
    "truthfulqa_mc1": "truthfulqa/v1_mc_task.json",
    "race": "race/test_high.jsonl",
    "truthfulqa_mc2": "truthfulqa/v1_mc_task.json",
    "triviaqa": "triviaqa/validation.jsonl",
}
PAPER_EIGHT = ["arc_easy", "arc_challenge", "boolq", "piqa", "social_iqa", "hellaswag", "openbookqa", "winogrande"]


def expand(names, bench):
    """Task names, `blimp` as its sub-tasks, `paper` as the eight."""
    for name in names:
        if name == "blimp":
            yield from sorted(f"blimp_{path.stem}" for path in (bench / "blimp").glob("*.jsonl"))
        elif name == "paper":
            yield from PAPER_EIGHT
        else:
            yield name


def source_of(name, bench):
    if name.startswith("blimp_"):
        return bench / "blimp" / f"{name.removeprefix('blimp_')}.jsonl"
    return bench / TASKS[name]


def rows_of(name, bench):
    """The file's rows in the form of the hub's copy that the harness reads."""
    path = source_of(name, bench)
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n") if line.strip()]
    if name == "boolq":
        # google/boolq has `answer`; the harness reads SuperGLUE's `label`.
        rows = [{**row, "label": int(row["answer"])} for row in rows]
    if name == "race":
        # One article a row, its questions as the text of a Python list.
        rows = [
            {
                "article": row["article"],
                "problems": repr(
                    [
                        {"question": q, "answer": a, "options": o}
                        for q, a, o in zip(row["questions"], row["answers"], row["options"], strict=True)
                    ]
                ),
            }
            for row in rows
        ]
    if name.startswith("truthfulqa"):
        targets = lambda of: {"choices": list(of), "labels": list(of.values())}
        rows = [
            {"question": r["question"], **{k: targets(r[k]) for k in ("mc1_targets", "mc2_targets")}} for r in rows
        ]
    return rows


def harness_task(manager, name, bench, folder):
    """The harness's own task, with the rows of our file."""
    split = "test" if name in {"arc_easy", "arc_challenge", "openbookqa", "race", "lambada_openai"} else "validation"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(name, bench)), encoding="utf-8")
    return manager._factory.build(
        manager._entry(name),
        overrides={
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {split: str(file)}},
            "training_split": None,
            "fewshot_split": None,
            "validation_split": split if split == "validation" else None,
            "test_split": split if split == "test" else None,
        },
        registry=manager._index,
    )


def kept(task):
    """What is kept of the harness's samples: small, and enough to compare."""
    return [
        {
            "doc_id": sample["doc_id"],
            "requests": [list(map(str, request[:2])) for request in sample["arguments"]],
            "responses": [response[0] for response in sample["resps"]],
            "filtered": sample["filtered_resps"],
            "metrics": {key: sample[key] for key in sample["metrics"]},
        }
        for sample in task
    ]


def run_harness(args):
    import logging

    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    out = args.work / "lm-eval"
    out.mkdir(parents=True, exist_ok=True)
    names = list(expand(args.tasks, args.bench))
    wanted = [name for name in names if not (out / f"{name}.json").exists()]
    print(f"{len(names) - len(wanted)} tasks are there, {len(wanted)} to do", file=sys.stderr)
    if not wanted:
        return
    manager = TaskManager()
    model = HFLM(
        pretrained=str(args.model), device="cpu", dtype="float32", batch_size=args.batch_size,
        softmax_dtype=args.softmax_dtype,
    )
    started = time.time()
    for name in wanted:
        if args.max_seconds and time.time() - started > args.max_seconds:
            print("out of time; start again to go on", file=sys.stderr)
            return
        begun = time.time()
        task = harness_task(manager, name, args.bench, args.work / "rows")
        result = lm_eval.simple_evaluate(
            model=model, tasks=[task], limit=args.limit, num_fewshot=args.num_fewshot or None, log_samples=True,
            bootstrap_iters=0, verbosity=None,
        )
        record = {
            "task": name,
            "lm_eval": lm_eval.__version__,
            "limit": args.limit,
            "num_fewshot": args.num_fewshot,
            "seconds": time.time() - begun,
            "version": task.VERSION,
            "results": {k: v for k, v in result["results"][name].items() if isinstance(v, (int, float))},
            "samples": kept(result["samples"][name]),
        }
        part = out / f"{name}.part"
        part.write_text(json.dumps(record), encoding="utf-8")
        part.rename(out / f"{name}.json")
        print(f"{name}: {record['seconds']:.0f} s", file=sys.stderr, flush=True)


def numpy_argmax(values):
    return max(range(len(values)), key=lambda i: (values[i], -i))


def near_tie(values, a, b, per):
    """Whether two choices are as near as the bound allows the two programs to differ."""
    return abs(values[a] - values[b]) <= BOUND / per[a] + BOUND / per[b]


def compare(args):
    names = [n for n in expand(args.tasks, args.bench) if (args.work / "lm-eval" / f"{n}.json").exists()]
    if not names:
        sys.exit("the harness's side is missing: run `lm-eval` first")
    samples, report = args.work / "slender.jsonl", args.work / "slender.json"
    command = [
        args.slender, "eval", str(args.model), "--tasks", ",".join(names), "--data-dir", str(args.bench),
        "--limit", str(args.limit), "--samples", str(samples), "--json",
        *(["--split", "sciq=validation"] if "sciq" in names else []),
        "--threads", str(args.threads), "--no-cache", *args.extra,
    ]  # fmt: skip
    if args.num_fewshot:
        command += ["--num-fewshot", str(args.num_fewshot)]
    if not (args.keep and report.exists()):
        begun = time.time()
        report.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(f"slender: {time.time() - begun:.0f} s", file=sys.stderr)
    ours = {}
    for line in filter(None, samples.read_text(encoding="utf-8").split("\n")):
        record = json.loads(line)
        ours.setdefault(record["task"], {})[record["doc_id"]] = record
    results = json.loads(report.read_text())["results"]
    lines, bad = [], 0
    for name in names:
        row = compare_task(name, json.loads((args.work / "lm-eval" / f"{name}.json").read_text()), ours[name], results[name])
        bad += row["failed"]
        lines.append(row)
    print_table(lines, args)
    if bad:
        sys.exit(f"{bad} tasks do not agree")


def compare_task(name, theirs, ours, result):
    row = {
        "task": name, "n": 0, "numbers": 0, "worst": 0.0, "other": 0, "ties": 0, "prompts": 0, "metrics": [], "failed": 0,
    }  # fmt: skip
    for sample in theirs["samples"]:
        mine = ours[sample["doc_id"]]
        row["n"] += 1
        if isinstance(sample["responses"][0], str):
            row["numbers"] += 1
            differs = mine["generated"].strip() != sample["filtered"][0]
            row["other"] += differs
            continue
        lls = [float(r[0]) for r in sample["responses"]]
        contexts = mine.get("contexts") or [mine["prompt"]] * len(lls)
        row["prompts"] += [list(pair) for pair in zip(contexts, mine["continuations"])] != sample["requests"]
        row["numbers"] += len(lls)
        row["worst"] = max([row["worst"], *(abs(a - b) for a, b in zip(lls, mine["log_likelihoods"], strict=True))])
        for per, chosen in (([1.0] * len(lls), mine["chosen"]), (mine["characters"], mine["chosen_norm"])):
            values = [a / n for a, n in zip(lls, per)]
            if len(lls) > 1 and (best := numpy_argmax(values)) != chosen:
                tie = near_tie(values, best, chosen, per)
                row["ties"] += tie
                row["other"] += not tie
        if "greedy" in mine and len(lls) == 1:
            row["other"] += bool(sample["responses"][0][1]) != mine["greedy"][0]
    for key, value in theirs["results"].items():
        if key.endswith(",none") and "stderr" not in key and key in result:
            row["metrics"].append((key.removesuffix(",none"), value, result[key]))
        elif key.endswith(",remove_whitespace") and "stderr" not in key:
            row["metrics"].append((key.split(",")[0], value, result[f"{key.split(',')[0]},none"]))
    equal = all(
        math.isclose(a, b, rel_tol=0, abs_tol=1e-9) or "perplexity" in k and math.isclose(a, b, rel_tol=1e-4)
        or name == "truthfulqa_mc2" and math.isclose(a, b, abs_tol=1e-4)
        for k, a, b in row["metrics"]
    ) and row["metrics"]  # fmt: skip
    row["failed"] = int(not equal and not row["ties"] or row["worst"] > BOUND or row["other"] > 0 or row["prompts"] > 0)
    return row


def print_table(lines, args):
    print(f"| task | examples | numbers | largest difference | other answer | near-ties | lm-eval | slender |")
    print("|---|---|---|---|---|---|---|---|")
    blimp = [line for line in lines if line["task"].startswith("blimp_")]
    if blimp and not args.every:
        mean = lambda i: sum(line["metrics"][0][i] for line in blimp) / len(blimp)
        total = {key: sum(line[key] for line in blimp) for key in ("n", "numbers", "other", "ties", "failed", "prompts")}
        whole = {
            **total, "task": f"blimp ({len(blimp)} sub-tasks)", "worst": max(line["worst"] for line in blimp),
            "metrics": [("acc", mean(1), mean(2))],
        }  # fmt: skip
        lines = [line for line in lines if line not in blimp] + [whole]
    for line in lines:
        show = lambda i: " ".join(f"{m[0]} {m[i]:.6g}" for m in line["metrics"])
        mark = " **differs**" if line["failed"] else ""
        print(
            f"| {line['task']}{mark} | {line['n']} | {line['numbers']} | {line['worst']:.1e} | {line['other']} "
            f"| {line['ties']} | {show(1)} | {show(2)} |"
        )


def convert_stories(args):
    """llama2.c's version-0 layout as a Hugging Face folder, tokenizer included."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    file = next(args.model.glob("*.bin")) if not (args.model / "stories260K.bin").exists() else args.model / "stories260K.bin"
    blob = file.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, seq = struct.unpack("<7i", blob[:28])
    values, at = torch.frombuffer(bytearray(blob[28:]), dtype=torch.float32), 0

    def take(*shape):
        nonlocal at
        count = math.prod(shape)
        at += count
        return values[at - count : at].reshape(shape).clone()

    head = dim // heads
    embed, norm1 = take(abs(vocab), dim), take(layers, dim)
    wq, wk, wv = take(layers, dim, dim), take(layers, kv_heads * head, dim), take(layers, kv_heads * head, dim)
    wo, norm2 = take(layers, dim, dim), take(layers, dim)
    w1, w2, w3 = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
    final = take(dim)

    def halves(weight, n):
        # Pairs (2i, 2i+1) become (i, i + head/2).
        return weight.view(n, head // 2, 2, dim).transpose(1, 2).reshape(n * head, dim)

    state = {"model.embed_tokens.weight": embed, "model.norm.weight": final, "lm_head.weight": embed}
    for i in range(layers):
        at_layer = f"model.layers.{i}."
        state |= {
            at_layer + "input_layernorm.weight": norm1[i],
            at_layer + "post_attention_layernorm.weight": norm2[i],
            at_layer + "self_attn.q_proj.weight": halves(wq[i], heads),
            at_layer + "self_attn.k_proj.weight": halves(wk[i], kv_heads),
            at_layer + "self_attn.v_proj.weight": wv[i],
            at_layer + "self_attn.o_proj.weight": wo[i],
            at_layer + "mlp.gate_proj.weight": w1[i],
            at_layer + "mlp.down_proj.weight": w2[i],
            at_layer + "mlp.up_proj.weight": w3[i],
        }
    config = LlamaConfig(
        vocab_size=abs(vocab), hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=seq, rms_norm_eps=1e-5,
        tie_word_embeddings=vocab > 0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    model.float().save_pretrained(args.out)

    raw, at, pieces, scores = (args.model / "tok512.bin").read_bytes(), 4, [], []
    while at < len(raw):
        score, length = struct.unpack("<fi", raw[at : at + 8])
        pieces.append(raw[at + 8 : at + 8 + length].decode("utf-8"))
        scores.append(score)
        at += 8 + length
    pieces[:3] = ["<unk>", "<s>", "</s>"]
    pieces = [p if i < 259 else p.replace(" ", "▁") for i, p in enumerate(pieces)]
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece in pieces[259:]:
        for cut in range(1, len(piece)):
            if piece[:cut] in ids and piece[cut:] in ids:
                merges.append((scores[ids[piece]], ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:]))
    merges.sort(key=lambda m: (-m[0], m[1], m[2]))
    bpe = models.BPE(
        vocab=ids, merges=[m[3:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=seq
    ).save_pretrained(args.out)


def convert_gguf(args):
    """Dequantize to f32 and save as an ordinary folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder, name = str(args.model.parent), args.model.name
    quantized = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name)
    config = quantized.config.to_dict()
    config.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(quantized.state_dict())
    model.float().save_pretrained(args.out)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(args.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["lm-eval", "compare", "stories", "gguf"])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--bench", type=pathlib.Path, default=pathlib.Path("../shared/data/bench"))
    parser.add_argument("--work", type=pathlib.Path, help="folder for the results of both programs")
    parser.add_argument("--out", type=pathlib.Path, help="folder of a converted model")
    parser.add_argument("--tasks", nargs="+", default=[name for name in TASKS if name != "triviaqa"])
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--num-fewshot", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--softmax-dtype", help="HFLM's option of this name, such as float64; f32 without")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-seconds", type=float)
    parser.add_argument("--slender", default="target/release/slender")
    parser.add_argument("--keep", action="store_true", help="compare what is there without scoring again")
    parser.add_argument("--every", action="store_true", help="a line for each BLiMP sub-task")
    parser.add_argument("extra", nargs="*", help="further arguments of `slender eval`, after --")
    args = parser.parse_args()
    {"lm-eval": run_harness, "compare": compare, "stories": convert_stories, "gguf": convert_gguf}[args.command](args)


if __name__ == "__main__":
    main()
