//! Numbers and text as the report shows them.

/// Escapes text for HTML and SVG, attributes included.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A fraction in percent with one decimal, without the sign.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.1}", 100.0 * fraction)
}

/// Unit of a column of FLOP counts, chosen by its largest value: divisor and name.
pub(crate) fn flop_unit(largest: f64) -> (f64, &'static str) {
    let units = [
        (1e21, "ZFLOP"),
        (1e18, "EFLOP"),
        (1e15, "PFLOP"),
        (1e12, "TFLOP"),
        (1e9, "GFLOP"),
    ];
    let fits = units.into_iter().find(|(unit, _)| largest >= *unit);
    fits.unwrap_or((1e6, "MFLOP"))
}

/// Three significant digits without an exponent: `1234`, `12.3`, `0.123`.
pub(crate) fn significant(value: f64) -> String {
    let magnitude = value.abs().max(1e-12).log10().floor() as i32;
    let digits = (2 - magnitude).clamp(0, 6) as usize;
    format!("{value:.digits$}")
}

/// `p = 0.031`, `p < 0.001`.
pub(crate) fn p_words(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {p:.3}")
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// Names without the prefix they all share up to a `-`, for labels in pictures.
pub(crate) fn short_names(names: &[&str]) -> Vec<String> {
    let first = names.first().copied().unwrap_or_default();
    let mut cut = 0;
    for (index, c) in first.char_indices() {
        if c == '-' && names.iter().all(|name| name.starts_with(&first[..=index])) {
            cut = index + 1;
        }
    }
    // A run named exactly as the prefix would lose its name; one run alone keeps it whole.
    if names.len() < 2 || names.iter().any(|name| name.len() <= cut) {
        cut = 0;
    }
    names.iter().map(|name| name[cut..].to_owned()).collect()
}

/// Order of names in which `4x1280` comes before `12x768`: runs of digits count as numbers.
pub(crate) fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |name: &str| -> Vec<(String, u64)> {
        let mut parts = Vec::new();
        let mut rest = name;
        while !rest.is_empty() {
            let words = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (text, tail) = rest.split_at(words);
            let digits = tail
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (number, tail) = tail.split_at(digits);
            parts.push((text.to_owned(), number.parse().unwrap_or(0)));
            rest = tail;
        }
        parts
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
    }

    #[test]
    fn names_lose_only_what_they_share() {
        assert_eq!(
            short_names(&["smoke-2x96", "smoke-4x64", "smoke-4x64-ls"]),
            ["2x96", "4x64", "4x64-ls"]
        );
        assert_eq!(short_names(&["smoke-2x96"]), ["smoke-2x96"]);
        assert_eq!(short_names(&["a-b", "c-d"]), ["a-b", "c-d"]);
    }

    #[test]
    fn depths_are_in_order() {
        let mut names = ["125m-30x512", "125m-4x1280", "125m-30x512-ls", "1b-54x1280"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            ["1b-54x1280", "125m-4x1280", "125m-30x512", "125m-30x512-ls"]
        );
    }

    #[test]
    fn columns_have_one_unit() {
        assert_eq!(flop_unit(3.2e12), (1e12, "TFLOP"));
        assert_eq!(significant(1234.4), "1234");
        assert_eq!(significant(0.12345), "0.123");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
