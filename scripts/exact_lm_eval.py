#!/usr/bin/env python3
"""The numbers on which slender and lm-evaluation-harness differ most, against double precision.

    python3 scripts/exact_lm_eval.py MODEL --work DIR --tasks piqa [--most 4 | --first 100] [--orders 12]

Reads what `compare_lm_eval.py` left in DIR (the harness's samples and `slender.jsonl`), computes the
log-likelihoods with the largest differences again with transformers in f64 and in f32, and prints who is how
far from f64. `--orders N` adds how far transformers in f32 is from f64 when the model's hidden units come in N
random orders: the same function, whose sums round otherwise. A difference inside that spread is one that the
harness has with itself. For tasks whose requests are scored whole: the context's tokens begin those of context and answer.
"""

import argparse
import gc
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def pairs(work, task):
    """(difference, document, choice, slender's, the harness's, request) of every number of a task."""
    ours = {}
    for line in filter(None, (work / "slender.jsonl").read_text(encoding="utf-8").split("\n")):
        record = json.loads(line)
        if record["task"] == task:
            ours[record["doc_id"]] = record["log_likelihoods"]
    for sample in json.loads((work / "lm-eval" / f"{task}.json").read_text())["samples"]:
        theirs = next(value for key, value in sample.items() if key not in {"doc_id", "requests"})
        both = zip(ours.get(sample["doc_id"], []), theirs, sample["requests"])
        for choice, (a, b, request) in enumerate(both):
            b = float(b[0] if isinstance(b, list) else b)
            yield abs(a - b), sample["doc_id"], choice, a, b, request


def log_likelihood(model, tokenizer, context, answer):
    """Of the answer after the context, or after BOS when there is none."""
    if context:
        begun = len(tokenizer(context)["input_ids"])
        tokens = tokenizer(context + answer)["input_ids"]
    else:
        begun, tokens = 1, [tokenizer.bos_token_id, *tokenizer(answer, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        log_probs = torch.log_softmax(model(torch.tensor([tokens])).logits[0].double(), -1)
    return len(tokens) - begun, sum(log_probs[i - 1, tokens[i]].item() for i in range(begun, len(tokens)))


def reordered(folder, seed):
    """The model in f32 with its residual stream and the units of its feed-forwards in a random order."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    residual = torch.randperm(model.config.hidden_size, generator=generator)
    readers, writers, norms = [model.model.embed_tokens], [], [model.model.norm]
    if not model.config.tie_word_embeddings:
        readers.append(model.lm_head)
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        units = torch.randperm(model.config.intermediate_size, generator=generator)
        for linear in (mlp.gate_proj, mlp.up_proj):
            linear.weight.data = linear.weight.data[units]
        mlp.down_proj.weight.data = mlp.down_proj.weight.data[:, units]
        readers += [attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj]
        writers += [attention.o_proj, mlp.down_proj]
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    for module in readers:
        module.weight.data = module.weight.data[:, residual].contiguous()
    for module in writers + norms:
        module.weight.data = module.weight.data[residual].contiguous()
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--most", type=int, default=4)
    parser.add_argument("--first", type=int, help="the first numbers of a task instead of those that differ most")
    parser.add_argument("--orders", type=int, default=0, help="random orders of the hidden units in f32")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    numbers = []
    for task in args.tasks:
        chosen = list(pairs(args.work, task))
        chosen = chosen[: args.first] if args.first else sorted(chosen, key=lambda p: -p[0])[: args.most]
        numbers += [(f"{task} {document}, {choice}", a, b, request) for _, document, choice, a, b, request in chosen]

    def score(model):
        return [log_likelihood(model, tokenizer, *request) for *_, request in numbers]

    exact = score(AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float64))
    gc.collect()
    single = score(AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32))
    orders = [score(reordered(args.model, seed)) for seed in range(args.orders)]
    spread = " | f32, reordered: least to largest" if orders else ""
    print(f"| example, choice | tokens | exact | slender's error | the harness's | f32, softmax in f64{spread} |")
    print("|---|---:|---:|---:|---:|---:|" + ("---:|" if orders else ""))
    for i, (name, a, b, _) in enumerate(numbers):
        tokens, true = exact[i]
        errors = " | ".join(f"{x - true:+.1e}" for x in (a, b, single[i][1]))
        all_orders = [order[i][1] - true for order in orders]
        spread = f" | {min(all_orders):+.1e} to {max(all_orders):+.1e}" if orders else ""
        if not args.first:
            print(f"| {name} | {tokens} | {true:.5f} | {errors}{spread} |")
    for label, fold in (("largest", max), ("mean", lambda errors: sum(errors) / len(errors))):
        sides = [[n[k] for n in numbers] for k in (1, 2)] + [[f32 for _, f32 in single]]
        cells = [f"{fold([abs(x - true) for x, (_, true) in zip(side, exact)]):.1e}" for side in sides]
        print(f"| {label} of {len(numbers)} | | | {' | '.join(cells)} |" + (" |" if orders else ""))


if __name__ == "__main__":
    main()
