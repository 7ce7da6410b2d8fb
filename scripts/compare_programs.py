#!/usr/bin/env python3
"""Continue ten prompts greedily in slender, transformers and llama.cpp, and compare the texts.

    python3 scripts/compare_programs.py MODEL --work DIR [--tokens N] [--prompts FILE]

MODEL is a run, a checkpoint or a model folder. It is exported as a Hugging Face folder in f32, and as GGUF in f32
and f16; transformers runs the first, llama.cpp (the package xllamacpp) the others, `slender generate` the model
itself. The ids of the prompts, as each program's own tokenizer gives them, and the ids of the continuations must
be equal; where a continuation departs, the gap between the two likeliest tokens in transformers is printed. Needs
transformers, torch (CPU) and xllamacpp.

SLENDER names the program; the default is target/release/slender.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.request

import torch
import transformers
import xllamacpp

SLENDER = os.environ.get("SLENDER", "target/release/slender")
PROMPTS = [
    "Once upon a time",
    "The old man looked at the sea and",
    "It was the best of times, it was",
    "“I do not know,” said the",
    "In the year 1815",
    "She opened the door slowly. Inside,",
    "The king had three sons: the first",
    "A long way off, beyond the hills,\n",
    "café, naïve — and 25 more",
    "My dear sir,",
]


def slender(*arguments):
    done = subprocess.run([SLENDER, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"slender {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


class Llama:
    """llama.cpp with one GGUF file."""

    def __init__(self, path):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 1024
        params.cpuparams.n_threads = 2
        self.server = xllamacpp.Server(params)

    def post(self, path, body):
        request = urllib.request.Request(
            self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def tokenize(self, text):
        return self.post("/tokenize", {"content": text, "add_special": True})["tokens"]

    def greedy(self, ids, count):
        answer = self.post("/completion", {
            "prompt": ids, "n_predict": count, "temperature": 0.0, "samplers": ["top_k"], "top_k": 1,
            "repeat_penalty": 1.0, "ignore_eos": True, "return_tokens": True, "cache_prompt": False})
        return answer["tokens"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--prompts", type=pathlib.Path, help="a file with a prompt on each line")
    arguments = parser.parse_args()
    work, count = arguments.work, arguments.tokens
    work.mkdir(parents=True, exist_ok=True)
    prompts = arguments.prompts.read_text().splitlines() if arguments.prompts else PROMPTS
    failures = []

    folder = work / "hf"
    shutil.rmtree(folder, ignore_errors=True)
    slender("export", arguments.model, "--format", "hf", "--dtype", "f32", "--out", folder)
    llamas = {}
    for dtype in ("f32", "f16"):
        path = work / f"model-{dtype}.gguf"
        path.unlink(missing_ok=True)
        slender("export", arguments.model, "--format", "gguf", "--dtype", dtype, "--out", path)
        llamas[f"llama.cpp {dtype}"] = Llama(path)

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    for name, llama in llamas.items():
        same = sum(llama.tokenize(prompt) == wanted for prompt, wanted in zip(prompts, ids))
        print(f"{name}: {same} of {len(prompts)} prompts have the same ids as in transformers")
        failures += [name] * (same < len(prompts))

    def greedy(prompt):
        with torch.no_grad():
            out = model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=count, min_new_tokens=count, do_sample=False, repetition_penalty=1.0, pad_token_id=0)
        return out[0, len(prompt):].tolist()

    wanted = [greedy(prompt) for prompt in ids]
    own = work / "prompts.jsonl"
    own.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    answers = {}
    for name, path in (("slender generate, the model", arguments.model), ("slender generate, the export", folder)):
        lines = slender("generate", path, "--prompts", own, "--max-tokens", count, "--temperature", 0, "--ignore-eos")
        answers[name] = [json.loads(line)["tokens"] for line in lines.splitlines()]
    for name, llama in llamas.items():
        answers[name] = [llama.greedy(prompt, count) for prompt in ids]
    for name, found in answers.items():
        same = sum(a == b for a, b in zip(found, wanted))
        print(f"{name}: {same} of {len(prompts)} continuations of {count} tokens equal those of transformers")
        failures += [name] * (same < len(prompts))
        for index, (a, b) in enumerate(zip(found, wanted)):
            if a != b:
                at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                with torch.no_grad():
                    scores = model(torch.tensor([ids[index] + b[:at]])).logits[0, -1]
                first, second = scores.topk(2).values.tolist()
                print(f"  {prompts[index]!r} departs at token {at}, where the best two are {first - second:.2e} apart")
    print(f"first text: {prompts[0]!r} → {tokenizer.decode(wanted[0])!r}")
    print(f"transformers {transformers.__version__}, xllamacpp {xllamacpp.__version__ if hasattr(xllamacpp, '__version__') else ''}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
