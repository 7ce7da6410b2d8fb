#!/usr/bin/env python3
"""Import a model with slender, export it again, and hold it against the original in transformers.

    python3 scripts/compare_round_trip.py --gguf FILE.gguf --folder DIR --text FILE --work DIR

FILE.gguf and DIR hold the same model, DIR as transformers saves it. Four sources are tried: the GGUF file, the
folder, the folder saved in shards, and the folder's weights as PyTorch's `.bin`. Each goes through
`slender import` and `slender export --format hf`, and transformers loads the result. Of the first two, logits on
the first --tokens tokens of the text and --greedy greedily chosen tokens are compared with those of the original;
of all four, every weight is compared bit for bit. Needs transformers, torch (CPU) and gguf.

SLENDER names the program; the default is target/release/slender.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time

import torch
import transformers

BOUND = 1e-4
SLENDER = os.environ.get("SLENDER", "target/release/slender")
PROMPT = "Once upon a time, in a small village by the sea,"


def run(*arguments):
    start = time.time()
    subprocess.run([SLENDER, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.time() - start


def load(path, **options):
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options)
    return model.eval()


def weights(model):
    """Named tensors; a tied output projection is the embedding."""
    return {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def greedy(model, ids, count):
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=count,
            min_new_tokens=count, do_sample=False, repetition_penalty=1.0, pad_token_id=0,
        )
    return out[0, len(ids):].tolist()


def round_trip(source, work, name, extra=()):
    imported, exported = work / f"{name}-model", work / f"{name}-hf"
    for folder in (imported, exported):
        shutil.rmtree(folder, ignore_errors=True)
    took = run("import", source, "--out", imported, *extra)
    took += run("export", imported, "--format", "hf", "--dtype", "f32", "--out", exported)
    return exported, took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--greedy", type=int, default=200)
    arguments = parser.parse_args()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    failures = []

    def check(what, fine, detail=""):
        print(f"  {'ok  ' if fine else 'FAIL'} {what}{': ' + detail if detail else ''}", flush=True)
        if not fine:
            failures.append(what)

    text = arguments.text.read_text(encoding="utf-8")[: 16 * arguments.tokens]
    originals = {
        "gguf": (arguments.gguf, lambda: load(arguments.gguf.parent, gguf_file=arguments.gguf.name)),
        "folder": (arguments.folder, lambda: load(arguments.folder)),
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.folder)
    ids = tokenizer(text)["input_ids"][: arguments.tokens]
    prompt = tokenizer(PROMPT)["input_ids"]
    for name, (source, open_original) in originals.items():
        print(f"{name}: {source.name}", flush=True)
        original = open_original()
        wanted, wanted_text = logits(original, ids), greedy(original, prompt, arguments.greedy)
        before = {key: value.clone() for key, value in weights(original).items()}
        del original
        exported, took = round_trip(source, work, name)
        print(f"  import and export took {took:.1f} s", flush=True)
        model = load(exported)
        after = weights(model)
        same = sum(torch.equal(after[key], value) for key, value in before.items())
        check("weights", same == len(before) == len(after), f"{same} of {len(before)} tensors equal bit for bit")
        found = logits(model, ids)
        difference = (found - wanted).abs().max().item()
        check("logits", difference <= BOUND, f"{len(ids)} tokens, largest difference {difference:.2e} of {wanted.abs().max():.1f}")
        found_text = greedy(model, prompt, arguments.greedy)
        agree = sum(a == b for a, b in zip(found_text, wanted_text))
        check("greedy", found_text == wanted_text, f"{agree} of {arguments.greedy} tokens")
        tokens = transformers.AutoTokenizer.from_pretrained(exported)
        check("tokenizer", tokens(text)["input_ids"][: arguments.tokens] == ids, f"{len(ids)} ids")
        print(f"  the text: {tokens.decode(found_text)[:160]!r}")
        del model, after

    print("folder in shards, and as PyTorch's .bin", flush=True)
    model = load(arguments.folder)
    before = {key: value.clone() for key, value in weights(model).items()}
    shards, pickled = work / "shards", work / "bin"
    for folder in (shards, pickled):
        shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(shards, max_shard_size="150MB")
    pickled.mkdir()
    torch.save(dict(model.state_dict()), pickled / "pytorch_model.bin")
    del model
    for name in os.listdir(arguments.folder):
        if not name.startswith("model"):
            for folder in (shards, pickled):
                if not (folder / name).exists():
                    shutil.copy(arguments.folder / name, folder / name)
    for name, source in (("shards", shards), ("bin", pickled)):
        exported, _ = round_trip(source, work, name)
        model = load(exported)
        after = weights(model)
        same = sum(torch.equal(after[key], value) for key, value in before.items())
        files = len(list(source.glob("*.safetensors")) + list(source.glob("*.bin")))
        check(f"{name}, {files} files", same == len(before) == len(after), f"{same} of {len(before)} tensors equal bit for bit")
        del model, after
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: {len(failures)} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
