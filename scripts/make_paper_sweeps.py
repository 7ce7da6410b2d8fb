#!/usr/bin/env python3
"""Writes the paper's tables as sweep files: experiments/<table>/{paper,proxy-1m,proxy-10m}.toml.

`paper.toml` lists the configurations that make_paper_configs.py writes. The proxies hold the same
variants (those of the 125M scale, where a table has both) with widths, feed-forward widths, depths and
vocabulary divided by the same numbers for every row, so that parameters keep their proportions and heads
their number. Plain Python 3, no packages:

    python3 scripts/make_paper_sweeps.py          # write
    python3 scripts/make_paper_sweeps.py --check  # exit 1 if a file differs from what it would write
"""

import csv
import pathlib
import sys

import make_paper_configs as configs

EXPERIMENTS = configs.ROOT / "experiments"

# table folder: (title, table ids, width divisor and depth divisor at 1M, width divisor at 10M)
# The depth at 10M is the paper's. Divisors are the largest that leave each head an even width.
TABLES = {
    "depth-width": ("Tables 11 and 12: depth against width", ["T11"], (8, 2), 4),
    "road-map": ("Table 10: the road from the baseline to the final models", ["T10"], (8, 2), 4),
    "embedding-sharing": ("Table 1: tied or untied embeddings", ["T1"], (8, 2), 4),
    "heads": ("Table 13: heads and key-value heads", ["T13"], (7, 2), 3.5),
    "sharing-order": ("Table 2: order of layer sharing", ["T2"], (7, 2), 3.5),
    "repeats": ("Table 14: how often shared layers are repeated", ["T14"], (7, 2), 3.5),
    "125m": ("Tables 3 and 8: the 125M models, without and with layer sharing", ["T3-125M"], (8, 2), 4),
    "350m": ("Tables 3 and 8: the 350M models, without and with layer sharing", ["T3-350M"], (16, 1), 16 / 3),
}
# 32,000 tokens over the same divisors, as powers of two: embeddings keep their share.
VOCABULARY = {"1m": 2048, "10m": 8192}


def rows_of(tables):
    """Rows of tables.csv with a configuration, in the file's order."""
    out = []
    for row in csv.DictReader(configs.TABLES.open(newline="")):
        if not configs.path_of(row):
            continue
        table = row["id"].split("-")[0]
        for wanted in tables:
            if wanted.startswith("T3-"):
                scale = wanted.split("-")[1]
                if table == "T3" and row["scale"] == scale and row["dim"]:
                    out.append(row)
            elif table == wanted:
                out.append(row)
    return out


def final_rows(rows, scale):
    """The two models of a scale, also where the paper prints only one of them."""
    rows = {row["sharing"]: row for row in rows}
    plain = rows.get("none") or dict(rows["immediate"], sharing="none", repeats="1")
    shared = rows.get("immediate") or dict(plain, sharing="immediate", repeats="2")
    return [plain, shared]


def heading(title, lines):
    comments = [f"# {line}".rstrip() for line in [title + ".", *lines]]
    return [*comments, "# Written by scripts/make_paper_sweeps.py.", ""]


def paper(folder, title, rows):
    lines = heading(title, ["At the paper's scale: FineWeb-Edu from the hub, for weeks of many GPUs."])
    lines += ["[sweep]", f'name = "{folder}-paper"', ""]
    for row in rows:
        lines += ["[[variants]]", f'base = "../../configs/{configs.path_of(row)}"', ""]
    return "\n".join(lines)


def name_of(folder, row, layers, dim):
    """What a variant is called: what its table varies."""
    shape = f"{layers}x{dim}"
    tied = "tied" if row["tied"] == "true" else "untied"
    if folder == "heads":
        return f"{shape}-{row['heads']}h{row['kv_heads']}"
    if folder == "sharing-order":
        return f"{shape}-{configs.sharing_suffix(row)}"
    if folder == "repeats":
        return f"{shape}-x{row['repeats']}"
    if folder == "embedding-sharing":
        return f"{shape}-{tied}"
    if folder == "road-map":
        return f"{shape}-{row['id'].split('-', 2)[2].lower()}"
    return f"{shape}-{configs.attention(row)}{'-ls' if row['sharing'] == 'immediate' else ''}"


def multiple(number, of):
    return max(of, int(number / of + 0.5) * of)


def proxy(folder, title, rows, size, width, depth):
    vocabulary = VOCABULARY[size]
    what = "widths and vocabulary" if depth == 1 else f"widths, vocabulary and depths (by {depth})"
    number = f"{width:g}" if float(width).is_integer() or width == 3.5 else f"{round(width * 3)}/3"
    lines = heading(
        title,
        [
            f"A proxy with models of about {size[:-1]}M parameters, on text that ships with slender: the paper's shapes",
            f"with {what} divided, widths by {number}. Three seeds show what is noise.",
        ],
    )
    lines += ["[sweep]", f'name = "{folder}-proxy-{size}"', f'base = "../../configs/base/proxy-{size}.toml"', "seeds = 3", ""]
    lines += ["[set]", f"data.tokenizer.vocab_size = {vocabulary}", ""]
    for row in rows:
        dim, heads = int(row["dim"]) / width, int(row["heads"])
        assert dim == int(dim) and dim % heads == 0 and dim / heads % 2 == 0, (row["id"], dim, heads)
        layers = int(row["layers"]) // depth
        hidden = multiple(int(row["ffn_hidden"]) / width, 16)
        sharing = '{ kind = "none" }'
        if row["sharing"] != "none":
            sharing = f'{{ kind = "{row["sharing"]}", repeats = {row["repeats"]} }}'
        lines += [
            "[[variants]]",
            f'name = "{name_of(folder, row, layers, int(dim))}" # {row["label"]}',
            f"model.n_layers = {layers}",
            f"model.dim = {int(dim)}",
            f"model.n_heads = {heads}",
            f"model.n_kv_heads = {row['kv_heads']}",
        ]
        if row["ffn"] != "swiglu":
            lines.append(f'model.ffn = "{row["ffn"]}"')
        lines += [
            f"model.ffn_hidden = {hidden}",
            f"model.tie_embeddings = {row['tied']}",
            f"model.layer_sharing = {sharing}",
        ]
        if folder == "road-map" and row["tokens_T"] == "1":
            steps = {"1m": 2000, "10m": 3000}[size]
            lines.append(f"train.steps = {4 * steps} # four times the others', as in the paper")
        lines.append("")
    return "\n".join(lines)


def files():
    """Path below experiments/ -> content."""
    out = {}
    for folder, (title, tables, (width, depth), wide) in TABLES.items():
        rows = rows_of(tables)
        if folder in ("125m", "350m"):
            rows = final_rows(rows, folder.upper())
        small = [row for row in rows if row["scale"] == "125M"] or rows
        out[f"{folder}/paper.toml"] = paper(folder, title, rows)
        out[f"{folder}/proxy-1m.toml"] = proxy(folder, title, small, "1m", width, depth)
        out[f"{folder}/proxy-10m.toml"] = proxy(folder, title, small, "10m", wide, 1)
    return out


if __name__ == "__main__":
    sys.exit(configs.write(EXPERIMENTS, files()))
