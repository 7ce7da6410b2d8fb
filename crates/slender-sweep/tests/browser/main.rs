//! The report in headless Chromium: what it shows, sorting, pointing, zoom, dark mode, a phone, paper.
//!
//! Without Chromium the tests say so and pass; with `SLENDER_REQUIRE_CHROMIUM=1` they fail instead.
//! With `SLENDER_SCREENSHOTS=DIR` they leave pictures of the page there.

mod devtools;
mod fixture;

use devtools::{Browser, chromium};
use std::path::PathBuf;

/// A browser and a report, or a printed reason.
fn bench() -> Option<(Browser, PathBuf, tempfile::TempDir)> {
    let Some(program) = chromium() else {
        assert!(
            std::env::var_os("SLENDER_REQUIRE_CHROMIUM").is_none(),
            "there is no Chromium"
        );
        eprintln!("skipped: there is no Chromium on the path, and $CHROMIUM is not set");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let page = fixture::report(folder.path());
    Some((Browser::start(&program), page, folder))
}

/// Names of the first column of the table of variants, as shown.
const NAMES: &str =
    "[...document.querySelectorAll('#variants tbody')].map(b => b.rows[0].cells[0].textContent)";

fn names(browser: &mut Browser) -> Vec<String> {
    let value = browser.eval(NAMES);
    let names = value.as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

fn keep(browser: &mut Browser, name: &str) {
    if let Some(dir) = std::env::var_os("SLENDER_SCREENSHOTS") {
        let data = browser.screenshot();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(PathBuf::from(dir).join(format!("{name}.base64")), data).unwrap();
    }
}

#[test]
fn the_page_shows_everything_and_asks_for_nothing() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    browser.open(&page, 1280, 900);
    for id in [
        "depth",
        "variants",
        "differences",
        "loss",
        "pareto",
        "tasks",
        "scores",
        "settings",
        "cost",
    ] {
        let height = browser.eval(&format!(
            "document.getElementById('{id}')?.getBoundingClientRect().height ?? 0"
        ));
        assert!(
            height.as_f64().unwrap() > 80.0,
            "{id} is {height} pixels high"
        );
    }
    let verdict = browser.eval("document.querySelector('.verdict').innerText");
    let verdict = verdict.as_str().unwrap();
    assert!(verdict.contains("tiny-2x96"), "{verdict}");
    assert!(verdict.contains("worse, beyond the noise"), "{verdict}");
    // Every line is drawn inside its picture, and every picture has a name.
    let curves = browser.eval("document.querySelectorAll('#loss polyline.line').length");
    assert_eq!(curves, 24);
    let unnamed = browser.eval("document.querySelectorAll('svg.panel:not([aria-label])').length");
    assert_eq!(unnamed, 0);
    // Only the large tables of tasks and settings may be wider than their boxes.
    for id in ["variants", "differences", "cost"] {
        let over = browser.eval(&format!("(() => {{ const s = document.querySelector('#{id} .scroll'); return s.scrollWidth - s.clientWidth; }})()"));
        assert_eq!(over, 0, "{id} scrolls at 1280 pixels");
    }
    let asked: Vec<String> = browser
        .events
        .iter()
        .filter(|event| event["method"] == "Network.requestWillBeSent")
        .map(|event| event["params"]["request"]["url"].to_string())
        .collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let broken = |event: &&serde_json::Value| event["method"] == "Runtime.exceptionThrown";
    assert_eq!(browser.events.iter().find(broken), None);
    keep(&mut browser, "desktop-light");
}

#[test]
fn a_click_on_a_head_sorts_and_another_turns_the_order() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    browser.open(&page, 1280, 900);
    let before = names(&mut browser);
    assert_eq!(
        before,
        ["tiny-2x96", "tiny-4x64", "tiny-8x48", "tiny-16x32"]
    );
    let head = "#variants thead th:nth-child(6) button";
    browser.click(head);
    let by_loss = names(&mut browser);
    assert_eq!(by_loss.last().unwrap(), "tiny-2x96");
    assert_ne!(by_loss, before);
    browser.click(head);
    let mut turned = names(&mut browser);
    assert_eq!(turned[0], "tiny-2x96");
    turned.reverse();
    assert_eq!(turned, by_loss);
    let sort = browser.eval(
        "document.querySelector('#variants thead th:nth-child(6)').getAttribute('aria-sort')",
    );
    assert_eq!(sort, "descending");
    // A variant's runs moved with it.
    let runs = browser.eval("document.querySelector('#variants tbody').innerText");
    assert!(runs.as_str().unwrap().contains("tiny-2x96-s2"));
    // The sum stays below.
    browser.click("#cost thead th:nth-child(5) button");
    let last = browser.eval("document.querySelector('#cost table').rows[document.querySelector('#cost table').rows.length - 1].cells[0].textContent");
    assert_eq!(last, "all 12 runs");
}

#[test]
fn runs_can_be_hidden_without_a_script() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        serde_json::json!({"value": true}),
    );
    browser.open(&page, 1280, 900);
    let shown =
        "[...document.querySelectorAll('#variants tr.run')].filter(r => r.offsetHeight > 0).length";
    assert_eq!(browser.eval(shown), 12);
    assert_eq!(
        browser.eval("document.querySelectorAll('svg.panel').length > 5"),
        true
    );
    assert_eq!(
        browser.eval("document.querySelector('#tip')"),
        serde_json::Value::Null
    );
    browser.click(".show-runs");
    assert_eq!(browser.eval(shown), 0);
}

#[test]
fn pointing_singles_out_a_variant_and_reads_a_value() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    browser.open(&page, 1280, 900);
    let at = browser.middle("#variants tbody[data-run='tiny-8x48'] td");
    browser.mouse("mouseMoved", at, 0);
    let lit =
        browser.eval("[...document.querySelectorAll('#loss .series.on')].map(s => s.dataset.run)");
    let lit = lit.as_array().unwrap();
    assert!(
        lit.len() >= 6 && lit.iter().all(|run| run == "tiny-8x48"),
        "{lit:?}"
    );
    browser.eval("document.getAnimations().forEach((a) => a.finish())");
    let dim =
        browser.eval("getComputedStyle(document.querySelector('#loss .series:not(.on)')).opacity");
    assert_ne!(dim, "1");
    let at = browser.middle("#depth .mark[data-run='tiny-4x64'] .dot");
    browser.mouse("mouseMoved", at, 0);
    let tip = browser.eval("document.querySelector('#tip').innerText");
    assert!(tip.as_str().unwrap().starts_with("tiny-4x64: "), "{tip}");
    // On a curve: the end of a line of the first picture.
    let end = browser.eval(
        "(() => { const svg = document.querySelector('#loss svg'); svg.scrollIntoView({block: 'center'}); const b = svg.getBoundingClientRect(); const s = b.width / svg.viewBox.baseVal.width; const [x, y] = svg.querySelector('polyline.line').getAttribute('points').split(' ').at(-2).split(',').map(Number); return [b.left + x * s, b.top + y * s]; })()",
    );
    browser.mouse(
        "mouseMoved",
        (end[0].as_f64().unwrap(), end[1].as_f64().unwrap()),
        0,
    );
    let tip = browser.eval(
        "document.querySelector('#tip').hidden ? '' : document.querySelector('#tip').innerText",
    );
    let tip = tip.as_str().unwrap();
    assert!(
        tip.starts_with("tiny-2x96-s0: ") && tip.ends_with(" tokens"),
        "{tip}"
    );
}

#[test]
fn dragging_zooms_into_a_curve_and_a_double_click_goes_back() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    browser.open(&page, 1280, 900);
    let points = "document.querySelector('#loss polyline.line').getAttribute('points')";
    let ticks = "[...document.querySelectorAll('#loss svg:first-of-type .axes .tick')].map(t => t.textContent).join(' ')";
    let (whole, whole_ticks) = (browser.eval(points), browser.eval(ticks));
    let (x, y) = browser.middle("#loss svg");
    browser.mouse("mouseMoved", (x, y), 0);
    browser.mouse("mousePressed", (x, y), 1);
    browser.mouse("mouseMoved", (x + 60.0, y), 1);
    let box_width =
        browser.eval("Number(document.querySelector('#loss .zoombox').getAttribute('width'))");
    assert!(box_width.as_f64().unwrap() > 20.0);
    browser.mouse("mouseReleased", (x + 60.0, y), 1);
    assert_eq!(
        browser.eval("document.querySelector('#loss svg').classList.contains('zoomed')"),
        true
    );
    assert_ne!(browser.eval(points), whole);
    assert_ne!(browser.eval(ticks), whole_ticks);
    assert!(!browser.eval(points).as_str().unwrap().contains("NaN"));
    keep(&mut browser, "zoomed");
    for clicks in [1, 2] {
        browser.mouse("mousePressed", (x, y), clicks);
        browser.mouse("mouseReleased", (x, y), clicks);
    }
    assert_eq!(browser.eval(ticks), whole_ticks);
    assert_eq!(browser.eval(points), whole);
    // The buttons do the same.
    browser.click("#loss .zoom button[aria-label='Zoom in']");
    assert_ne!(browser.eval(points), whole);
    browser.click("#loss .zoom button[aria-label='Show all']");
    assert_eq!(browser.eval(points), whole);
}

#[test]
fn the_dark_page_is_dark_and_can_be_read() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    // Contrast of text and ground, as WCAG defines it.
    let contrast = "(() => { const lum = (c) => { const [r, g, b] = c.match(/\\d+/g).map(Number).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; }; const ground = lum(getComputedStyle(document.body).backgroundColor); const of = (s) => { const e = document.querySelector(s); const c = getComputedStyle(e); const l = lum(e instanceof SVGElement ? c.fill : c.color); return (Math.max(l, ground) + 0.05) / (Math.min(l, ground) + 0.05); }; return [ground, ...['h1', '.lede', '.badge', 'td', '.e', 'tr.run td', 'td.worse', 'td.noise', 'svg .title', 'svg .tick', 'figcaption', 'footer li'].map(of)]; })()";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        browser.open(&page, 1280, 900);
        let values = browser.eval(contrast);
        let values: Vec<f64> = values
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        assert!(
            values[1..].iter().all(|c| *c >= 4.5),
            "{scheme}: {values:?}"
        );
        grounds.push(values[0]);
        keep(&mut browser, &format!("desktop-{scheme}"));
    }
    assert!(grounds[0] > 0.9 && grounds[1] < 0.05, "{grounds:?}");
}

#[test]
fn a_phone_never_scrolls_sideways() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    for (width, scheme) in [(390, "light"), (320, "light"), (390, "dark")] {
        browser.scheme(scheme);
        browser.open(&page, width, 844);
        let wide = browser.eval("document.documentElement.scrollWidth");
        assert_eq!(wide, width, "the page is wider than the phone");
        let boxed = browser.eval("(() => { const s = document.querySelector('#scores .scroll'); return s.scrollWidth > s.clientWidth && s.getBoundingClientRect().right <= innerWidth; })()");
        assert_eq!(boxed, true, "wide tables scroll in their own box");
        let small = browser.eval("(() => { const t = document.querySelector('#loss svg .tick').getBoundingClientRect(); return t.height; })()");
        assert!(
            small.as_f64().unwrap() >= 9.0,
            "ticks are {small} pixels high"
        );
        keep(&mut browser, &format!("phone-{width}-{scheme}"));
    }
}

/// Names and axes of the pictures of quality against cost, and the points they must not cover.
#[test]
fn the_words_of_the_pictures_are_whole_and_beside_their_points() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    for (width, scheme) in [
        (1280, "light"),
        (1280, "dark"),
        (390, "light"),
        (390, "dark"),
    ] {
        browser.scheme(scheme);
        browser.open(&page, width, 844);
        let cut = browser.eval("[...document.querySelectorAll('#pareto svg.panel')].flatMap((svg) => { const b = svg.getBoundingClientRect(); return [...svg.querySelectorAll('text')].filter((t) => { const r = t.getBoundingClientRect(); return r.left < b.left - 1 || r.right > Math.min(b.right + 1, innerWidth); }).map((t) => t.textContent); })");
        assert_eq!(cut, serde_json::json!([]), "cut off at {width}");
        let covered = browser.eval("[...document.querySelectorAll('#pareto svg.panel, #depth svg.panel')].flatMap((svg) => { const dots = [...svg.querySelectorAll('.dot')].map((d) => d.getBoundingClientRect()); return [...svg.querySelectorAll('text.label')].filter((t) => { const r = t.getBoundingClientRect(); const inset = r.height * 0.2; return dots.some((d) => d.left < r.right - 1 && r.left + 1 < d.right && d.top < r.bottom - inset && r.top + inset < d.bottom); }).map((t) => t.textContent); })");
        assert_eq!(
            covered,
            serde_json::json!([]),
            "names cover points at {width}"
        );
        let panels = browser.eval("document.querySelectorAll('#pareto svg.panel').length");
        assert_eq!(panels, 4);
        let caption = browser.eval("document.querySelector('#pareto figcaption').innerText");
        assert!(
            caption.as_str().unwrap().contains("Processor(TM) 9999X"),
            "{caption}"
        );
        browser.eval("document.querySelector('#pareto').scrollIntoView()");
        keep(&mut browser, &format!("pareto-{width}-{scheme}"));
    }
}

#[test]
fn paper_gets_no_buttons_and_whole_tables() {
    let Some((mut browser, page, _folder)) = bench() else {
        return;
    };
    browser.open(&page, 1280, 900);
    browser.call(
        "Emulation.setEmulatedMedia",
        serde_json::json!({"media": "print"}),
    );
    let hidden = browser.eval("getComputedStyle(document.querySelector('.zoom')).display");
    assert_eq!(hidden, "none");
    let overflow = browser.eval("getComputedStyle(document.querySelector('.scroll')).overflowX");
    assert_eq!(overflow, "visible");
}
