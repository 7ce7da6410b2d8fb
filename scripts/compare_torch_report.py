"""What compare_torch.py measures, by name, and the Markdown that it makes of the measurements."""

import os
import pathlib
import platform
import statistics
import sys

BEGIN, END = "<!-- compare_torch begin -->", "<!-- compare_torch end -->"
# Size to configuration, title, and counted repetitions of training and scoring in one process.
SIZES = {
    "a": ("a-1m", "1M, 4 x 128, 16 x 256 tokens", 20, 40),
    "b": ("b-11m", "11M, 8 x 320, 8 x 256 tokens", 8, 20),
    "c1": ("c-125m", "125M, 30 x 576, 1 x 512 tokens", 5, 10),
    "c4": ("c-125m-b4", "125M, 30 x 576, 4 x 512 tokens", 3, 5),
    "d": ("d-125m-x2", "c, blocks twice, 1 x 512 tokens", 4, 6),
}
MODES = {
    "slender": "slender",
    "eager": "PyTorch eager",
    "compile": "torch.compile",
    "bf16": "PyTorch bf16",
    "compile-bf16": "torch.compile, bf16",
    "eager-mkl512": "PyTorch eager, MKL on AVX-512",
    "compile-mkl512": "torch.compile, MKL on AVX-512",
}
DEFAULT_MODES = list(MODES)[:4]
# Among which the best mode is looked for: what an installed PyTorch does in f32, what it does at
# all, and f32 with MKL on AVX-512.
POOLS = {
    "f32": ["eager", "compile"],
    "f32, bf16": ["eager", "compile", "bf16", "compile-bf16"],
    "f32, MKL on AVX-512": ["eager-mkl512", "compile-mkl512"],
}
LIBRARIES = {
    "torch": "PyTorch (MKL)",
    "torch-mkl512": "PyTorch, MKL on AVX-512",
    "numpy": "NumPy (OpenBLAS)",
}
CONTENTION_SIZE = "b"
# Share of the machine that others may use at the start of a measurement that counts as undisturbed.
BUSY = 0.1


def fail(message):
    raise SystemExit(f"{pathlib.Path(sys.argv[0]).stem}: {message}")


def median_and_range(values, scale=1.0, digits=0):
    values = [value / scale for value in values]
    text = f"{statistics.median(values):,.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    return text


def rounds_of(store, task, size, mode, prefix=""):
    """The results of a program over the rounds."""
    match = lambda label: isinstance(label, int) if not prefix else str(label).startswith(prefix)
    return [
        record["result"]
        for (t, s, m, label), record in store.lines.items()
        if (t, s, m) == (task, size, mode) and match(label)
    ]


def speed_table(store, task):
    """Markdown of one task over sizes and programs, with the ratios; empty without measurements."""
    rows, verdicts = [], []
    for size in SIZES:
        results = {mode: rounds_of(store, task, size, mode) for mode in MODES}
        results = {mode: rounds for mode, rounds in results.items() if rounds}
        speeds = {m: [r["tokens_per_s"]["median"] for r in rounds] for m, rounds in results.items()}
        middle = {mode: statistics.median(values) for mode, values in speeds.items()}
        memory = {
            mode: statistics.median(r["peak_memory_bytes"] for r in rounds)
            for mode, rounds in results.items()
        }
        bests = {}
        for name, modes in POOLS.items():
            if there := [mode for mode in modes if mode in middle]:
                bests[name] = max(there, key=middle.get)
        for mode, rounds in results.items():
            first = [r["first_step_s"] for r in rounds if r.get("first_step_s") is not None]
            first = median_and_range(first, digits=1) if first else "–"
            cold = store.lines.get((task, size, mode, "cold"))
            if cold:
                first += f"; {cold['result']['first_step_s']:.0f} with an empty cache"
            ours = "slender" in middle and mode != "slender"
            ratio = f"{middle['slender'] / middle[mode]:.2f}" if ours else ""
            share = f"{memory['slender'] / memory[mode]:.2f}" if ours else ""
            name = f"**{MODES[mode]}**" if mode in bests.values() else MODES[mode]
            rows.append(
                f"| {size} | {name} | {median_and_range(speeds[mode])} | {ratio} | "
                f"{memory[mode] / 1e6:,.0f} MB | {share} | {first} |"
            )
        for name, best in bests.items() if "slender" in middle else ():
            imported = statistics.median(r["import_memory_bytes"] for r in results[best])
            verdicts.append(
                f"| {size}: {SIZES[size][1]} | {name} | {MODES[best]} | "
                f"**{middle['slender'] / middle[best]:.2f}** | "
                f"{memory['slender'] / memory[best]:.2f} | "
                f"{memory['slender'] / (memory[best] - imported):.2f} |"
            )
    if not rows:
        return []
    text = [f"### {'Training' if task == 'train' else 'Scoring'}", ""]
    if verdicts:
        text += [
            "The best mode of PyTorch is found by tokens/s, and its memory is the one compared. The",
            "last column leaves out of PyTorch's side, and of that only, what `import torch` takes.",
            "",
            "| size | among | best of PyTorch | speed, slender / best | memory | without import |",
            "|---|---|---|---:|---:|---:|",
            *verdicts,
            "",
        ]
    text += [
        "| size | program | tokens/s | slender / it | peak memory | slender / it | first step, s |",
        "|---|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "First step: seconds from the start of the process to the end of the first step.",
        "",
    ]
    return text


def contention_table(store):
    rows = []
    for mode in MODES:
        results = [rounds_of(store, "train", CONTENTION_SIZE, mode, p) for p in ("alone", "beside")]
        if not all(results):
            continue
        alone, beside = ([r["tokens_per_s"]["median"] for r in rounds] for rounds in results)
        slower = statistics.median(alone) / statistics.median(beside)
        cells = f"{median_and_range(alone)} | {median_and_range(beside)} | **{slower:.1f}**"
        rows.append(f"| {MODES[mode]} | {cells} |")
    if not rows:
        return []
    return [
        "### One core taken by another program",
        "",
        f"Training of size {CONTENTION_SIZE} with two threads, alone and beside a busy loop bound to",
        "one of the cores.",
        "",
        "| program | tokens/s alone | beside | times slower |",
        "|---|---:|---:|---:|",
        *rows,
        "",
    ]


def matmul_table(store):
    """The products, one column a library; sizes measured together only."""
    text = []
    for sizes in dict.fromkeys(key[1] for key in store.lines if key[0] == "matmul"):
        results = {
            library: [
                record
                for key, record in store.lines.items()
                if key[:3] == ("matmul", sizes, library)
            ]
            for library in (*LIBRARIES, "slender")
        }
        if not all(results[library] for library in LIBRARIES):
            continue
        text += [
            "### Matrix products",
            "",
            "f32 GFLOP/s into memory that is there already, median over rounds. `nt`: the second",
            "operand is transposed, as in a linear layer's forward pass; `tn`: the first one, as in",
            "a weight's gradient.",
            "",
            f"| product | m x k x n | layout | {' | '.join(LIBRARIES.values())} |",
            "|---|---|---|---:|---:|---:|",
        ]
        for i, (name, m, k, n, layout) in enumerate(results["torch"][0]["settings"]["products"]):
            speed = lambda library: statistics.median(
                record["result"]["flops_per_s"][i]["median"] / 1e9 for record in results[library]
            )
            cells = " | ".join(f"{speed(library):.0f}" for library in LIBRARIES)
            text.append(f"| {name} | {m} x {k} x {n} | {layout} | {cells} |")
        peaks = [record["result"].get("matmul_peak_flops_per_s") for record in results["slender"]]
        if all(peaks) and peaks:
            peak = median_and_range(peaks, 1e9)
            text += ["", f"`slender bench matmul` in the same rounds: {peak} GFLOP/s."]
        text.append("")
    return text


def machine():
    """What the measurements ran on, in words."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = next(
        line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line
    )
    flags = next(line for line in text.splitlines() if line.startswith("flags")).split()
    simd = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{len(os.sched_getaffinity(0))} cores of {model} with {simd}, {platform.system()}"


def report(store):
    """The tables of everything in the store, as Markdown."""
    records = store.lines.values()
    if not records:
        fail(f"{store.path} holds no measurements")
    versions = {r["settings"]["torch"] for r in records if "torch" in r["settings"]}
    versions |= {r["settings"]["versions"][0] for r in records if "versions" in r["settings"]}
    threads = {r["settings"]["threads"] for r in records}
    builds = {r["settings"]["build"] for r in records if "build" in r["settings"]}
    variables = {item for r in records for item in r["settings"].get("torch_env", [])}
    dates = sorted(r["date"][:16].replace("T", " ") for r in records)
    join = lambda values: ", ".join(map(str, sorted(values)))
    machines = {r["settings"]["machine"] for r in records}
    text = [
        f"Measured {dates[0]} to {dates[-1]} UTC on {join(machines)}; {join(threads)} threads; "
        f"PyTorch {join(versions)}; f32 except where bf16 is said. Medians over rounds in which the "
        "programs take turns, with the smallest and the largest round.",
        "",
    ]
    if any("mkl512" in key[2] for key in store.lines):
        text += [
            "*MKL on AVX-512*: on a CPU that is not Intel's, MKL chooses AVX2 kernels. A library",
            "preloaded into PyTorch's process makes it choose by what the CPU can do; it is not part",
            "of an installed PyTorch, and is a trick that owners of such CPUs know.",
            "",
        ]
    # The measurements beside a busy loop are meant to be disturbed.
    quiet = [r for r in records if not str(r["key"][3]).startswith("beside")]
    busy = sum(r["busy_before"] > BUSY for r in quiet)
    if busy:
        text += [
            f"**Disturbed:** {busy} of {len(quiet)} measurements began while other programs kept more",
            f"than {BUSY:.0%} of the machine busy.",
            "",
        ]
    if variables:
        text += [f"Environment of PyTorch: `{join(variables)}`.", ""]
    text += ["```sh", *dict.fromkeys(r["command"] for r in records), "```", ""]
    for task in ("train", "score"):
        text += speed_table(store, task)
    text += contention_table(store) + matmul_table(store)
    if builds:
        text += [f"SHA-256 of the program begins with {join(builds)}.", ""]
    return "\n".join(text)


def replace_section(path, section, begin=BEGIN, end=END):
    """Puts `section` between the two marks of the file `path`, and leaves the rest alone."""
    text = path.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        fail(f"{path}: needs one line {begin} and after it one line {end}")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(f"{before}{begin}\n{section.strip()}\n{end}{after}")
    temporary.replace(path)
