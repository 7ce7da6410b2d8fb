#!/usr/bin/env python3
"""The numbers on which slender and lm-evaluation-harness differ most, against double precision.

    python3 scripts/exact_lm_eval.py MODEL --work DIR --tasks piqa [--most 4]

Reads what `compare_lm_eval.py` left in DIR (the harness's samples and `slender.jsonl`), computes the
log-likelihoods with the largest differences again with transformers in f64 and in f32, and prints who is how
far from f64. For tasks whose requests are scored whole: the context's tokens begin those of context and answer.
"""

import argparse
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--most", type=int, default=4)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    exact, single = (AutoModelForCausalLM.from_pretrained(args.model, dtype=t) for t in (torch.float64, torch.float32))
    print("| example, choice | tokens | exact | slender's error | the harness's | transformers f32, alone |")
    print("|---|---:|---:|---:|---:|---:|")
    for task in args.tasks:
        for _, document, choice, a, b, request in sorted(pairs(args.work, task), key=lambda p: -p[0])[: args.most]:
            tokens, true = log_likelihood(exact, tokenizer, *request)
            _, f32 = log_likelihood(single, tokenizer, *request)
            errors = " | ".join(f"{abs(x - true):.1e}" for x in (a, b, f32))
            print(f"| {task} {document}, {choice} | {tokens} | {true:.5f} | {errors} |")


if __name__ == "__main__":
    main()
