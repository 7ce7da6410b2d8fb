#!/usr/bin/env python3
"""The decoder of slender-model a second time, in plain PyTorch, and golden files from it.

Written from the formulas (RMSNorm, half-split RoPE, grouped-query attention, SwiGLU, ReLU or GELU,
the paper's sharing orders), with nothing from `transformers`, so that an error in the Rust model
and one here are unlikely to agree. Weights are random with standard deviation 0.2, ten times the
usual, so that softmax and norms work away from their linear range.

    python3 -m venv .venv && .venv/bin/pip install torch numpy safetensors
    .venv/bin/python scripts/golden_model.py                       # writes the golden files

writes crates/slender-model/tests/golden/*.safetensors: weights under their Hugging Face names,
`tokens`, `targets` (-1: not scored), `segments`, `logits`, the summed `loss` and `grad.<weight>`;
the shape is JSON in the file's metadata. Results are computed in f64 from the f32 weights and
stored as f32, so that the test's bound is spent on slender's rounding alone. The table it prints
is the yardstick: PyTorch's own f32 results against the stored ones, 1e-6 to 4e-6.

    .venv/bin/pip install transformers
    .venv/bin/python scripts/golden_model.py --check-transformers  # writes nothing

compares this file's logits and gradients with transformers' LlamaForCausalLM on every case that
Llama can say, and with Qwen3ForCausalLM on QK-norm (relative error at most 1e-5). Last run with
transformers 5.23.0 and torch 2.15.0: 2.1e-6 at worst for Llama, 2.7e-6 for QK-norm.
"""

import argparse
import json
import math
import pathlib

import numpy as np
import torch

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "crates/slender-model/tests/golden"
FORMAT = "slender-golden/1"
IGNORE = -1

# ---------------------------------------------------------------------------------------- model
# B batch, T positions, D width, H query heads, K key-value heads, Dh head width, V vocabulary.


def schedule(shape):
    """Block executed at each step of the forward pass (MobileLLM, Figure 6)."""
    layers, repeats = list(range(shape["n_layers"])), shape["repeats"]
    if shape["sharing"] == "immediate":
        return [layer for layer in layers for _ in range(repeats)]
    if shape["sharing"] == "reverse":
        return [i for turn in range(repeats) for i in (layers if turn % 2 == 0 else layers[::-1])]
    assert shape["sharing"] == "repeat-all-over" or repeats == 1
    return layers * repeats


def weight_shapes(shape):
    """Name and dimensions of every weight."""
    d, f, dh, v = shape["dim"], shape["ffn_hidden"], shape["head_dim"], shape["vocab_size"]
    q, kv = shape["n_heads"] * dh, shape["n_kv_heads"] * dh
    out = {"model.embed_tokens.weight": (v, d)}
    for i in range(shape["n_layers"]):
        block = {
            "input_layernorm": (d,),
            "self_attn.q_proj": (q, d),
            "self_attn.k_proj": (kv, d),
            "self_attn.v_proj": (kv, d),
            "self_attn.o_proj": (d, q),
        }
        if shape["qk_norm"]:
            block |= {"self_attn.q_norm": (dh,), "self_attn.k_norm": (dh,)}
        block |= {"post_attention_layernorm": (d,)}
        if shape["ffn"] == "swiglu":
            block |= {"mlp.gate_proj": (f, d)}
        block |= {"mlp.up_proj": (f, d), "mlp.down_proj": (d, f)}
        out |= {f"model.layers.{i}.{name}.weight": dims for name, dims in block.items()}
    out["model.norm.weight"] = (d,)
    if not shape["tie_embeddings"]:
        out["lm_head.weight"] = (v, d)
    return out


def rms_norm(x, weight, eps):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis."""
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotate(x, theta):
    """RoPE on [B, T, heads, Dh]: pair i is dimensions i and i + Dh/2 (Hugging Face's convention)."""
    t, dh = x.shape[1], x.shape[3]
    frequency = theta ** (-2.0 * torch.arange(dh // 2, dtype=torch.float64) / dh)  # [Dh/2]
    angle = torch.arange(t, dtype=torch.float64)[:, None] * frequency  # [T, Dh/2]
    cos, sin = angle.cos().to(x.dtype)[:, None, :], angle.sin().to(x.dtype)[:, None, :]
    a, b = x[..., : dh // 2], x[..., dh // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def attention(x, weights, at, shape, visible):
    """Grouped-query attention of [B, T, D]; `visible` is [B or 1, T, T]."""
    b, t, _ = x.shape
    h, kv, dh = shape["n_heads"], shape["n_kv_heads"], shape["head_dim"]
    q = (x @ weights[at + "q_proj.weight"].T).view(b, t, h, dh)
    k = (x @ weights[at + "k_proj.weight"].T).view(b, t, kv, dh)
    v = (x @ weights[at + "v_proj.weight"].T).view(b, t, kv, dh)
    if shape["qk_norm"]:
        q = rms_norm(q, weights[at + "q_norm.weight"], shape["norm_eps"])
        k = rms_norm(k, weights[at + "k_norm.weight"], shape["norm_eps"])
    q, k = rotate(q, shape["rope_theta"]), rotate(k, shape["rope_theta"])
    heads = []
    for head in range(h):  # one head at a time: slow, and nothing to get wrong
        group = head // (h // kv)
        scores = q[:, :, head] @ k[:, :, group].transpose(1, 2) / math.sqrt(dh)  # [B, T, T]
        scores = scores.masked_fill(~visible, -math.inf)
        heads.append(torch.softmax(scores, dim=-1) @ v[:, :, group])  # [B, T, Dh]
    return torch.cat(heads, dim=-1) @ weights[at + "o_proj.weight"].T


def feed_forward(x, weights, at, shape):
    up = x @ weights[at + "up_proj.weight"].T
    if shape["ffn"] == "swiglu":
        gate = x @ weights[at + "gate_proj.weight"].T
        hidden = gate * torch.sigmoid(gate) * up
    elif shape["ffn"] == "gelu":
        hidden = up * 0.5 * (1 + torch.erf(up / math.sqrt(2)))
    else:
        hidden = up.clamp(min=0)
    return hidden @ weights[at + "down_proj.weight"].T


def logits(shape, weights, tokens, segments=None):
    """Logits [B, T, V] of `tokens` [B, T]; `segments` [B, T] keeps attention inside documents."""
    t = tokens.shape[1]
    visible = torch.ones(t, t, dtype=torch.bool).tril()[None]  # [1, T, T]
    if segments is not None:
        visible = visible & (segments[:, :, None] == segments[:, None, :])  # [B, T, T]
    x = weights["model.embed_tokens.weight"][tokens]  # [B, T, D]
    for index in schedule(shape):
        at, eps = f"model.layers.{index}.", shape["norm_eps"]
        normed = rms_norm(x, weights[at + "input_layernorm.weight"], eps)
        x = x + attention(normed, weights, at + "self_attn.", shape, visible)
        normed = rms_norm(x, weights[at + "post_attention_layernorm.weight"], eps)
        x = x + feed_forward(normed, weights, at + "mlp.", shape)
    x = rms_norm(x, weights["model.norm.weight"], shape["norm_eps"])
    head = "model.embed_tokens.weight" if shape["tie_embeddings"] else "lm_head.weight"
    return x @ weights[head].T


def loss_sum(logits, targets):
    """Summed cross-entropy in nats; targets of -1 are not scored."""
    log_probs = torch.log_softmax(logits, dim=-1)
    picked = log_probs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(picked * (targets != IGNORE)).sum()


# --------------------------------------------------------------------------------------- golden


def shape_of(**changes):
    """A tiny shape; the defaults are grouped-query, tied, SwiGLU, not shared."""
    shape = dict(
        n_layers=2, dim=24, n_heads=4, n_kv_heads=2, head_dim=6, ffn="swiglu", ffn_hidden=40,
        vocab_size=48, max_seq_len=16, rope_theta=10000.0, norm_eps=1e-5, init_std=0.2,
        qk_norm=False, tie_embeddings=True, sharing="none", repeats=1,
    )  # fmt: skip
    assert changes.keys() <= shape.keys()
    return shape | changes


# Name to shape, and whether the file has documents and targets that are not scored.
CASES = {
    "mha-tied": (shape_of(dim=32, n_kv_heads=4, head_dim=8), False),
    "gqa-tied": (shape_of(n_layers=3), False),
    "mqa-tied": (shape_of(n_kv_heads=1), False),
    "gqa-untied": (shape_of(tie_embeddings=False), False),
    "immediate-x2": (shape_of(sharing="immediate", repeats=2), False),
    "repeat-all-over-x2": (shape_of(sharing="repeat-all-over", repeats=2), False),
    "reverse-x2": (shape_of(sharing="reverse", repeats=2), False),
    "reverse-x3": (shape_of(sharing="reverse", repeats=3), False),
    "relu": (shape_of(ffn="relu"), False),
    "gelu": (shape_of(ffn="gelu"), False),
    "qk-norm": (shape_of(qk_norm=True), False),
    "documents": (shape_of(), True),
    "everything": (
        shape_of(
            n_heads=6, n_kv_heads=3, ffn="gelu", qk_norm=True, tie_embeddings=False,
            sharing="immediate", repeats=3, rope_theta=500000.0, norm_eps=1e-3,
        ),
        True,
    ),
}  # fmt: skip


def case_inputs(name, shape, documents):
    """Weights, tokens, targets and segments; NumPy's generator, so no PyTorch version matters."""
    rng = np.random.default_rng([*name.encode()])
    weights = {}
    for weight, dims in weight_shapes(shape).items():
        values = shape["init_std"] * rng.standard_normal(dims) + (1.0 if len(dims) == 1 else 0.0)
        weights[weight] = values.astype(np.float32)
    ids = rng.integers(0, shape["vocab_size"], (2, 13))
    tokens, targets = ids[:, :-1].copy(), ids[:, 1:].copy()
    segments = None
    if documents:
        segments = np.array([[0] * 5 + [1] * 4 + [2] * 3, [0] + [1] * 11])
        targets[0, 8], targets[1, 10:] = IGNORE, IGNORE
    return weights, tokens, targets, segments


def run(shape, inputs, dtype, model=None):
    """Logits, loss and gradients as NumPy arrays."""
    arrays, tokens, targets, segments = inputs
    weights = {n: torch.tensor(v, dtype=dtype, requires_grad=True) for n, v in arrays.items()}
    tensor = lambda array: None if array is None else torch.tensor(array, dtype=torch.int64)
    out = (model or logits)(shape, weights, tensor(tokens), tensor(segments))
    loss = loss_sum(out, tensor(targets))
    grads = torch.autograd.grad(loss, list(weights.values()))
    named = {f"grad.{name}": grad for name, grad in zip(weights, grads)}
    results = {"logits": out, "loss": loss[None], **named}
    return {name: value.detach().numpy() for name, value in results.items()}


def worst(ours, theirs):
    """Largest relative error max|a - b| / max|b| over all tensors, and the tensor's name."""
    error = lambda name: np.abs(ours[name] - theirs[name]).max() / np.abs(theirs[name]).max()
    return max((float(error(name)), name) for name in ours)


def write_golden():
    from safetensors.numpy import save_file

    GOLDEN.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, (shape, documents) in CASES.items():
        inputs = case_inputs(name, shape, documents)
        weights, tokens, targets, segments = inputs
        golden = {k: v.astype(np.float32) for k, v in run(shape, inputs, torch.float64).items()}
        error, tensor = worst(run(shape, inputs, torch.float32), golden)
        integers = {"tokens": tokens, "targets": targets}
        if segments is not None:
            integers["segments"] = segments
        integers = {key: value.astype(np.int32) for key, value in integers.items()}
        file = GOLDEN / f"{name}.safetensors"
        metadata = {"format": FORMAT, "shape": json.dumps(shape), "torch": torch.__version__}
        save_file({**weights, **integers, **golden}, file, metadata=metadata)
        total += file.stat().st_size
        print(f"{name:20} loss {golden['loss'][0]:9.4f}  f32 against f64 {error:.1e} {tensor}")
    print(f"{len(CASES)} files, {total / 1e6:.2f} MB")


def check_transformers():
    """Compares this file with transformers on the cases that transformers can say."""
    import transformers

    def theirs(shape, weights, tokens, segments):
        assert segments is None
        family = "Qwen3" if shape["qk_norm"] else "Llama"
        config = getattr(transformers, family + "Config")(
            vocab_size=shape["vocab_size"], hidden_size=shape["dim"],
            intermediate_size=shape["ffn_hidden"], num_hidden_layers=shape["n_layers"],
            num_attention_heads=shape["n_heads"], num_key_value_heads=shape["n_kv_heads"],
            head_dim=shape["head_dim"], max_position_embeddings=shape["max_seq_len"],
            rope_theta=shape["rope_theta"], rms_norm_eps=shape["norm_eps"],
            tie_word_embeddings=shape["tie_embeddings"], attn_implementation="eager",
        )  # fmt: skip
        model = getattr(transformers, family + "ForCausalLM")(config)
        return torch.func.functional_call(model, weights, (tokens,)).logits

    bad = 0
    for name, (shape, documents) in CASES.items():
        if documents or shape["sharing"] != "none" or shape["ffn"] != "swiglu":
            continue
        inputs = case_inputs(name, shape, documents)
        ours = run(shape, inputs, torch.float32)
        error, tensor = worst(ours, run(shape, inputs, torch.float32, theirs))
        bad += error > 1e-5
        print(f"{name:20} against transformers {transformers.__version__} {error:.1e} {tensor}")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check-transformers", action="store_true", help="compare, write nothing")
    torch.set_num_threads(1)
    check_transformers() if parser.parse_args().check_transformers else write_golden()
