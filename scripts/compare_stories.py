#!/usr/bin/env python3
"""Hold slender's reading of a llama2.c checkpoint against an independent forward pass in NumPy.

    python3 scripts/compare_stories.py FOLDER [--golden FILE] [--write]

FOLDER holds a version 0 `.bin` file and its tokenizer, such as stories260K.bin and tok512.bin. The file is read
here from its description alone, without slender, and run with NumPy: RoPE on neighbouring pairs, as llama2.c has it.
Then `slender import` reads it, every weight is compared after the permutation of queries and keys, and
`slender generate` continues from nothing. --golden names the list of greedy ids that tests use; --write writes it.

SLENDER names the program; the default is target/release/slender.
"""

import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

SLENDER = os.environ.get("SLENDER", "target/release/slender")
TOKENS = 200


class Llama2c:
    """A version 0 checkpoint, and its forward pass with a key-value cache."""

    def __init__(self, path):
        data = path.read_bytes()
        self.dim, hidden, self.layers, self.heads, self.kv_heads, vocab, self.seq_len = struct.unpack("<7i", data[:28])
        numbers = np.frombuffer(data, "<f4", offset=28)
        self.head_dim = self.dim // self.heads
        kv = self.kv_heads * self.head_dim
        at = 0

        def take(*shape):
            nonlocal at
            count = int(np.prod(shape))
            at += count
            return numbers[at - count : at].reshape(shape)

        layers, dim = self.layers, self.dim
        self.embedding = take(abs(vocab), dim)
        self.attention_norm = take(layers, dim)
        self.wq, self.wk, self.wv = take(layers, dim, dim), take(layers, kv, dim), take(layers, kv, dim)
        self.wo = take(layers, dim, dim)
        self.ffn_norm = take(layers, dim)
        self.w1, self.w2, self.w3 = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
        self.norm = take(dim)
        take(2 * self.seq_len * self.head_dim // 2)
        self.output = self.embedding if vocab > 0 else take(-vocab, dim)
        assert at == len(numbers), f"{len(numbers) - at} numbers are left over"
        self.cache = [([], []) for _ in range(layers)]

    def rotate(self, x, position):
        """x: [heads, head_dim]; neighbours (0, 1), (2, 3), … are rotated."""
        frequency = 10000.0 ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        cos, sin = np.cos(position * frequency), np.sin(position * frequency)
        out = np.empty_like(x)
        out[:, 0::2] = x[:, 0::2] * cos - x[:, 1::2] * sin
        out[:, 1::2] = x[:, 0::2] * sin + x[:, 1::2] * cos
        return out.astype(np.float32)

    def rms_norm(self, x, weight):
        return x / np.sqrt(np.mean(x * x) + np.float32(1e-5)) * weight

    def forward(self, token, position):
        x = self.embedding[token].copy()
        for layer in range(self.layers):
            h = self.rms_norm(x, self.attention_norm[layer])
            q = self.rotate((self.wq[layer] @ h).reshape(self.heads, -1), position)
            k = self.rotate((self.wk[layer] @ h).reshape(self.kv_heads, -1), position)
            v = (self.wv[layer] @ h).reshape(self.kv_heads, -1)
            keys, values = self.cache[layer]
            keys.append(k)
            values.append(v)
            each = self.heads // self.kv_heads
            out = []
            for head in range(self.heads):
                past_k = np.stack([key[head // each] for key in keys])
                past_v = np.stack([value[head // each] for value in values])
                scores = past_k @ q[head] / np.sqrt(np.float32(self.head_dim))
                scores = np.exp(scores - scores.max())
                out.append(scores / scores.sum() @ past_v)
            x = x + self.wo[layer] @ np.concatenate(out)
            h = self.rms_norm(x, self.ffn_norm[layer])
            gate = self.w1[layer] @ h
            x = x + self.w2[layer] @ (gate / (1 + np.exp(-gate)) * (self.w3[layer] @ h))
        return self.output @ self.rms_norm(x, self.norm)


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        assert info["dtype"] == "F32", name
        start, end = (8 + length + offset for offset in info["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], "<f4").reshape(info["shape"])
    return tensors


def halves(weight, heads):
    """Rows of each head from pairs (0, 1), (2, 3), … to halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def compare_weights(model, tensors):
    names = {"input_layernorm": model.attention_norm, "self_attn.v_proj": model.wv, "self_attn.o_proj": model.wo,
             "post_attention_layernorm": model.ffn_norm, "mlp.gate_proj": model.w1, "mlp.down_proj": model.w2,
             "mlp.up_proj": model.w3}
    wanted = {"model.embed_tokens.weight": model.embedding, "model.norm.weight": model.norm}
    for layer in range(model.layers):
        at = f"model.layers.{layer}."
        wanted |= {f"{at}{name}.weight": value[layer] for name, value in names.items()}
        wanted[f"{at}self_attn.q_proj.weight"] = halves(model.wq[layer], model.heads)
        wanted[f"{at}self_attn.k_proj.weight"] = halves(model.wk[layer], model.kv_heads)
    assert wanted.keys() == tensors.keys(), wanted.keys() ^ tensors.keys()
    equal = sum(np.array_equal(tensors[name], value) for name, value in wanted.items())
    print(f"weights: {equal} of {len(wanted)} tensors equal bit for bit after the permutation")
    return equal == len(wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--golden", type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    (checkpoint,) = arguments.folder.glob("stories*.bin")
    (tokenizer,) = arguments.folder.glob("tok*.bin")

    model = Llama2c(checkpoint)
    ids, gaps = [1], []
    while len(ids) <= TOKENS:
        scores = model.forward(ids[-1], len(ids) - 1)
        first, second = np.sort(scores)[::-1][:2]
        gaps.append(float(first - second))
        ids.append(int(scores.argmax()))
    story = ids[1:]
    print(f"NumPy: {len(story)} greedy tokens after BOS; the closest call was decided by {min(gaps):.4f}")
    if arguments.golden and arguments.write:
        arguments.golden.write_text(json.dumps({"file": checkpoint.name, "greedy": story}) + "\n")
    fine = True
    if arguments.golden:
        same = json.loads(arguments.golden.read_text())["greedy"] == story
        print(f"golden file: {'equal' if same else 'DIFFERENT'}")
        fine &= same

    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "model"
        subprocess.run([SLENDER, "import", checkpoint, "--tokenizer", tokenizer, "--out", out], check=True,
                       stdout=subprocess.DEVNULL)
        fine &= compare_weights(Llama2c(checkpoint), read_safetensors(out / "model.safetensors"))
        told = subprocess.run([SLENDER, "generate", out, "--prompt", "", "--max-tokens", str(TOKENS),
                               "--temperature", "0", "--ignore-eos", "--json"], capture_output=True, text=True)
        if told.returncode:
            print(f"slender generate: {told.stderr.strip()}")
            fine = False
        else:
            answer = json.loads(told.stdout)
            found = answer["tokens"]
            agree = sum(a == b for a, b in zip(found, story))
            print(f"slender generate: {agree} of {len(story)} tokens equal")
            print(answer["text"])
            fine &= found == story
    sys.exit(not fine)


if __name__ == "__main__":
    main()
