#!/usr/bin/env python3
"""Compares slender's tokenizers with the libraries they come from, on mixed text.

    python3 -m venv .venv && .venv/bin/pip install sentencepiece tokenizers zstandard
    .venv/bin/python scripts/compare_tokenizers.py --data ../shared/data [--gguf MODEL.gguf]

builds 5.6 MB of text that is the same every time (prose, wiki text, and 1.4 MB of generated lines: emoji,
CJK, other scripts, combining marks, control characters, runs of every kind of space, names of special
tokens, compatibility characters, bytes that are not UTF-8) and compares token ids, item by item, with

- sentencepiece, for LLaMA-2's tokenizer.model and for models that are trained here on a part of the text
  with different options (BPE, unigram, char; character maps; byte fallback; whitespace; user-defined
  symbols),
- tokenizers, for every tokenizer.json in the data folder, special tokens in the text included,
- with --gguf, the tokenizer.json of the data folder's smollm2 for the tokenizer inside the GGUF file.

Items are lines; a second pass takes paragraphs with line ends inside. For unigram models the last column
says by how much the scores of the two divisions of an item differ at most, summed in f64: sentencepiece sums in
f32, in which long runs of a character have no exact best division. Exits with 1 if any item differs, unigram
models excepted whose divisions are as good to within that rounding.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile

import sentencepiece
import tokenizers
import zstandard

ROOT = pathlib.Path(__file__).resolve().parent.parent


def ranges(*pairs):
    return [chr(c) for a, b in pairs for c in range(a, b + 1)]


SCRIPTS = {
    "emoji": ranges((0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1F9FF), (0x2600, 0x27BF)),
    "joined": ["\U0001F468\u200D\U0001F469\u200D\U0001F467", "\U0001F3F4\u200D\u2620\uFE0F", "\U0001F44D\U0001F3FD",
               "\U0001F1E9\U0001F1EA", "\u2764\uFE0F", "1\uFE0F\u20E3"],
    "cjk": ranges((0x4E00, 0x9FFF)),
    "kana": ranges((0x3041, 0x3096), (0x30A1, 0x30FA), (0xFF66, 0xFF9D)),
    "hangul": ranges((0xAC00, 0xD7A3), (0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)),
    "rare": ranges((0x20000, 0x20100), (0x1D400, 0x1D7FF), (0x10330, 0x1034A)),
    "latin": ranges((0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "greek": ranges((0x391, 0x3C9), (0x1F00, 0x1F15), (0x410, 0x44F)),
    "arabic": ranges((0x621, 0x64A), (0x64B, 0x652), (0x660, 0x669), (0xFDF0, 0xFDFB), (0xFE80, 0xFEFC)),
    "indic": ranges((0x905, 0x939), (0x93E, 0x94D), (0xE01, 0xE3A), (0xE40, 0xE4E)),
    "marks": [a + b for a in "aeiouncAEIO" for b in "\u0300\u0301\u0302\u0303\u0308\u030A\u0327\u0323\u0304"]
    + ["\uFF41\u0301", "\u1100\u1161\u11A8", "o\u0302\u0323", "\u0344", "\u0958"],
    "wide": ranges((0xFF01, 0xFF5E), (0xFFE0, 0xFFE6)),
    "compat": ranges((0x2460, 0x24FF), (0x3220, 0x32FE), (0x3300, 0x33FF), (0x2100, 0x214F), (0xFB00, 0xFB06), (0x2070, 0x208E))
    + ["\u00BD", "\u2026", "\u2122", "\u01C4", "\u1E9E"],
    "control": [chr(c) for c in range(0, 32) if c != 10] + [chr(c) for c in range(127, 160)] + ["\uFEFF", "\u200B", "\u200C",
                "\u200D", "\u200E", "\u202A", "\u2060", "\u00AD", "\uFFFD", "\uFFFE", "\u2028", "\u2029"],
    "space": [" ", "  ", "   ", "    ", " " * 8, " " * 17, "\t", "\t\t", "\r", "\u00A0", "\u3000", "\u2003", "\u2009", "\u202F",
              "\u1680", "\u2581", "\u2581\u2581", " \u2581", "\u2581 ", "\u0085"],
    "ascii": ranges((33, 126)),
    "digits": list("0123456789") + ["3.14", "1,000", "0x1F", "\u0663", "\u00B2"],
    "word": ["the", "The", "and", "don't", "I'll", "we've", "HELLO", "naïve", "Straße", "token", "aaaa", "ababab", "http://a.b/c?d=e",
             "user@example.com", "snake_case", "CamelCase", "<br/>", "{\"a\": [1, 2]}", "\\n", "x=1;"],
    "names": ["<s>", "</s>", "<unk>", "<pad>", "<0x41>", "<0x0A>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|padding|>",
              "<repo_name>", "[INST]", "[/INST]", "<sep>", "<user>", "<us", "er>"],
}
KINDS = list(SCRIPTS)


def generated(rng, size):
    """Lines of one to three kinds of characters, some long runs of one."""
    lines, total = [], 0
    while total < size:
        kinds = rng.sample(KINDS, rng.choice([1, 2, 2, 3])) + (["space"] if rng.random() < 0.6 else [])
        if rng.random() < 0.05:
            line = rng.choice(SCRIPTS[rng.choice(KINDS)]) * rng.randrange(2, 300)
        else:
            line = "".join(rng.choice(SCRIPTS[rng.choice(kinds)]) for _ in range(rng.randrange(1, 60)))
        line = line.encode("utf-8", "surrogatepass")
        if rng.random() < 0.2:
            broken = bytearray(line)
            for _ in range(rng.randrange(1, 5)):
                at = rng.randrange(len(broken) + 1)
                broken[at:at + rng.choice([0, 1])] = rng.choice(
                    [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\x80", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
            line = bytes(broken)
        lines.append(line.replace(b"\n", b" "))
        total += len(line) + 1
    return lines


def mixed(data):
    """Lines, as bytes without line ends."""
    text = data / "text"
    books = zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader((text / "books-valid.txt.zst").open("rb")).read(2_000_000)
    stories = (text / "tinystories-1000.txt").read_bytes()
    wiki = (text / "wikitext2-test.raw.txt").read_bytes()
    lines = []
    for part in (books, stories, wiki):
        lines += part.split(b"\n")
    lines += generated(random.Random(5), 1_400_000)
    random.Random(7).shuffle(lines)
    return lines


def as_text(item):
    """Each byte that is not UTF-8 as U+FFFD, as both sides read it."""
    out, at = [], 0
    while at < len(item):
        try:
            out.append(item[at:].decode("utf-8"))
            break
        except UnicodeDecodeError as error:
            out.append(item[at:at + error.start].decode("utf-8") + "\uFFFD" * (error.end - error.start))
            at += error.end
    return "".join(out)


def score(processor, ids):
    """Sum of the scores of pieces, in f64. Bytes and unknown pieces stand for the same text on both sides."""
    counted = (i for i in ids if not processor.is_byte(i) and not processor.is_unknown(i))
    return sum(processor.get_score(i) for i in counted)


class Comparison:
    def __init__(self, slender, lines):
        self.slender, self.wrong = slender, 0
        self.folder = tempfile.TemporaryDirectory()
        # Lines, and paragraphs with line ends in them: NUL divides, so it is a line's character only.
        paragraphs = [b"\n".join(lines[i:i + 7]).replace(b"\0", b"") for i in range(0, len(lines), 7)]
        self.sets = {"newline": (lines, b"\n"), "null": (paragraphs, b"\0")}
        for name, (items, separator) in self.sets.items():
            (self.path / name).write_bytes(separator.join(items))

    @property
    def path(self):
        return pathlib.Path(self.folder.name)

    def ours(self, model, name, special):
        command = [self.slender, "tokenizer", "encode", model, self.path / name]
        command += ["--null"] if name == "null" else []
        command += ["--special"] if special else []
        out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        return [[int(i) for i in line.split()] for line in out.split("\n")[:-1]]

    def run(self, label, model, encode, special, library, processor=None):
        """`processor`: the unigram model whose scores tell how far apart two divisions are."""
        items = tokens = size = wrong = 0
        apart, excused = 0.0, 0
        for name, (texts, _) in self.sets.items():
            ours = self.ours(model, name, special)
            if len(ours) != len(texts):
                sys.exit(f"{label}: {len(ours)} items came back for {len(texts)}")
            for item, mine, theirs in zip(texts, ours, encode(texts)):
                items, tokens, size = items + 1, tokens + len(theirs), size + len(item)
                if mine != theirs:
                    wrong += 1
                    if processor:
                        ours_score, their_score = score(processor, mine), score(processor, theirs)
                        # Rounding of a sum in f32, of as many terms as there are tokens.
                        apart = max(apart, abs(ours_score - their_score))
                        bound = len(theirs) * abs(their_score) * 2.0**-24
                        excused += abs(ours_score - their_score) <= bound
                    if wrong <= 3:
                        print(f"  {label}: {item[:120]!r}\n    ours   {mine[:24]}\n    theirs {theirs[:24]}", file=sys.stderr)
        self.wrong += wrong - excused
        far = f"{excused} by {apart:.1e}" if processor and wrong else "-"
        print(f"| {label} | {library} | {items} | {size / 1e6:.2f} | {tokens} | {wrong} | {far} |", flush=True)


TRAINED = {
    "bpe": dict(model_type="bpe"),
    "bpe, identity, byte fallback, all whitespace": dict(model_type="bpe", normalization_rule_name="identity", byte_fallback=True,
                                                         remove_extra_whitespaces=False, allow_whitespace_only_pieces=True),
    "bpe, nfkc_cf, no dummy prefix": dict(model_type="bpe", normalization_rule_name="nfkc_cf", add_dummy_prefix=False),
    "bpe, user-defined": dict(model_type="bpe", user_defined_symbols=["<sep>", "<user>", "\U0001F600"]),
    "bpe, user-defined, nothing added or removed": dict(
        model_type="bpe", user_defined_symbols=["<sep>", "<user>"], add_dummy_prefix=False, remove_extra_whitespaces=False,
        byte_fallback=True, normalization_rule_name="identity"),
    "unigram": dict(model_type="unigram"),
    "unigram, byte fallback, identity": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity"),
    "unigram, nmt_nfkc_cf, split digits": dict(model_type="unigram", normalization_rule_name="nmt_nfkc_cf", split_digits=True),
    "unigram, no dummy prefix, all whitespace": dict(model_type="unigram", add_dummy_prefix=False, remove_extra_whitespaces=False),
    "unigram, control and user-defined": dict(model_type="unigram", control_symbols=["[INST]"], user_defined_symbols=["<sep>"]),
    "char": dict(model_type="char"),
    "char, byte fallback, identity": dict(model_type="char", byte_fallback=True, normalization_rule_name="identity"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/data")
    parser.add_argument("--slender", type=pathlib.Path, default=ROOT / "target/release/slender")
    parser.add_argument("--gguf", type=pathlib.Path, help="a GGUF file with SmolLM2's tokenizer")
    parser.add_argument("--only", help="only tokenizers whose name contains this")
    args = parser.parse_args()
    lines = mixed(args.data)
    comparison = Comparison(args.slender, lines)
    wanted = lambda name: not args.only or args.only in name
    print("| tokenizer | compared with | items | MB | tokens | different | as good |\n|---|---|---|---|---|---|---|")

    folder = args.data / "tokenizers"
    library = f"sentencepiece {sentencepiece.__version__}"
    processors = {"llama2/tokenizer.model": folder / "llama2/tokenizer.model"}
    corpus = [line for line in lines if as_text(line).encode() == line and b"\0" not in line][:12_000]
    for name, options in TRAINED.items():
        if wanted(name):
            prefix = comparison.path / f"trained-{len(processors)}"
            vocab = {} if options["model_type"] == "char" else {"vocab_size": 3000}
            (comparison.path / "corpus").write_bytes(b"\n".join(corpus))
            sentencepiece.SentencePieceTrainer.train(
                input=str(comparison.path / "corpus"), model_prefix=str(prefix), minloglevel=2, hard_vocab_limit=False,
                character_coverage=0.98, num_threads=1, **vocab, **options)
            processors[name] = prefix.with_suffix(".model")
    for name, model in processors.items():
        if wanted(name):
            processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
            # Bytes, so that the library itself meets what is not UTF-8.
            unigram = processor if TRAINED.get(name, {}).get("model_type") == "unigram" else None
            comparison.run(name, model, lambda texts: (processor.encode(text) for text in texts), False, library, unigram)

    library = f"tokenizers {tokenizers.__version__}"
    models = {f"{path.parent.name}/tokenizer.json": (path, path) for path in sorted(folder.glob("*/tokenizer.json"))}
    if args.gguf:
        converted = comparison.path / "gguf"
        subprocess.run([args.slender, "tokenizer", "convert", args.gguf, "--out", converted], check=True, stdout=subprocess.DEVNULL)
        models["smollm2 out of the GGUF file"] = (converted / "tokenizer.json", folder / "smollm2/tokenizer.json")
    for name, (mine, theirs) in models.items():
        if wanted(name):
            reference = tokenizers.Tokenizer.from_file(str(theirs))
            encode = lambda texts: (reference.encode(as_text(text), add_special_tokens=False).ids for text in texts)
            comparison.run(name, mine, encode, True, library)
    said = f"{comparison.wrong} items differ" if comparison.wrong else "every item equal, or divided as well"
    print(said, file=sys.stderr)
    sys.exit(1 if comparison.wrong else 0)


if __name__ == "__main__":
    main()
