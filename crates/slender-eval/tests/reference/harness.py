"""Ask lm-evaluation-harness itself what it would score, and write it down for the Rust tests.

    python3 harness.py BENCH_DIR FIXTURES_DIR TOKENIZERS_DIR OUT_DIR

Needs `lm_eval`, `datasets`, `transformers` and `blake3`, no network. The harness's own task configurations are loaded, only the
source of the rows is replaced by local files; contexts, requests, gold answers and metrics then come
from the harness's own code (`ConfigurableTask.build_all_requests`, `.process_results`).

Written to OUT_DIR:
- `harness.json`: harness version; per task its version, metrics, number of examples, a BLAKE3 digest
  of every (context, continuation, gold) of the full set and of the shipped slice (where there is one), and
  its metrics with errors for made-up log-likelihoods (a hash of the request), on the full set; per tokenizer,
  with and without BOS, a digest of the context and continuation tokens of every request of the slices; a
  digest of the rolling windows over 0 to 59 tokens with models of 1 to 14 positions; per paper task a digest
  of the requests of its slice's first 20 rows after 0 to 7 few-shot examples drawn from its last 20;
- `prompts.jsonl`: the requests of the first two examples of each shipped slice;
- `rows.jsonl`, read and not written: made-up rows of the tasks without a slice. Their requests are in
  `harness.json` under `rows`.

BoolQ: the rows at hand have `answer` (google/boolq); the harness reads SuperGLUE's `label`, so
`label = int(answer)` is added, which is how that copy was made. The passage is left as it is.
"""

import importlib.metadata
import json
import pathlib
import sys
import tempfile

import blake3
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean, mean_stderr
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows
from transformers import PreTrainedTokenizerFast

bench, fixtures, tokenizers, out = map(pathlib.Path, sys.argv[1:5])
TASKS = {
    "arc_easy": ("arc_easy", "test"),
    "arc_challenge": ("arc_challenge", "test"),
    "boolq": ("boolq", "validation"),
    "piqa": ("piqa", "validation"),
    "social_iqa": ("social_i_qa", "validation"),
    "hellaswag": ("hellaswag", "validation"),
    "openbookqa": ("openbookqa", "test"),
    "winogrande": ("winogrande", "validation"),
}
PAPER = list(TASKS)
TASKS |= {
    "race": ("race", "test", "test_high.jsonl"),
    "lambada_openai": ("lambada", "test"),
    "copa": ("copa", "validation"),
    "commonsense_qa": ("commonsense_qa", "validation"),
    "truthfulqa_mc1": ("truthfulqa", "validation", "v1_mc_task.json"),
    "truthfulqa_mc2": ("truthfulqa", "validation", "v1_mc_task.json"),
    "triviaqa": ("triviaqa", "validation"),
    "sciq": ("sciq", "validation"),
}
TASKS |= {
    f"blimp_{file.stem}": ("blimp", "validation", file.name) for file in sorted((bench / "blimp").glob("*.jsonl"))
}
manager = TaskManager()


def in_hub_form(name, row):
    """A row of the files at hand as the hub's copy that the harness reads has it."""
    if name == "boolq":
        return {**row, "label": int(row["answer"])}
    if name == "race" and "problems" not in row:
        keys = ("question", "answer", "options")
        rows = zip(row["questions"], row["answers"], row["options"], strict=True)
        return {"article": row["article"], "problems": repr([dict(zip(keys, values)) for values in rows])}
    if name.startswith("truthfulqa") and "choices" not in row["mc1_targets"]:
        lists = {key: {"choices": list(row[key]), "labels": list(row[key].values())} for key in ("mc1_targets", "mc2_targets")}
        return {"question": row["question"], **lists}
    return row


def read(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n") if line.strip()]


def load(name, split, rows, train=None):
    # The harness scores SciQ's and LAMBADA's test split; the split decides how few-shot examples are drawn.
    folder = pathlib.Path(tempfile.mkdtemp())
    files = {split: rows, **({"train": train} if train else {})}
    for key, part in files.items():
        text = "".join(json.dumps(in_hub_form(name, row)) + "\n" for row in part)
        (folder / f"{key}.jsonl").write_text(text)
    return manager._factory.build(
        manager._entry(name),
        overrides={
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {key: str(folder / f"{key}.jsonl") for key in files}},
            "training_split": "train" if train else None,
            "fewshot_split": None,
            "validation_split": split if split == "validation" else None,
            "test_split": split if split == "test" else None,
        },
        registry=manager._index,
    )


def made_up(context, continuation):
    """A log-likelihood in (-65.536, 0] that both sides can compute from the request's text."""
    digest = blake3.blake3((context + "\x00" + continuation).encode()).digest()
    return -int.from_bytes(digest[:2], "little") / 1000.0


def requests_of(task):
    task.build_all_requests(limit=None, rank=0, world_size=1)
    by_doc = {}
    for instance in task.instances:
        by_doc.setdefault(instance.doc_id, []).append(instance)
    return [by_doc[i] for i in sorted(by_doc)]


def gold_of(task, doc):
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    choices = task.doc_to_choice(doc)
    return choices.index(gold) if isinstance(gold, str) and gold in choices else int(gold)


def texts_of(task, instances):
    """What a request is made of: context and continuation, or context and accepted answers."""
    if task.OUTPUT_TYPE == "generate_until":
        return [instances[0].args[0], *task.doc_to_target(instances[0].doc)]
    return [text for instance in instances for text in instance.args]


def digest_of(task):
    """BLAKE3 over every request and right answer, and the scores of made-up log-likelihoods."""
    hasher, metrics, n = blake3.blake3(), {}, 0
    for instances in requests_of(task):
        doc = instances[0].doc
        for text in texts_of(task, instances):
            hasher.update(f"{text}\x00".encode())
        hasher.update(f"{gold_of(task, doc)}\n".encode())
        n += 1
        if task.OUTPUT_TYPE != "multiple_choice":
            continue
        scores = task.process_results(doc, [(made_up(*i.args), False) for i in instances])
        for metric, value in scores.items():
            metrics.setdefault(metric, []).append(float(value))
    return hasher.hexdigest(), metrics, n


class Encoder(TemplateLM):
    """The harness's own splitting of requests into tokens, with a real tokenizer and no model."""

    def __init__(self, file, add_bos, bos):
        super().__init__()
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
        self.add_bos, self.bos, self.seen = add_bos, self.tokenizer.convert_tokens_to_ids(bos), []
        assert isinstance(self.bos, int)

    eot_token_id = property(lambda self: self.bos)

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        ids = self.tokenizer.encode(string, add_special_tokens=False)
        # GPT-2's tokenizer has no BOS in its template: put in front, as HFLM's add_bos_token asks for.
        return [self.bos] + ids if self.add_bos and add_special_tokens is None else ids

    def _loglikelihood_tokens(self, requests, **kwargs):
        self.seen = [(context, continuation) for _, context, continuation in requests]
        return [(0.0, False)] * len(requests)

    loglikelihood_rolling = generate_until = None


report = {"lm_eval": importlib.metadata.version("lm_eval"), "tasks": {}, "tokens": {}, "shots": {}, "rows": []}
prompts, pairs = [], []
for name, (folder, split, *file) in TASKS.items():
    rows = read(bench / folder / (file[0] if file else f"{split}.jsonl"))
    task = load(name, split, rows)
    digest, metrics, n = digest_of(task)
    assert n == len(rows)
    report["tasks"][name] = {
        # A task without one has the word "Yaml" there.
        "version": float(task.VERSION) if isinstance(task.VERSION, (int, float)) else 0.0,
        "examples": n,
        "requests_blake3": digest,
        "made_up": {m: {"value": mean(v), "stderr": mean_stderr(v)} for m, v in metrics.items()},
    }
    if name not in PAPER:
        continue
    slice_rows = read(fixtures / f"{name}.jsonl")
    small = load(name, split, slice_rows)
    report["tasks"][name]["fixture_requests_blake3"] = digest_of(small)[0]
    report["shots"][name] = []
    for shots in range(8):
        shown = load(name, split, slice_rows[:20], slice_rows[20:])
        shown.set_config("num_fewshot", shots)
        shown.set_fewshot_seed(1234)
        report["shots"][name].append(digest_of(shown)[0])
    for doc_id, instances in enumerate(requests_of(small)):
        pairs.extend(i.args for i in instances)
        if doc_id < 2:
            prompts.append(
                {
                    "task": name,
                    "doc_id": doc_id,
                    "requests": [list(i.args) for i in instances],
                    "choices": task.doc_to_choice(instances[0].doc),
                    "gold": gold_of(task, instances[0].doc),
                }
            )
for line in open(pathlib.Path(__file__).with_name("rows.jsonl")):
    made = json.loads(line)
    task = load(made["task"], made["split"], [made["row"]])
    instances = requests_of(task)[0]
    report["rows"].append(
        {"task": made["task"], "texts": texts_of(task, instances), "gold": gold_of(task, instances[0].doc)}
    )
# What the tasks do not contain: an empty context, spaces at the boundary, a continuation without one.
pairs += [("", "Hello world"), ("Hello  ", "world"), ("Hello \n", " world"), ("Hel", "lo"), ("a", "b c")]
for name, bos in [("llama2", "<s>"), ("gpt2", "<|endoftext|>"), ("smollm2", "<|endoftext|>")]:
    for add_bos in (False, True):
        encoder = Encoder(tokenizers / name / "tokenizer.json", add_bos, bos)
        encoder.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
        hasher = blake3.blake3()
        for context, continuation in encoder.seen:
            line = f"({context},{continuation})\n"
            hasher.update(line.replace(" ", "").encode())
        report["tokens"][f"{name}{'+bos' if add_bos else ''}"] = {
            "requests": len(encoder.seen),
            "blake3": hasher.hexdigest(),
        }
hasher = blake3.blake3()
for n in range(60):
    for width in range(1, 15):
        windows = get_rolling_token_windows(list(range(n)), prefix_token=100, max_seq_len=width, context_len=1)
        for inputs, predicted in windows:
            hasher.update(f"{inputs}->{predicted}\n".replace(" ", "").encode())
report["rolling_windows_blake3"] = hasher.hexdigest()
(out / "harness.json").write_text(json.dumps(report, indent=1) + "\n")
(out / "prompts.jsonl").write_text("".join(json.dumps(p, ensure_ascii=False) + "\n" for p in prompts))
