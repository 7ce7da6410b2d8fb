#!/usr/bin/env python3
"""Writes the configurations of the paper's models from crates/slender-sweep/paper/tables.csv.

Directly under configs/: the depth-width shapes of Table 11 and the five final models with and
without layer sharing. Under configs/paper/<table>/: every row of Tables 1, 2, 10, 13 and 14, so
that each folder is that table as a sweep. Plain Python 3, no packages:

    python3 scripts/make_paper_configs.py          # write
    python3 scripts/make_paper_configs.py --check  # exit 1 if a file differs from what it would write
"""

import csv
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
TABLES = ROOT / "crates" / "slender-sweep" / "paper" / "tables.csv"


def attention(row):
    """`mha`, or `gqa3` for three key-value heads."""
    return "mha" if row["heads"] == row["kv_heads"] else f"gqa{row['kv_heads']}"


def shape(row):
    return f"{row['scale'].lower()}-{row['layers']}x{row['dim']}"


def sharing_suffix(row):
    kind, repeats = row["sharing"], row["repeats"]
    return "no-sharing" if kind == "none" else f"{kind}-x{repeats}"


def path_of(row):
    """Where a row's config lives below configs/, or None for a row without one."""
    table = row["id"].split("-")[0]
    tied = "tied" if row["tied"] == "true" else "untied"
    if table == "T1":
        return f"paper/t1/{shape(row)}-{tied}.toml"
    if table == "T2":
        return f"paper/t2/{shape(row)}-{sharing_suffix(row)}.toml"
    if table == "T10":
        # The 0.25T models would otherwise carry the names of the final ones.
        budget = "-1t" if row["tokens_T"] == "1" else "-0.25t"
        if row["ffn"] == "relu":
            name = f"{shape(row)}-relu"
        elif row["id"].endswith("swiglu"):
            name = f"{shape(row)}-swiglu"
        elif attention(row) == "mha":
            name = f"{shape(row)}-mha-{tied}"
        else:
            name = f"{shape(row)}-{attention(row)}{'-ls' if row['sharing'] == 'immediate' else ''}{budget}"
        return f"paper/t10/{name}.toml"
    if table == "T11":
        return f"{shape(row)}-mha.toml"
    if table == "T13":
        return f"paper/t13/{shape(row)}-{row['heads']}h{row['kv_heads']}.toml"
    if table == "T14":
        return f"paper/t14/{shape(row)}-x{row['repeats']}.toml"
    if table in ("T3", "T8") and row["dim"]:
        return f"{shape(row)}-{attention(row)}{'-ls' if row['sharing'] == 'immediate' else ''}.toml"
    return None


def render(path, row, comment, paper_row):
    base = "paper-1t.toml" if row["tokens_T"] == "1" else "paper-recipe.toml"
    up = "../" * path.count("/")
    sharing = '{ kind = "none" }'
    if row["sharing"] != "none":
        sharing = f'{{ kind = "{row["sharing"]}", repeats = {row["repeats"]} }}'
    lines = [
        f"# {comment}",
        "# Written by scripts/make_paper_configs.py.",
        "",
        f'extends = "{up}base/{base}"',
        "",
        "[model]",
        f"n_layers = {row['layers']}",
        f"dim = {row['dim']}",
        f"n_heads = {row['heads']}",
        f"n_kv_heads = {row['kv_heads']}",
    ]
    if row["ffn"] != "swiglu":
        lines.append(f'ffn = "{row["ffn"]}"')
    lines += [f"tie_embeddings = {row['tied']}", f"layer_sharing = {sharing}"]
    if paper_row:
        lines += ["", "[run]", f'paper_row = "{paper_row}"']
    return "\n".join(lines) + "\n"


def files():
    """Path below configs/ -> content."""
    rows = list(csv.DictReader(TABLES.open(newline="")))
    out = {}
    for row in rows:
        path = path_of(row)
        if path is None:
            continue
        table = row["id"].split("-")[0][1:]
        comment = f"Table {table}, {row['scale']}: {row['label']} ({row['params']} parameters, {row['tokens_T']}T tokens)."
        assert path not in out, f"{path}: named by two rows"
        out[path] = render(path, row, comment, row["id"])
    # The paper prints no scores of the larger models with layer sharing; its repository has them.
    for row in rows:
        if row["id"].startswith("T8-MobileLLM"):
            shared = dict(row, sharing="immediate", repeats="2")
            path = path_of(shared)
            comment = f"{row['label']} with immediate layer sharing ({row['params']} parameters, 1T tokens); not a row of the paper."
            out[path] = render(path, shared, comment, None)
    return out


def write(folder, contents):
    """Writes what differs below `folder`, or with --check only lists it; the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    for path, text in sorted(contents.items()):
        file = folder / path
        if file.exists() and file.read_text() == text:
            continue
        stale.append(path)
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    verb = "differ" if check else "written"
    print(f"{len(stale)} of {len(contents)} files {verb}", file=sys.stderr)
    for path in stale:
        print(path)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(write(CONFIGS, files()))
