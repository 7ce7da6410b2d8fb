#!/usr/bin/env python3
"""Speed and memory of slender beside PyTorch, the same model and batch, taking turns in one run.

    cargo build --release --package slender
    python3 -m venv .venv && .venv/bin/pip install torch numpy
    .venv/bin/python scripts/compare_torch.py                   # training and scoring, all sizes
    .venv/bin/python scripts/compare_torch.py --train --sizes a,b --rounds 1
    .venv/bin/python scripts/compare_torch.py --contention      # size b, one of two cores taken
    .venv/bin/python scripts/compare_torch.py --matmul          # the products, MKL and OpenBLAS
    .venv/bin/python scripts/compare_torch.py --rounds 0 --report docs/performance.md

Programs are `slender bench`, PyTorch eager, torch.compile and bf16 autocast, the three with fused
AdamW, and on request more (--modes): compiled bf16, and PyTorch with MKL made to use AVX-512 on a
CPU that is not Intel's, which by itself it does not. torch_bench.py is the PyTorch side.

A round measures each program once, in a process of its own, so that a drift of the machine's speed
meets all of them. What is printed is the median over rounds of each process's median, and ratios of
those. Compiling and warm-up are outside the medians; the time from the start of the process to the
end of the first step is a column of its own, and for torch.compile is taken once more with an empty
cache before the first round.

Every measurement is appended to --out as a line of JSON when it is there, and one that --out holds
is not repeated: an interrupted run goes on where it was, and sizes can be added. Measurements of
another build, another PyTorch or other settings are not mixed in; the script stops and says so.

Other work on the machine spoils the numbers, PyTorch's most: one busy core makes it several times
slower. A job of low priority is no exception when it runs in another login session, where Linux
(autogroup) gives each session an equal share. The report counts the measurements that began while
something else was busy.

Environment: SLENDER names the program (default: target/release/slender). All sizes at three rounds
take about an hour and a half on two cores, `--sizes a,b` ten minutes.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
import tomllib

from compare_torch_report import (
    BEGIN,
    CONTENTION_SIZE,
    DEFAULT_MODES,
    END,
    LIBRARIES,
    MODES,
    SIZES,
    fail,
    machine,
    replace_section,
    report,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLENDER = pathlib.Path(os.environ.get("SLENDER", ROOT / "target/release/slender"))
WORKER = ROOT / "scripts/torch_bench.py"
FORMAT = "slender-compare-torch/1"

TASKS = ("train", "score", "contention", "matmul")
# MKL chooses its AVX2 kernels on a CPU that is not Intel's; a preloaded answer of its own question
# makes it choose by what the CPU can do.
MKL_SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"
LOOP = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


# ----------------------------------------------------------------------------------- measurements


class Store:
    """The measurements in a file of JSON lines, by key; appends as they are made."""

    def __init__(self, path, command, format=FORMAT):
        self.path, self.command, self.format = path, command, format
        self.machine, self.lines = machine(), {}
        if not path.exists():
            return
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            print(f"{path}: dropping a last line that is not whole", file=sys.stderr)
            path.write_text(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                if record["format"] != format:
                    raise ValueError(f"format {record['format']!r}, not {format!r}")
                self.lines[tuple(record["key"])] = record
            except (ValueError, KeyError, TypeError) as error:
                fail(f"{path}:{number}: not a measurement ({error}); give another --out")

    def measure(self, key, settings, function):
        """The measurement under `key`, made by `function` if it is not there yet."""
        settings = json.loads(json.dumps(settings | {"machine": self.machine}))
        if key in self.lines:
            there = self.lines[key]["settings"]
            differing = [
                k for k in there.keys() | settings.keys() if there.get(k) != settings.get(k)
            ]
            if differing:
                fail(
                    f"{self.path} holds {' '.join(map(str, key))} with another "
                    f"{', '.join(sorted(differing))}; give another --out, or remove it"
                )
            return self.lines[key]
        others = busy_share()
        result = function()
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = {"format": self.format, "key": key, "date": date, "busy_before": others}
        record["command"] = self.command
        record |= {"settings": settings, "result": result}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.lines[key] = record
        return record


def busy_share(seconds=0.5):
    """Share of the machine's processor time that is taken, now that nothing of ours runs."""

    def counters():
        with open("/proc/stat") as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]  # all, idle and waiting for disks

    before = counters()
    time.sleep(seconds)
    total, idle = (b - a for a, b in zip(before, counters()))
    return round(1 - idle / max(total, 1), 3)


def output_of(command, environment=None):
    """Standard output of a command, or an end with its last words."""
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        shown = shlex.join(command)
        fail(f"exit code {done.returncode} from {shown[:200]}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def last_line(text):
    """The JSON of the last line."""
    return json.loads(text.strip().splitlines()[-1])


def config_file(size):
    return f"configs/bench/{SIZES[size][0]}.toml"


def shape_of(size):
    """Everything that the PyTorch side needs to know of a configuration."""
    config = tomllib.loads(output_of([SLENDER, "config", "show", config_file(size)]))
    model, train = config["model"], config["train"]
    sharing = model["layer_sharing"]
    plain = model.get("ffn", "swiglu") == "swiglu" and not model.get("qk_norm", False)
    if not (plain and model["tie_embeddings"] and sharing["kind"] in ("none", "immediate")):
        fail(f"{config_file(size)}: only tied SwiGLU decoders with no or immediate sharing")
    shape = {key: model[key] for key in ("n_layers", "dim", "n_heads", "n_kv_heads", "ffn_hidden")}
    shape |= {key: model[key] for key in ("rope_theta", "norm_eps")}
    shape |= {key: train[key] for key in ("beta1", "beta2", "eps", "weight_decay", "grad_clip")}
    vocab, pad = config["data"]["tokenizer"]["vocab_size"], model["pad_vocab_multiple"]
    return shape | {
        "head_dim": model.get("head_dim", model["dim"] // model["n_heads"]),
        "repeats": sharing.get("repeats", 1) if sharing["kind"] == "immediate" else 1,
        "vocab_size": -(-vocab // pad) * pad,
        "seq_len": train.get("seq_len", model["max_seq_len"]),
        "batch_size": train.get("micro_batch_size", train["batch_size"]),
    }


class Bench:
    """Runs the programs, with what is the same for all of them."""

    def __init__(self, options):
        self.options, self.store = options, Store(options.out, command_of(options))
        self.build = (
            hashlib.sha256(SLENDER.read_bytes()).hexdigest()[:16] if SLENDER.exists() else None
        )
        self.shapes = {}
        self.torch = None

    def shape(self, size):
        if self.build is None:
            fail(f"{SLENDER} is missing: cargo build --release --package slender, or set SLENDER")
        if size not in self.shapes:
            self.shapes[size] = shape_of(size)
        return self.shapes[size]

    def versions(self):
        """Versions of what the PyTorch side runs on."""
        if self.torch is None:
            code = "import json, numpy, torch; print(json.dumps([torch.__version__, numpy.__version__]))"
            self.torch = last_line(output_of([sys.executable, "-c", code]))
        return self.torch

    def shim(self):
        """The library that makes MKL take its AVX-512 kernels, built beside the measurements."""
        library = self.options.out.resolve().with_suffix(".mkl512.so")
        if not library.exists():
            source = library.with_suffix(".c")
            source.write_text(MKL_SHIM)
            output_of(["cc", "-shared", "-fPIC", "-o", library, source])
        return library

    def worker(self, job, cache=None):
        """A measurement of torch_bench.py in a process of its own."""
        environment = dict(os.environ, OPENBLAS_NUM_THREADS=str(self.options.threads))
        environment["OMP_NUM_THREADS"] = str(self.options.threads)
        if cache:
            environment["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
        if job["mode"].endswith("mkl512"):
            environment["LD_PRELOAD"] = str(self.shim())
        environment |= dict(item.split("=", 1) for item in self.options.torch_env)
        return last_line(output_of([sys.executable, WORKER, json.dumps(job)], environment))

    def speed(self, task, size, mode, label, cold=False):
        """One program's speed at `size`; `label` is the round."""
        shape, threads = self.shape(size), self.options.threads
        count = self.options.repetitions or SIZES[size][2 if task == "train" else 3]
        count = 1 if cold else count
        settings = {"shape": shape, "repetitions": count, "threads": threads}
        if mode == "slender":
            settings["build"] = self.build
            command = [SLENDER, "bench", task, config_file(size), "--json"]
            command += ["--repetitions", count, "--threads", threads]
            function = lambda: json.loads(output_of(command))
        else:
            settings |= {"torch": self.versions()[0], "torch_env": self.options.torch_env}
            job = {"what": task, "mode": mode, "shape": shape}
            job |= {"repetitions": count, "threads": threads}
            # Inductor's cache for this program alone, beside the measurements.
            cache = self.options.out.resolve().with_suffix(".inductor") / f"{task}-{size}-{mode}"
            if cold:
                shutil.rmtree(cache, ignore_errors=True)
            function = lambda: self.worker(job, cache)
        key = (task, size, mode, label)
        fresh = key not in self.store.lines
        result = self.store.measure(key, settings, function)["result"]
        if fresh:
            speed, gigabytes = result["tokens_per_s"]["median"], result["peak_memory_bytes"] / 1e9
            print(
                f"{task} {size} {mode} {label}: {speed:,.0f} tokens/s, {gigabytes:.2f} GB",
                file=sys.stderr,
            )
        return result

    def compile_once(self, task, size, modes):
        """torch.compile from an empty cache, which later rounds then find filled."""
        for mode in modes if self.options.rounds else ():
            if mode.startswith("compile") and (task, size, mode, "cold") not in self.store.lines:
                self.speed(task, size, mode, "cold", cold=True)

    def rounds(self, task):
        for size in self.options.sizes:
            self.compile_once(task, size, self.options.modes)
            for turn in range(self.options.rounds):
                for mode in self.options.modes:
                    self.speed(task, size, mode, turn)

    def contention(self):
        """Training of one size, alone and with a busy loop on one of the cores."""
        cores = sorted(os.sched_getaffinity(0))
        modes = [mode for mode in self.options.modes if mode in ("slender", "eager", "compile")]
        self.compile_once("train", CONTENTION_SIZE, modes)
        for turn in range(self.options.rounds):
            for mode in modes:
                self.speed("train", CONTENTION_SIZE, mode, f"alone-{turn}")
                hog = subprocess.Popen([sys.executable, "-c", LOOP, str(cores[-1])])
                try:
                    self.speed("train", CONTENTION_SIZE, mode, f"beside-{turn}")
                finally:
                    hog.kill()
                    hog.wait()

    def matmul(self):
        shapes = {size: self.shape(size) for size in self.options.sizes}
        products = products_of(shapes)
        for turn in range(self.options.rounds):
            for library in LIBRARIES:
                job = {"what": "matmul", "mode": library, "products": products}
                job |= {"threads": self.options.threads, "seconds": 0.3}
                settings = job | {"versions": self.versions(), "torch_env": self.options.torch_env}
                key = ("matmul", ",".join(shapes), library, turn)
                self.store.measure(key, settings, lambda: self.worker(job))
            command = [SLENDER, "bench", "matmul", "--json", "--threads", self.options.threads]
            settings = {"build": self.build, "threads": self.options.threads}
            key = ("matmul", ",".join(shapes), "slender", turn)
            self.store.measure(key, settings, lambda: json.loads(output_of(command)))


def products_of(shapes):
    """Name, m, k, n and layout of the products of a training step, and of two squares."""
    out = [["square", n, n, n, "nn"] for n in (1024, 2048)]
    for size, shape in shapes.items():
        tokens, d = shape["batch_size"] * shape["seq_len"], shape["dim"]
        q, kv = (shape[key] * shape["head_dim"] for key in ("n_heads", "n_kv_heads"))
        layers = {"q": (d, q), "kv": (d, kv), "o": (q, d), "gate, up": (d, shape["ffn_hidden"])}
        layers |= {"down": (shape["ffn_hidden"], d), "logits": (d, shape["vocab_size"])}
        seen = set()
        for name, (inputs, outputs) in layers.items():
            if (inputs, outputs) in seen:
                continue
            seen.add((inputs, outputs))
            out += [
                [f"{size} {name}", tokens, inputs, outputs, "nt"],
                [f"{size} {name} dX", tokens, outputs, inputs, "nn"],
                [f"{size} {name} dW", outputs, tokens, inputs, "tn"],
            ]
    return out


def chosen(names):
    """A parser of comma-separated choices."""

    def parse(text):
        values = [value.strip() for value in text.split(",") if value.strip()]
        for value in values:
            if value not in names:
                raise argparse.ArgumentTypeError(f"{value!r} is not one of {', '.join(names)}")
        return list(dict.fromkeys(values))

    return parse


def command_of(options):
    """The command line that makes these measurements, without the names of files."""
    tasks = [f"--{task}" for task in TASKS if getattr(options, task)]
    parts = ["scripts/compare_torch.py", *tasks]
    parts += ["--sizes", ",".join(options.sizes), "--modes", ",".join(options.modes)]
    parts += ["--rounds", options.rounds, "--threads", options.threads]
    parts += ["--repetitions", options.repetitions] if options.repetitions else []
    parts += [f"--torch-env={item}" for item in options.torch_env]
    return shlex.join(map(str, parts))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", action="store_true", help="training steps (default: --train --score)")
    add("--score", action="store_true", help="forward passes with the summed cross-entropy")
    add("--contention", action="store_true", help="training with one core taken by a busy loop")
    add("--matmul", action="store_true", help="f32 products of the sizes in PyTorch and NumPy")
    add(
        "--sizes",
        type=chosen(SIZES),
        default=list(SIZES),
        help=f"of {','.join(SIZES)} (default: all)",
    )
    add(
        "--modes",
        type=chosen(MODES),
        default=DEFAULT_MODES,
        help=f"of {','.join(MODES)} (default: the first four)",
    )
    add("--rounds", type=int, default=3, help="rounds; 0 only prints what --out holds (default: 3)")
    add("--repetitions", type=int, help="counted steps of a process (default: by size)")
    add("--threads", type=int, default=2, help="threads of every program (default: 2)")
    add(
        "--torch-env",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for PyTorch's processes",
    )
    out = ROOT / "target/compare_torch.jsonl"
    add(
        "--out",
        type=pathlib.Path,
        default=out,
        help="file of measurements (target/compare_torch.jsonl)",
    )
    add(
        "--report",
        type=pathlib.Path,
        metavar="FILE",
        help=f"put the tables between {BEGIN} and {END}",
    )
    options = parser.parse_args()
    if not any(getattr(options, task) for task in TASKS):
        options.train = options.score = True
    bad = [item for item in options.torch_env if "=" not in item]
    if bad:
        parser.error(f"--torch-env {bad[0]}: write KEY=VALUE")
    if options.rounds < 0 or options.threads < 1 or (options.repetitions or 1) < 1:
        parser.error("--rounds is at least 0, --threads and --repetitions at least 1")
    if options.report and not options.report.exists():
        parser.error(f"--report {options.report}: no such file")
    options.out.parent.mkdir(parents=True, exist_ok=True)

    bench = Bench(options)
    for task in ("train", "score"):
        if getattr(options, task):
            bench.rounds(task)
    if options.contention:
        bench.contention()
    if options.matmul:
        bench.matmul()
    section = report(bench.store)
    if options.report:
        replace_section(options.report, section)
    print(section)


if __name__ == "__main__":
    main()
