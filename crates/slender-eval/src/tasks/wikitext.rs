//! WikiText-2: perplexity of whole Wikipedia articles, in rolling windows.
//!
//! The text that is scored is detokenized; words and bytes are counted in the text as the file has it, with
//! its spaces around punctuation. A data directory has either `test.jsonl` with a `page` a line or the raw file
//! `test.txt`, which is cut at the titles of the first level.

use std::sync::LazyLock;

use regex::Regex;

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The test split, one article a row.
pub(super) static TASK: Task = Task {
    name: "wikitext",
    title: "WikiText-2",
    folder: "wikitext",
    split: "test",
    file: None,
    output: Output::Text,
    hub: HubSource {
        repo: "EleutherAI/wikitext_document_level",
        config: Some("wikitext-2-raw-v1"),
    },
    examples: 62,
    chance: 0.0,
    version: 2.0,
    metrics: &[
        Metric::WordPerplexity,
        Metric::BytePerplexity,
        Metric::BitsPerByte,
        Metric::TokenPerplexity,
    ],
    source: "WikiText-2, Merity et al. 2016 (arXiv:1609.07843), CC BY-SA 3.0",
    fields: "page",
    fixture: None,
    read: Read::One(read),
    paper: Paper::None,
    shots: Shots::Never,
    caveat: no_caveat,
};

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let page = row.text("page")?;
    Ok(Example::page(detokenize(page), page.to_owned()))
}

/// Undoes the tokenization of the file, as the harness does and in its order.
fn detokenize(page: &str) -> String {
    // Python's `\\s` also means the separators U+001C to U+001F.
    static PAIRS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let space = r"[\s\x1c-\x1f]*";
        [
            (format!(r"\({space}([^)]*?){space}\)"), "(${1})"),
            (format!(r"\[{space}([^\]]*?){space}\]"), "[${1}]"),
            (format!(r"\{{{space}([^}}]*?){space}\}}"), "{${1}}"),
            (format!("\"{space}([^\"]*?){space}\""), "\"${1}\""),
            (format!("'{space}([^']*?){space}'"), "'${1}'"),
        ]
        .into_iter()
        .map(|(pattern, with)| (Regex::new(&pattern).expect("a fixed pattern"), with))
        .collect()
    });
    let replace = |text: String, pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, to))
    };
    let mut text = replace(
        page.to_owned(),
        &[
            ("s '", "s'"),
            (" @-@ ", "-"),
            (" @,@ ", ","),
            (" @.@ ", "."),
            (" : ", ": "),
            (" ; ", "; "),
            (" . ", ". "),
            (" ! ", "! "),
            (" ? ", "? "),
            (" , ", ", "),
        ],
    );
    for (pattern, with) in PAIRS.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    replace(
        text,
        &[
            ("= = = =", "===="),
            ("= = =", "==="),
            ("= =", "=="),
            (" \u{b0} ", "\u{b0}"),
            (" \n", "\n"),
            ("\n ", "\n"),
            (" N ", " 1 "),
            (" 's", "'s"),
        ],
    )
}

/// The articles of the raw file: a new one starts at each title of the first level.
pub(crate) fn pages(text: &str) -> Vec<String> {
    let mut pages: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.split('\n') {
        let flat = line.replace("= = =", "===").replace("= =", "==");
        let flat = flat.trim();
        // Blank lines before the first title belong to no article.
        if flat.starts_with("= ") && flat.ends_with(" =") {
            pages.push(Vec::new());
        }
        if let Some(page) = pages.last_mut() {
            page.push(line);
        }
    }
    let whole = pages.into_iter().map(|lines| lines.join("\n"));
    whole.filter(|page| !page.trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_around_punctuation_go() {
        assert_eq!(
            detokenize(
                " He said , \" yes ; no \" ( twice ) : the dogs ' 2 @,@ 000 @-@ mile run . \n"
            ),
            " He said, \"yes; no\" (twice): the dogs' 2,000-mile run.\n"
        );
        assert_eq!(detokenize("= = Title = ="), "== Title ==");
    }

    #[test]
    fn articles_start_at_titles_of_the_first_level() {
        let text = " \n = A = \n one\n = = B = = \n two\n = C = \n three\n";
        let pages = pages(text);
        assert_eq!(pages.len(), 2);
        assert!(pages[0].starts_with(" = A =") && pages[0].contains("two"));
        assert!(pages[1].starts_with(" = C ="));
    }
}
