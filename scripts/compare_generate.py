#!/usr/bin/env python3
"""Greedy texts of `slender generate` beside transformers' and, if wanted, llama.cpp's, token by token.

    scripts/compare_generate.py /path/to/hf-folder --tokens 200
    scripts/compare_generate.py /path/to/hf-folder --gguf model-f16.gguf --peer /path/to/python

transformers runs the folder in f32 with PyTorch, each token from the whole text anew, without a cache. Where
texts part, the gap between the two likeliest logits there is printed: a tie to within rounding may fall
either way. Needs torch and transformers; for --gguf a Python (--peer) with llama-cpp-python.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

PROMPTS = [
    "",
    "Once upon a time",
    "The little dog",
    "One day, Lily and Tom",
    "In the morning the sun",
    "\"Where are you going?\" asked the",
    "There was a big red",
    "Mom said, \"",
    "He opened the door and",
    "At the end of the day",
]


def by_slender(args, file, weights):
    command = [args.slender, "generate", args.model, "--prompts", file, "--max-tokens", str(args.tokens)]
    command += ["--weights", weights, "--bos", "yes" if args.bos else "no"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line)["tokens"] for line in output.splitlines()]


def by_transformers(args, prompts, ends):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    texts, gaps = [], []
    with torch.no_grad():
        for prompt in prompts:
            tokens, gap = list(prompt), []
            limit = min(args.tokens, model.config.max_position_embeddings + 1 - len(prompt))
            while len(tokens) < len(prompt) + limit:
                logits = model(torch.tensor([tokens])).logits[0, -1]
                top = logits.topk(2)
                gap.append((top.values[0] - top.values[1]).item())
                tokens.append(top.indices[0].item())
                if tokens[-1] in ends:
                    break
            texts.append(tokens[len(prompt):])
            gaps.append(gap)
    return texts, gaps


def by_llama(args, prompts, ends):
    job = json.dumps({"gguf": args.gguf, "prompts": prompts, "ends": sorted(ends), "tokens": args.tokens,
                      "threads": args.threads})
    command = [args.peer, os.path.abspath(__file__), "--worker"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, input=job).stdout
    return json.loads(output.splitlines()[-1])


def worker():
    import ctypes

    import llama_cpp as ll
    import numpy as np

    job = json.load(sys.stdin)
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    model = ll.llama_model_load_from_file(job["gguf"].encode(), ll.llama_model_default_params())
    assert model, "llama.cpp does not load the file"
    vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    texts = []
    for prompt in job["prompts"]:
        params = ll.llama_context_default_params()
        limit = min(job["tokens"], ll.llama_model_n_ctx_train(model) + 1 - len(prompt))
        params.n_ctx = len(prompt) + limit + 1
        params.n_threads = params.n_threads_batch = job["threads"]
        params.type_k = params.type_v = 0  # f32
        context = ll.llama_init_from_model(model, params)
        text, tokens = [], prompt
        while len(text) < limit:
            array = (ll.llama_token * len(tokens))(*tokens)
            assert ll.llama_decode(context, ll.llama_batch_get_one(array, len(tokens))) == 0
            logits = np.ctypeslib.as_array(ll.llama_get_logits_ith(context, -1), shape=(vocab,))
            tokens = [int(logits.argmax())]
            text += tokens
            if text[-1] in job["ends"]:
                break
        texts.append(text)
        ll.llama_free(context)
    print(json.dumps(texts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="Hugging Face folder")
    parser.add_argument("--gguf", help="the same model as a GGUF file")
    parser.add_argument("--weights", default="f32", help="weights of slender")
    parser.add_argument("--prompts", help="file with a prompt a line instead of the ten built in")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--bos", type=int, default=1, help="0: no beginning-of-sequence token")
    parser.add_argument("--slender", default="target/release/slender")
    parser.add_argument("--peer", default=sys.executable, help="Python with llama-cpp-python")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker()
    if not args.model:
        parser.error("give a Hugging Face folder")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    config = json.load(open(os.path.join(args.model, "config.json")))
    ends = config.get("eos_token_id")
    ends = set(ends if isinstance(ends, list) else [ends]) - {None}
    texts = open(args.prompts).read().splitlines() if args.prompts else PROMPTS
    first = config.get("bos_token_id")
    prompts = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        prompts.append([first] + ids if (args.bos or not ids) and ids[:1] != [first] else ids)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for text in texts:
            file.write(json.dumps({"prompt": text}) + "\n")
        file.flush()
        ours = by_slender(args, file.name, args.weights)
    others, gaps = {}, None
    others["transformers f32"], gaps = by_transformers(args, prompts, ends)
    if args.gguf:
        others["llama.cpp " + os.path.basename(args.gguf)] = by_llama(args, prompts, ends)
    failed = False
    for name, theirs in others.items():
        same = sum(a == b for a, b in zip(ours, theirs))
        total = sum(len(text) for text in ours)
        print(f"slender {args.weights} and {name}: {same} of {len(ours)} texts equal, {total} tokens")
        for index, (a, b) in enumerate(zip(ours, theirs)):
            if a != b:
                at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                gap = gaps[index][at] if at < len(gaps[index]) else float("nan")
                print(f"  {texts[index]!r}: part after {at} tokens, where transformers' logits are {gap:.2e} apart")
                failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
