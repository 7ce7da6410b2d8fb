#!/usr/bin/env python3
"""Decoding speed of slender beside llama.cpp's, on a CPU, the runs alternating.

Both decode tokens one after another with untrained weights of the same shape, at equal precision of the
weights, without sampling. Speed does not depend on the weights' values, so the GGUF file is written here,
from random numbers, and nothing need be trained or exported.

    pip install gguf numpy llama-cpp-python       # builds llama.cpp for this processor
    scripts/compare_decode.py --config configs/125m-30x576-gqa3.toml --rounds 5 --threads 2

`--peer python=/path/to/python` uses the llama-cpp-python of another environment. Prints Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

FORMATS = {"f32": ("F32",), "bf16": ("BF16", "F16"), "q8_0": ("Q8_0",)}


def shape_of(slender, config):
    text = subprocess.run([slender, "inspect", config, "--json"], check=True, capture_output=True, text=True)
    return json.loads(text.stdout)["shape"]


def write_gguf(path, shape, kind):
    """A llama model of `shape` with random weights in GGUF type `kind`."""
    import gguf
    import numpy as np

    rng = np.random.default_rng(0)
    quant = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, "llama")
    executed = shape["n_layers"] * shape.get("repeats", 1)
    writer.add_context_length(shape["max_seq_len"])
    writer.add_embedding_length(shape["dim"])
    writer.add_block_count(executed)
    writer.add_feed_forward_length(shape["ffn_hidden"])
    writer.add_head_count(shape["n_heads"])
    writer.add_head_count_kv(shape["n_kv_heads"])
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_layer_norm_rms_eps(shape["norm_eps"])
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType[{"F32": "ALL_F32"}.get(kind, "MOSTLY_" + kind)])

    def add(name, *dims):
        values = rng.standard_normal(dims, dtype=np.float32) * np.float32(0.02)
        if len(dims) == 1:
            writer.add_tensor(name, values + 1)
        elif kind == "F32":
            writer.add_tensor(name, values)
        else:
            data = gguf.quants.quantize(values, quant)
            writer.add_tensor(name, data, raw_dtype=quant)

    d, f, dh = shape["dim"], shape["ffn_hidden"], shape["head_dim"]
    q, kv = shape["n_heads"] * dh, shape["n_kv_heads"] * dh
    add("token_embd.weight", shape["vocab_size"], d)
    add("output_norm.weight", d)
    if not shape["tie_embeddings"]:
        add("output.weight", shape["vocab_size"], d)
    for i in range(executed):
        add(f"blk.{i}.attn_norm.weight", d)
        add(f"blk.{i}.attn_q.weight", q, d)
        add(f"blk.{i}.attn_k.weight", kv, d)
        add(f"blk.{i}.attn_v.weight", kv, d)
        add(f"blk.{i}.attn_output.weight", d, q)
        add(f"blk.{i}.ffn_norm.weight", d)
        add(f"blk.{i}.ffn_gate.weight", f, d)
        add(f"blk.{i}.ffn_up.weight", f, d)
        add(f"blk.{i}.ffn_down.weight", d, f)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def worker(args):
    """Runs inside the peer's environment: seconds of reading a prompt and of a step."""
    import ctypes

    import llama_cpp as ll

    ll.llama_backend_init()
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    model_params = ll.llama_model_default_params()
    model = ll.llama_model_load_from_file(args.worker.encode(), model_params)
    assert model, "llama.cpp does not load the file"
    params = ll.llama_context_default_params()
    params.n_ctx = args.prompt_len + args.tokens + 8
    params.n_batch = params.n_ubatch = max(512, args.prompt_len)
    params.n_threads = params.n_threads_batch = args.threads
    context = ll.llama_init_from_model(model, params)
    memory = ll.llama_get_memory(context)

    def decode(tokens):
        array = (ll.llama_token * len(tokens))(*tokens)
        assert ll.llama_decode(context, ll.llama_batch_get_one(array, len(tokens))) == 0
        return ll.llama_get_logits_ith(context, -1)[0]

    vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    prompts, steps = [], []
    for repetition in range(args.repetitions + 1):
        ll.llama_memory_clear(memory, True)
        start = time.perf_counter()
        decode([i * 7919 % vocab for i in range(args.prompt_len)])
        middle = time.perf_counter()
        for step in range(args.tokens):
            decode([step * 17 * 7919 % vocab])
        if repetition:
            prompts.append(middle - start)
            steps.append((time.perf_counter() - middle) / args.tokens)
    info = ll.llama_print_system_info().decode()
    print(json.dumps({"prompt_s": statistics.median(prompts), "step_s": statistics.median(steps), "info": info}))


def run_slender(args, config, weights, sets=()):
    command = [args.slender, "bench", "decode", config, "--weights", weights, "--json"]
    command += ["--threads", str(args.threads), "--prompt-len", str(args.prompt_len)]
    command += ["--tokens", str(args.tokens), "--repetitions", str(args.repetitions)]
    for key in sets:
        command += ["--set", key]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_llama(args, file):
    command = [args.peer, os.path.abspath(__file__), "--worker", file, "--threads", str(args.threads)]
    command += ["--prompt-len", str(args.prompt_len), "--tokens", str(args.tokens)]
    command += ["--repetitions", str(args.repetitions)]
    environment = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(output.stdout.splitlines()[-1])


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def compare(args):
    shape = shape_of(args.slender, args.config)
    os.makedirs(args.work, exist_ok=True)
    name = os.path.splitext(os.path.basename(args.config))[0]
    files = {}
    for weights in args.formats:
        for kind in FORMATS[weights]:
            path = os.path.join(args.work, f"{name}-{kind}.gguf")
            if not os.path.exists(path):
                write_gguf(path + ".tmp", shape, kind)
                os.replace(path + ".tmp", path)
            files[weights, kind] = path
    ours = {weights: [] for weights in args.formats}
    theirs = {key: [] for key in files}
    memory, info = [], ""
    for _ in range(args.rounds):
        for weights in args.formats:
            result = run_slender(args, args.config, weights)
            ours[weights].append(result)
            memory.append(result["memory_bytes_per_s"])
            for kind in FORMATS[weights]:
                result = run_llama(args, files[weights, kind])
                theirs[weights, kind].append(result)
                info = result["info"]
    print(f"{name}, {args.threads} threads, {args.tokens} tokens after a prompt of {args.prompt_len}, "
          f"{args.rounds} alternating rounds; llama.cpp: {info.strip()}\n")
    print("| weights | slender, tokens/s | of memory's speed | llama.cpp | tokens/s | **slender / llama.cpp** | prompt |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for (weights, kind), results in theirs.items():
        mine = [r["decode_tokens_per_s"][0] for r in ours[weights]]
        share = statistics.median(r["bytes_per_s"] / r["memory_bytes_per_s"] for r in ours[weights])
        other = [1 / r["step_s"] for r in results]
        ratio = statistics.median(a / b for a, b in zip(mine, other))
        prompt = statistics.median(
            a["prompt_tokens_per_s"] * b["prompt_s"] / args.prompt_len for a, b in zip(ours[weights], results))
        print(f"| {weights} | {spread(mine)} | {100 * share:.0f} % | {kind.lower()} | {spread(other)} "
              f"| **{ratio:.2f}** | {prompt:.2f} |")
    print(f"\nMemory was read at {spread([m / 1e9 for m in memory])} GB/s.")


def sharing(args):
    """A model with blocks run twice at once, beside the same without and one of twice the layers."""
    base = args.config.replace("-ls.toml", ".toml")
    layers = shape_of(args.slender, base)["n_layers"]
    rows = {
        f"{layers} layers": (base, ()),
        f"{layers} layers, each twice at once": (args.config, ()),
        f"{2 * layers} layers": (base, (f"model.n_layers={2 * layers}",)),
    }
    for weights in args.formats:
        results = {name: [] for name in rows}
        for _ in range(args.rounds):
            for name, (config, sets) in rows.items():
                results[name].append(run_slender(args, config, weights, sets))
        steps = {name: [r["step_s"] for r in all_] for name, all_ in results.items()}
        first = steps[f"{layers} layers"]
        print(f"\n{weights}, {args.threads} threads, {args.tokens} tokens after a prompt of {args.prompt_len}, "
              f"{args.rounds} alternating rounds\n")
        print("| model | ms a token | times the first | weights read | distinct |")
        print("|---|---:|---:|---:|---:|")
        for name, all_ in results.items():
            ratio = statistics.median(a / b for a, b in zip(steps[name], first))
            print(f"| {name} | {spread([1e3 * s for s in steps[name]])} | {ratio:.2f} "
                  f"| {all_[0]['weight_bytes_read'] / 1e6:.0f} MB | {all_[0]['weight_bytes'] / 1e6:.0f} MB |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/125m-30x576-gqa3.toml")
    parser.add_argument("--sharing", action="store_true", help="compare a -ls configuration with its base and twice the layers")
    parser.add_argument("--formats", type=lambda text: text.split(","), default=list(FORMATS))
    parser.add_argument("--slender", default="target/release/slender")
    parser.add_argument("--peer", default=sys.executable, help="Python with llama-cpp-python")
    parser.add_argument("--work", default="/tmp/compare_decode", help="folder for GGUF files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--prompt-len", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
    elif args.sharing:
        sharing(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
