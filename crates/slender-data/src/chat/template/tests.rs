use super::*;

fn template(source: &str) -> Result<ChatTemplate, DataError> {
    let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
    ChatTemplate::new(
        "t",
        source,
        special.map(|(a, b)| (a.to_owned(), b.to_owned())),
    )
}

fn render(source: &str) -> Result<String, String> {
    let messages = [Message::new("user", "hi"), Message::new("assistant", "ho")];
    let template = template(source).map_err(|e| e.to_string())?;
    template.render(&messages, false).map_err(|e| e.to_string())
}

#[test]
fn whitespace_and_special_tokens_are_those_of_transformers() {
    let source = "{{ bos_token }}{% for m in messages %}\n    {% if true %}\n<|{{ m.role }}|>\n{{ m['content'] + eos_token }}\n    {% endif %}\n{% endfor %}\n";
    assert_eq!(
        render(source).unwrap(),
        "<s><|user|>\nhi</s>\n<|assistant|>\nho</s>\n"
    );
    assert_eq!(
        render("{{ none }} {{ true }} {{ tools is none }} {{ nothing }}|{{ 'a'.strip() }}")
            .unwrap(),
        "None True True |a"
    );
    assert_eq!(
        render("{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}").unwrap(),
        "hi"
    );
    assert_eq!(
        render("{{ messages[0] | tojson }} {{ '<&>' | tojson }}").unwrap(),
        r#"{"role": "user", "content": "hi"} "<&>""#
    );
}

#[test]
fn errors_name_template_and_line() {
    let error = render("a\n{% if %}").unwrap_err();
    assert!(
        error.starts_with("chat template of t: ") && error.contains("(line 2)"),
        "{error}"
    );
    let error = render("\n\n{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert_eq!(error, "chat template of t: roles must alternate (line 3)");
    assert!(render("{{ messages[0].nope.more }}").is_err());
    assert!(
        render("{{ strftime_now('%Q') }}")
            .unwrap_err()
            .contains("%Q")
    );
    assert!(render("{% include '/etc/passwd' %}").is_err());
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    for source in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 'x' * 100000000000 }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    ] {
        let error = render(source).unwrap_err();
        assert!(!error.contains("is not done after"), "{source}: {error}");
    }
}

#[test]
fn a_source_as_deep_as_it_is_long_does_not_overflow_the_stack() {
    for (once, end) in [
        ("1 + ", "1 }}"),
        ("-", "1 }}"),
        ("not ", "1 }}"),
        ("(", "1 }}"),
        ("[", "1 }}"),
        ("{'a':", "1 }}"),
        ("a(", "1 }}"),
        ("a if b else ", "1 }}"),
    ] {
        let source = format!("{{{{ {}{end}", once.repeat(LONGEST / once.len() - 8));
        let _ = render(&source);
    }
    for once in ["{% elif 1 %}b", "{% if 1 %}", "{% for a in b %}"] {
        let source = format!("{{% if 1 %}}a{}", once.repeat(LONGEST / once.len() - 8));
        let _ = render(&format!("{source}{{% endif %}}"));
        let _ = render(&source);
    }
    let error = render(&"a".repeat(LONGEST + 1)).unwrap_err();
    assert!(error.contains("bytes"), "{error}");
}

/// Small to build, endless to print or to compare: 2^60 items.
#[test]
fn a_list_that_holds_itself_many_times_over_is_given_up() {
    let list = "{% set ns = namespace(x=[], y=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
    let error = render(&format!("{list}{{{{ ns.x == ns.y }}}}")).unwrap_err();
    assert!(error.contains("is not done after"), "{error}");
    assert!(render(&format!("{list}{{{{ ns.x | pprint }}}}")).is_err());
    assert!(render(&format!("{list}{{{{ debug() }}}}")).is_err());
}

/// Each level of a list takes stack where it is printed, compared, written as JSON or freed.
#[test]
fn lists_as_deep_as_the_fuel_lasts_do_not_overflow_the_stack() {
    let level = |inner: &str| format!("{}{inner}{}", "[".repeat(60), "]".repeat(60));
    let nest = |times: usize, then: &str| {
        let deep = level("ns.x");
        format!(
            "{{% set ns = namespace(x=[]) %}}{{% for i in range({times}) %}}{{% set ns.x = {deep} %}}{{% endfor %}}{then}"
        )
    };
    for then in [
        "",
        "{{ ns.x }}",
        "{{ ns.x | tojson }}",
        "{{ ns.x == [ns.x] }}",
        "{{ ns.x < [ns.x] }}",
        "{{ ns.x | string }}",
        "{{ ns.x ~ 'a' }}",
        "{{ [ns.x] | unique | list | length }}",
        "{{ ns.x | pprint }}",
        "{{ {ns.x: 1} }}",
        "{{ raise_exception(ns.x) }}",
    ] {
        for times in [1_000, 10_000, 100_000] {
            // Whether it is refused or rendered, the process goes on.
            let _ = render(&nest(times, then));
        }
    }
}

#[test]
fn the_clock_is_off_where_it_must_be() {
    let source = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}-{% endif %}";
    assert!(render(source).unwrap().parse::<u32>().unwrap() > 2025);
    let template = template(source).unwrap();
    assert_eq!(template.render_undated(&[], false).unwrap(), "-");
}

#[test]
fn generation_tags_give_ranges() {
    let source = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{%- generation -%} {{ m.content }}{{ eos_token }}{% endgeneration %}\n{% else %}{{ m.content }}{% endif %}{% endfor %}";
    let template = template(source).unwrap();
    assert!(template.marks_answers());
    let messages = [
        Message::new("user", "q\u{FDD0}"),
        Message::new("assistant", "a"),
        Message::new("user", "r"),
        Message::new("assistant", "bé"),
    ];
    let (text, ranges) = template.render_marked(&messages).unwrap();
    assert_eq!(
        text,
        "<user>q\u{FDD0}<assistant>a</s><user>r<assistant>bé</s>"
    );
    let marked: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
    assert_eq!(marked, ["a</s>", "bé</s>"]);
}
