//! Writing with the real program: the same text alone, in company and for the same seed, JSON lines, a
//! conversation over a pipe, and what is said when something is wrong.

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with the untrained model `model` of a small configuration, `c.toml`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let text: String = (0..400)
            .map(|i| format!("the {i} geese cross a small river\n<|endoftext|>\n"))
            .collect();
        folder.write("corpus.txt", &text);
        folder.write(
            "c.toml",
            &format!(
                r#"[model]
n_layers = 2
dim = 32
n_heads = 4
n_kv_heads = 2
ffn_hidden = 64
max_seq_len = 64
init_std = 0.3
tie_embeddings = true
layer_sharing = {{ kind = "immediate", repeats = 2 }}
[data]
sources = [{{ kind = "files", paths = ["corpus.txt"], document_separator = "<|endoftext|>" }}]
cache_dir = "{}"
[data.tokenizer]
kind = "bpe"
vocab_size = 300
[train]
batch_size = 4
steps = 4
lr = 1e-3
"#,
                folder.path("cache").display()
            ),
        );
        let output = folder.run(&["init", "c.toml", "--out", "model"]);
        assert!(output.status.success(), "{}", stderr(&output));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slender"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("HF_HUB_OFFLINE", "1")
            .env("NO_COLOR", "1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// With text on stdin.
    fn piped(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that ends early closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// stdout of a command that succeeds.
    fn stdout(&self, arguments: &[&str]) -> String {
        text(self.run(arguments))
    }

    /// stderr of a command that is used wrongly.
    fn misuse(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
        stderr(&output)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// JSON lines without what time did to them.
fn timeless(lines: &str) -> Vec<Value> {
    let parse = |line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        for key in ["prompt_s", "decode_s"] {
            assert!(value[key].is_f64(), "{value}");
            value[key] = Value::Null;
        }
        value
    };
    lines.lines().map(parse).collect()
}

#[test]
fn texts_depend_on_the_prompt_and_the_seed_alone() {
    let folder = Folder::new();
    let sampled = ["--temperature", "1", "--top-k", "50", "--max-tokens", "20"];
    let with = |prompt: &str, seed: &str, more: &[&str]| {
        let first = ["generate", "model", "--prompt", prompt, "--seed", seed];
        folder.stdout(&[&first, &sampled[..], more].concat())
    };
    let one = with("the geese", "1", &[]);
    assert!(one.ends_with('\n') && one.len() > 1);
    assert_eq!(one, with("the geese", "1", &["--threads", "1"]));
    assert_ne!(one, with("the geese", "2", &[]));
    assert_eq!(
        format!("the geese{one}"),
        with("the geese", "1", &["--echo"])
    );
    // Several prompts: each text is the one it has alone.
    let two = with("a river", "1", &["--prompt", "the geese"]);
    assert_eq!(two, with("a river", "1", &[]) + &one);
    // From a file, and from nothing.
    folder.write("prompt.txt", "the geese");
    let base = ["generate", "model", "--seed", "1"];
    let file = folder.stdout(&[&base[..], &["--prompt-file", "prompt.txt"], &sampled].concat());
    assert_eq!(file, one);
    let input = text(folder.piped(
        &[&base[..], &["--prompt-file", "-"], &sampled].concat(),
        "the geese",
    ));
    assert_eq!(input, one);
    assert!(with("", "1", &[]).len() > 1);
}

#[test]
fn json_lines_in_and_out() {
    let folder = Folder::new();
    let lines = [
        json!({"prompt": "the geese", "id": "a", "max_tokens": 5}),
        json!({"prompt": "a small", "id": 7, "seed": 3, "temperature": 1.0, "top_p": 0.9}),
        json!({"prompt": "the geese", "max_tokens": 5}),
        json!({"prompt": "river", "min_p": 0.1, "repetition_penalty": 1.2, "top_k": 3, "temperature": 2}),
    ];
    let input: String = lines.iter().map(|line| format!("{line}\n\n")).collect();
    folder.write("in.jsonl", &input);
    let arguments = [
        "generate",
        "model",
        "--prompts",
        "in.jsonl",
        "--max-tokens",
        "9",
        "--ignore-eos",
    ];
    let expected = timeless(&folder.stdout(&arguments));
    assert_eq!(expected.len(), 4);
    assert_eq!(
        (&expected[0]["id"], &expected[1]["id"]),
        (&json!("a"), &json!(7))
    );
    assert!(expected[2].get("id").is_none());
    assert_eq!(expected[0]["text"], expected[2]["text"]);
    for (line, count) in expected.iter().zip([5, 9, 5, 9]) {
        assert_eq!(line["finish_reason"], "max_tokens");
        assert_eq!(line["tokens"].as_array().unwrap().len(), count);
        let log_probs = line["log_probs"].as_array().unwrap();
        assert_eq!(log_probs.len(), count);
        assert!(log_probs.iter().all(|p| p.as_f64().unwrap() <= 0.0));
        assert!(line["prompt_tokens"].as_u64().unwrap() > 0);
    }
    // However many at a time, from stdin too.
    for batch in ["1", "3"] {
        let arguments = [&arguments[..], &["--batch", batch]].concat();
        assert_eq!(timeless(&folder.stdout(&arguments)), expected);
    }
    let mut from_stdin = arguments;
    from_stdin[3] = "-";
    assert_eq!(timeless(&text(folder.piped(&from_stdin, &input))), expected);
    // A prompt by itself gives the same line.
    let alone = [
        "generate",
        "model",
        "--prompt",
        "the geese",
        "--json",
        "--max-tokens",
        "5",
        "--ignore-eos",
    ];
    assert_eq!(timeless(&folder.stdout(&alone))[0], expected[2]);
}

#[test]
fn a_text_ends_where_it_is_told_to() {
    let folder = Folder::new();
    let base = [
        "generate",
        "model",
        "--prompt",
        "the",
        "--json",
        "--ignore-eos",
    ];
    let with = |more: &[&str]| timeless(&folder.stdout(&[&base[..], more].concat())).remove(0);
    let long = with(&["--max-tokens", "60"]);
    let whole = long["text"].as_str().unwrap();
    let characters: Vec<char> = whole.chars().collect();
    let stop: String = characters[8..11].iter().collect();
    let stopped = with(&["--max-tokens", "60", "--stop", "not there", "--stop", &stop]);
    assert_eq!(stopped["finish_reason"], "stop");
    assert_eq!(stopped["stop"], stop);
    assert_eq!(stopped["text"], whole[..whole.find(&stop).unwrap()]);
    // As many tokens as there are positions, and one that need not be read.
    let full = with(&["--max-tokens", "1000"]);
    assert_eq!(full["finish_reason"], "context");
    let tokens = full["tokens"].as_array().unwrap().len() as u64;
    assert_eq!(full["prompt_tokens"].as_u64().unwrap() + tokens, 65);
}

#[test]
fn a_text_ends_at_every_end_token_of_an_imported_model() {
    let folder = Folder::new();
    let with = |model: &str| {
        let arguments = ["generate", model, "--prompt", "the", "--json"];
        timeless(&folder.stdout(&arguments)).remove(0)
    };
    let tokens = with("model")["tokens"].as_array().unwrap().clone();
    // A token that does not come before.
    let at = (1..tokens.len())
        .find(|at| !tokens[..*at].contains(&tokens[*at]))
        .expect("more than one token is written");
    let file = folder.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config["eos_token_id"] = json!([0, tokens[at]]);
    std::fs::write(&file, config.to_string()).unwrap();
    folder.stdout(&["import", "model", "--out", "imported"]);
    let stopped = with("imported");
    assert_eq!(stopped["finish_reason"], "eos");
    assert_eq!(stopped["tokens"].as_array().unwrap()[..], tokens[..=at]);
}

#[test]
fn every_format_of_weights_writes() {
    let folder = Folder::new();
    let with = |weights: &str| {
        let arguments = [
            "generate",
            "model",
            "--prompt",
            "the",
            "--json",
            "--weights",
            weights,
        ];
        timeless(&folder.stdout(&arguments)).remove(0)
    };
    let first = |value: &Value| value["log_probs"][0].as_f64().unwrap();
    let exact = with("f32");
    for (weights, bound) in [("bf16", 0.3), ("q8_0", 0.3)] {
        let found = with(weights);
        let difference = (first(&found) - first(&exact)).abs();
        assert!(
            difference < bound && difference > 0.0,
            "{weights}: {difference}"
        );
    }
    let error = folder.misuse(&["generate", "model", "--prompt", "x", "--weights", "int3"]);
    assert!(
        error.contains("`int3` is not one of f32, bf16 and q8_0"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_said() {
    let folder = Folder::new();
    let generate = |more: &[&str]| folder.misuse(&[&["generate", "model"][..], more].concat());
    assert_eq!(
        generate(&[]),
        "error: no prompt\n  hint: --prompt TEXT, --prompt-file FILE or --prompts FILE.jsonl; --prompt \"\" starts from nothing\n"
    );
    assert_eq!(
        generate(&["--prompt", "x", "--temperature=-1"]),
        "error: temperature is -1\n  hint: it is 0 for the likeliest token, or positive\n"
    );
    assert_eq!(
        generate(&["--prompt", "x", "--top-p", "0"]),
        "error: top-p is 0\n  hint: it is above 0 and at most 1, which keeps all tokens\n"
    );
    assert_eq!(
        generate(&["--prompt", "x", "--max-tokens", "0"]),
        "error: max-tokens is 0\n  hint: ask for at least one token\n"
    );
    let long = "z ".repeat(100);
    let error = generate(&["--prompt", &long]);
    assert!(
        error.contains("do not fit the model's 64 positions\n  hint: shorten the prompt"),
        "{error}"
    );
    folder.write(
        "bad.jsonl",
        "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"temprature\": 1}\n",
    );
    let error = generate(&["--prompts", "bad.jsonl"]);
    assert!(
        error.starts_with("error: bad.jsonl:2: unknown field `temprature`"),
        "{error}"
    );
    for (line, part) in [
        ("{\"prompt\": \"b\", \"top_p\": 0}", "top-p is 0\n  hint: "),
        (
            "{\"prompt\": \"b\", \"max_tokens\": 0}",
            "max-tokens is 0\n",
        ),
        (
            &*format!("{{\"prompt\": \"{long}\"}}"),
            "do not fit the model's 64 positions",
        ),
    ] {
        folder.write("bad.jsonl", &format!("{{\"prompt\": \"a\"}}\n\n{line}\n"));
        let error = generate(&["--prompts", "bad.jsonl"]);
        assert!(
            error.starts_with("error: bad.jsonl:3: ") && error.contains(part),
            "{error}"
        );
    }
    std::fs::write(
        folder.path("bad.jsonl"),
        b"{\"prompt\": \"a\"}\n{\"prompt\": \"\xff\"}\n",
    )
    .unwrap();
    assert_eq!(
        generate(&["--prompts", "bad.jsonl"]),
        "error: bad.jsonl:2: invalid UTF-8 at byte 13 of the line\n  hint: save the file as UTF-8\n"
    );
    assert_eq!(
        generate(&["--prompt", "x", "--batch", "0"]),
        "error: --batch is 0\n  hint: work on at least one prompt at a time\n"
    );
    folder.write("m.gguf", "GGUF");
    for command in [
        &["generate", "m.gguf", "--prompt", "x"][..],
        &["chat", "m.gguf"],
    ] {
        assert_eq!(
            folder.misuse(command),
            "error: m.gguf is not a model: it is a file\n  hint: make a model folder of it with `slender import m.gguf --out DIR`, and give DIR\n"
        );
    }
    folder.write("empty.jsonl", "\n");
    assert_eq!(
        generate(&["--prompts", "empty.jsonl"]),
        "error: empty.jsonl has no line with a prompt\n"
    );
    let error = folder.misuse(&["generate", "nowhere", "--prompt", "x"]);
    assert!(
        error.starts_with("error: nowhere is not a model: there is no such folder"),
        "{error}"
    );
    let error = folder.misuse(&["generate", "model", "--prompt", "x", "--device", "tpu"]);
    assert!(error.starts_with("error: "), "{error}");
    let error = folder.misuse(&["chat", "model"]);
    assert!(
        error.starts_with("error: model has no chat template\n  hint: "),
        "{error}"
    );
}

/// A template in ChatML's manner, with what this tokenizer has.
const TEMPLATE: &str = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

#[test]
fn a_conversation_over_a_pipe_reads_each_word_once() {
    let folder = Folder::new();
    let written = std::fs::write(folder.path("model/chat_template.jinja"), TEMPLATE);
    written.unwrap();
    let arguments = [
        "chat",
        "model",
        "--json",
        "--max-tokens",
        "4",
        "--temperature",
        "1",
        "--top-k",
        "9",
    ];
    let lines = timeless(&text(
        folder.piped(&arguments, "hi\n\ngeese\n/reset\nhi\n/exit\nnever\n"),
    ));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["read_before"], 0);
    // All that has been read but the answer's last token.
    let read = lines[0]["prompt_tokens"].as_u64().unwrap() + 3;
    assert_eq!(lines[1]["read_before"].as_u64().unwrap(), read);
    assert!(lines[1]["prompt_tokens"].as_u64().unwrap() > read);
    assert_eq!(lines[2]["prompt_tokens"], lines[0]["prompt_tokens"]);
    // The system prompt comes first; without --json only answers are printed.
    let plain = [
        "chat",
        "model",
        "--max-tokens",
        "4",
        "--system",
        "be a goose",
    ];
    let output = text(folder.piped(&plain, "hi\n"));
    let prompt = "[system] be a goose\n[user] hi\n[assistant]";
    let expected = folder.stdout(&[
        "generate",
        "model",
        "--prompt",
        prompt,
        "--max-tokens",
        "4",
        "--bos",
        "no",
    ]);
    assert_eq!(output, expected);
    // A conversation that does not fit any more is an error in a pipe.
    let output = folder.piped(&["chat", "model"], &"word ".repeat(100));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("do not fit the model's 64 positions"));
}

#[test]
fn bench_decode_measures_a_configuration_and_a_model() {
    let folder = Folder::new();
    folder.write("bench.toml", "extends = \"c.toml\"\n[run]\nthreads = 1\n");
    for target in ["c.toml", "bench.toml", "model"] {
        let arguments = [
            "bench",
            "decode",
            target,
            "--tokens",
            "3",
            "--repetitions",
            "2",
            "--batch",
            "2",
            "--json",
        ];
        let speed: Value = serde_json::from_str(&folder.stdout(&arguments)).unwrap();
        for key in [
            "prompt_tokens_per_s",
            "step_s",
            "bytes_per_s",
            "memory_bytes_per_s",
        ] {
            assert!(speed[key].as_f64().unwrap() > 0.0, "{key}: {speed}");
        }
        // Blocks run twice are read twice.
        let [read, distinct] =
            ["weight_bytes_read", "weight_bytes"].map(|key| speed[key].as_u64().unwrap());
        assert!(read > distinct && distinct > 0);
        assert_eq!(speed["batch"], 2);
    }
    assert!(
        folder
            .stdout(&["bench", "decode", "model", "--tokens", "4"])
            .contains("tokens per second")
    );
    let error = folder.misuse(&["bench", "decode", "model", "--set", "model.dim=64"]);
    assert!(error.contains("the target is a model"), "{error}");
    let error = folder.misuse(&["bench", "decode", "model", "--tokens", "500"]);
    assert!(error.contains("positions"), "{error}");
    assert!(!Path::new("bench").exists());
}
