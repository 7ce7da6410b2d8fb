#!/usr/bin/env python3
"""Conversations as Arrow writes them, for crates/slender-data/tests/conversations.rs.

    python3 -m venv .venv && .venv/bin/pip install pyarrow
    .venv/bin/python scripts/golden_parquet.py

writes crates/slender-data/tests/data/conversations.parquet, compressed with Zstandard in three row groups, and
the same rows beside it as conversations.jsonl. Columns are as on the Hugging Face hub: messages are a list of
groups, beside columns that nothing asks for.
"""
import json
import pathlib

import pyarrow
import pyarrow.parquet

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "crates/slender-data/tests/data"


def messages(i):
    turns = [{"role": "system", "content": "Be brief."}] if i % 3 == 0 else []
    for turn in range(1 + i % 2):
        turns.append({"role": "user", "content": f"question {i}.{turn} " + "why " * (i % 5) + "é?"})
        turns.append({"role": "assistant", "content": f"answer {i}.{turn}" + " so" * (i % 4) + "."})
    return turns


def main():
    rows = [{"id": i, "messages": messages(i), "score": i / 7, "source": None} for i in range(40)]
    message = pyarrow.struct([("content", pyarrow.string()), ("role", pyarrow.string())])
    schema = pyarrow.schema(
        [
            ("id", pyarrow.int64()),
            ("messages", pyarrow.list_(message)),
            ("score", pyarrow.float64()),
            ("source", pyarrow.string()),
        ]
    )
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    pyarrow.parquet.write_table(
        table, FOLDER / "conversations.parquet", compression="zstd", row_group_size=15
    )
    lines = (json.dumps({"messages": row["messages"]}, ensure_ascii=False) + "\n" for row in rows)
    (FOLDER / "conversations.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
