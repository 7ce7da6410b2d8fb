#!/usr/bin/env python3
"""One measurement of PyTorch or NumPy, in a process of its own; compare_torch.py starts it.

    torch_bench.py '{"what": "train", "mode": "eager", "threads": 2, "repetitions": 5, "shape": {...}}'

prints one line of JSON. A process per measurement, because the peak memory that the kernel keeps is
that of a process, and because an allocator or a compiler cache warmed by one mode would help the
next. The first step, which compiles, and two more are not counted in the median.

The decoder is written for speed, by what PyTorch's documentation recommends, where golden_model.py
is written to have nothing to get wrong: fused attention with grouped keys, `rms_norm`,
`cross_entropy` on logits, fused AdamW, foreach clipping. --check compares the two.
"""

import argparse
import json
import os
import statistics
import sys
import time

WARM_UP = 3


def since_start():
    """Seconds since this process was started, interpreter and imports included."""
    with open("/proc/self/stat") as file:
        # The name in brackets may hold spaces; the start time is field 22, in clock ticks.
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime") as file:
        return float(file.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def peak_memory():
    """Peak resident memory of this process in bytes."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


# ---------------------------------------------------------------------------------------- model
# B batch, T positions, D width, H query heads, Dh head width, V vocabulary.


def decoder(shape):
    """The decoder as a module from tokens and targets [B, T] to the loss; see `loss` in it."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    d, h, kv, dh = shape["dim"], shape["n_heads"], shape["n_kv_heads"], shape["head_dim"]
    linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_layernorm = nn.RMSNorm(d, eps=shape["norm_eps"])
            self.q_proj, self.o_proj = linear(d, h * dh), linear(h * dh, d)
            self.k_proj, self.v_proj = linear(d, kv * dh), linear(d, kv * dh)
            self.post_attention_layernorm = nn.RMSNorm(d, eps=shape["norm_eps"])
            self.gate_proj, self.up_proj = (
                linear(d, shape["ffn_hidden"]),
                linear(d, shape["ffn_hidden"]),
            )
            self.down_proj = linear(shape["ffn_hidden"], d)

        def forward(self, x, cos, sin):
            b, t, _ = x.shape
            normed = self.input_layernorm(x)  # [B, T, D]
            q = self.q_proj(normed).view(b, t, h, dh)
            k = self.k_proj(normed).view(b, t, kv, dh)
            v = self.v_proj(normed).view(b, t, kv, dh)
            mixed = F.scaled_dot_product_attention(
                rotate(q, cos, sin).transpose(1, 2),  # [B, H, T, Dh]
                rotate(k, cos, sin).transpose(1, 2),
                v.transpose(1, 2),
                is_causal=True,
                enable_gqa=h != kv,
            )
            x = x + self.o_proj(mixed.transpose(1, 2).reshape(b, t, h * dh))
            normed = self.post_attention_layernorm(x)
            return x + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))

    def rotate(x, cos, sin):
        """Half-split RoPE on [B, T, heads, Dh]; `cos` and `sin` are [T, 1, Dh], the sine signed."""
        first, second = x.chunk(2, dim=-1)
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)  # nothing but under autocast
        return torch.addcmul(x * cos, torch.cat([second, first], dim=-1), sin)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(shape["vocab_size"], d)
            self.blocks = nn.ModuleList(Block() for _ in range(shape["n_layers"]))
            self.norm = nn.RMSNorm(d, eps=shape["norm_eps"])
            pairs = torch.arange(dh // 2, dtype=torch.float64)
            frequency = shape["rope_theta"] ** (-2.0 * pairs / dh)  # [Dh/2]
            angle = torch.arange(shape["seq_len"], dtype=torch.float64)[:, None, None] * frequency
            cos, sin = angle.cos().float(), angle.sin().float()  # [T, 1, Dh/2]
            self.register_buffer("cos", torch.cat([cos, cos], dim=-1))
            self.register_buffer("sin", torch.cat([-sin, sin], dim=-1))
            for weight in self.parameters():
                if weight.dim() == 2:
                    nn.init.normal_(weight, std=0.02)

        def forward(self, tokens, targets, reduction):
            """Cross-entropy of the targets in nats, `mean` or `sum` over the tokens."""
            x = self.embed_tokens(tokens)  # [B, T, D]
            for block in self.blocks:
                for _ in range(shape["repeats"]):
                    x = block(x, self.cos, self.sin)
            logits = F.linear(self.norm(x), self.embed_tokens.weight)  # [B, T, V]
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)

    return Decoder()


def new_optimizer(model, shape):
    """AdamW over the two groups that slender has: norm weights are not decayed."""
    import torch

    decayed = [w for w in model.parameters() if w.dim() == 2]
    norms = [w for w in model.parameters() if w.dim() == 1]
    return torch.optim.AdamW(
        [{"params": decayed}, {"params": norms, "weight_decay": 0.0}],
        # As in `slender bench`: the same work, and the same weights in every repetition.
        lr=0.0,
        betas=(shape["beta1"], shape["beta2"]),
        eps=shape["eps"],
        weight_decay=shape["weight_decay"],
        fused=True,
    )


def measure_model(job):
    """Tokens per second of training steps or of scoring one batch."""
    import torch

    imported = peak_memory()
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    shape, mode, train = job["shape"], job["mode"].split("-"), job["what"] == "train"
    model = decoder(shape)
    ids = lambda: torch.randint(shape["vocab_size"], (shape["batch_size"], shape["seq_len"]))
    tokens, targets = ids(), ids()
    run = torch.compile(model, fullgraph=True, dynamic=False) if "compile" in mode else model
    autocast = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in mode)
    if train:
        weights, optimizer = list(model.parameters()), new_optimizer(model, shape)

        def step():
            with autocast:
                loss = run(tokens, targets, "mean")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, shape["grad_clip"], foreach=True)
            optimizer.step()
            optimizer.zero_grad()
            return loss.item()
    else:
        model.requires_grad_(False)
        if "bf16" in mode:
            model.bfloat16()  # once, where autocast would convert every weight in every pass

        def step():
            with torch.inference_mode(), autocast:
                return run(tokens, targets, "sum").item()

    seconds = []
    for repetition in range(WARM_UP + job["repetitions"]):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
        if repetition == 0:
            first_step = since_start()
    return {
        "tokens_per_s": spread([tokens.numel() / s for s in seconds[WARM_UP:]]),
        "first_step_s": first_step,
        "first_call_s": seconds[0],
        "peak_memory_bytes": peak_memory(),
        "import_memory_bytes": imported,
        "loss": loss,
    }


# --------------------------------------------------------------------------------------- matmul


def measure_matmul(job):
    """FLOP/s of [m, k] x [k, n] products into memory that is there already.

    `layout` says how the operands lie: `nn` as written, `nt` with the second one transposed (a
    linear layer, whose weight is [out, in]), `tn` with the first one (a weight's gradient).
    """
    if job["mode"].startswith("torch"):
        import torch

        torch.set_num_threads(job["threads"])
        new, product = torch.rand, torch.mm
    else:
        import numpy

        new, product = lambda *dims: numpy.random.rand(*dims).astype("f4"), numpy.matmul

    def flops(m, k, n, layout):
        a = new(k, m).T if layout == "tn" else new(m, k)
        b = new(n, k).T if layout == "nt" else new(k, n)
        out = new(m, n)
        seconds = []
        while len(seconds) < 5 or sum(seconds) < job["seconds"]:
            start = time.perf_counter()
            product(a, b, out=out)
            seconds.append(time.perf_counter() - start)
        return spread([2.0 * m * k * n / s for s in seconds[1:]])

    return {"flops_per_s": [flops(*dims) for _, *dims in job["products"]]}


# ---------------------------------------------------------------------------------------- check


def check():
    """Compares loss and gradients with golden_model.py in f64, on a shape that uses everything."""
    import golden_model
    import torch

    shape = golden_model.shape_of(sharing="immediate", repeats=2)
    torch.manual_seed(0)
    model = decoder({**shape, "seq_len": shape["max_seq_len"]})
    torch.nn.init.normal_(model.norm.weight)
    model.double()
    tokens, targets = torch.randint(shape["vocab_size"], (2, 3, shape["max_seq_len"]))
    loss = model(tokens, targets, "sum")
    loss.backward()
    weights, theirs = {}, dict(model.named_parameters())
    for name in golden_model.weight_shapes(shape):
        own = name.removeprefix("model.").replace("layers.", "blocks.")
        own = own.replace("self_attn.", "").replace("mlp.", "")
        weights[name] = theirs.pop(own)
    assert not theirs, theirs.keys()
    copies = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
    expected = golden_model.loss_sum(golden_model.logits(shape, copies, tokens), targets)
    expected.backward()
    worst = abs(loss.item() / expected.item() - 1)
    for name, weight in weights.items():
        error = (weight.grad - copies[name].grad).abs().max() / copies[name].grad.abs().max()
        worst = max(worst, error.item())
    print(f"loss {loss.item():.6f}, largest relative error of loss and gradients {worst:.1e}")
    # The tables of RoPE are f32 here; everything else is f64.
    raise SystemExit(0 if worst < 1e-6 else 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", nargs="?", help="the measurement, as JSON")
    parser.add_argument(
        "--check", action="store_true", help="compare the model with golden_model.py"
    )
    arguments = parser.parse_args()
    if arguments.check:
        check()
    if arguments.job is None:
        parser.error("give a measurement as JSON, or --check")
    job = json.loads(arguments.job)
    measure = measure_matmul if job["what"] == "matmul" else measure_model
    json.dump(measure(job), sys.stdout)
    print()
