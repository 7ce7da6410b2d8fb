//! Names of variants: readable, and the same whatever else is in the sweep.
//!
//! A variant is called by its base or its own name, then by what each axis is here:
//! `proxy-1m-n_layers8-lr0.003`. A name depends on nothing but the variant itself, so adding a value to
//! an axis renames nothing, and runs that are done are found again.

use toml::Value;

/// Longest part that an axis adds; a longer value is called by its hash.
const LONGEST: usize = 32;

/// The part of a name that says what `key` is: `n_layers8`, `tie_embeddings-true`, `sources-3f9a01`.
pub(super) fn part(label: &str, value: &Value) -> String {
    let text = words(value);
    let clean = !text.is_empty()
        && text.len() <= LONGEST
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c));
    let text = if clean { text } else { digest(value) };
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && matches!(value, Value::Integer(_) | Value::Float(_));
    match number {
        // `beta1` and 0.9 would read as one number.
        true if label.ends_with(|c: char| c.is_ascii_digit()) => format!("{label}_{text}"),
        true => format!("{label}{text}"),
        false => format!("{label}-{text}"),
    }
}

/// The shortest ending of each key that no other key has: `lr`, or `train.lr` beside another `lr`.
pub(super) fn labels(keys: &[&str]) -> Vec<String> {
    let ending = |key: &str, parts: usize| -> String {
        let all: Vec<&str> = key.split('.').collect();
        all[all.len().saturating_sub(parts)..].join(".")
    };
    let label = |key: &&str| {
        let unique = |parts: &usize| {
            let mine = ending(key, *parts);
            keys.iter()
                .filter(|other| ending(other, *parts) == mine)
                .count()
                == 1
        };
        let parts = (1..=key.split('.').count()).find(unique);
        ending(key, parts.unwrap_or(usize::MAX))
    };
    keys.iter().map(label).collect()
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Boolean(flag) => flag.to_string(),
        // `{ kind = "immediate", repeats = 2 }` is `immediate-2`.
        Value::Table(table) => {
            let parts: Vec<String> = table.values().map(words).collect();
            parts.join("-")
        }
        Value::Array(_) | Value::Datetime(_) => String::new(),
    }
}

/// The shorter of `0.003` and `3e-3`; `0.001` stays what it is.
fn float(number: f64) -> String {
    let (plain, scientific) = (number.to_string(), format!("{number:e}"));
    if scientific.len() < plain.len() && (number.abs() < 1e-3 || number.abs() >= 1e6) {
        scientific
    } else {
        plain
    }
}

fn digest(value: &Value) -> String {
    let hash = blake3::hash(value.to_string().as_bytes()).to_hex();
    hash[..6].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_say_key_and_value() {
        let table = |text: &str| toml::from_str::<toml::Table>(text).unwrap()["v"].clone();
        for (text, wanted) in [
            ("v = 8", "x8"),
            ("v = 3e-3", "x0.003"),
            ("v = 2e-5", "x2e-5"),
            ("v = true", "x-true"),
            ("v = \"gelu\"", "x-gelu"),
            ("v = { kind = \"immediate\", repeats = 2 }", "x-immediate-2"),
        ] {
            assert_eq!(part("x", &table(text)), wanted, "{text}");
        }
        assert_eq!(part("beta1", &table("v = 0.9")), "beta1_0.9");
        let odd = part("x", &table("v = \"a/b c\""));
        assert!(odd.starts_with("x-") && odd.len() == 8, "{odd}");
    }

    #[test]
    fn labels_are_as_short_as_they_can_be() {
        let keys = ["model.n_layers", "train.lr"];
        assert_eq!(labels(&keys), ["n_layers", "lr"]);
        let keys = ["data.a.kind", "model.kind", "train.lr"];
        assert_eq!(labels(&keys), ["a.kind", "model.kind", "lr"]);
    }
}
