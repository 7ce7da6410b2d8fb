//! A headless Chromium, driven through the DevTools protocol over a pipe: no port, no driver program.
//!
//! `--remote-debugging-pipe` reads commands from descriptor 3 and answers on 4, JSON texts that end
//! with a zero byte. The shell lays our pipes there.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub struct Browser {
    process: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<Value>,
    session: Option<String>,
    next_id: u64,
    /// Events that came while waiting for answers.
    pub events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// The Chromium of this machine: `$CHROMIUM`, or the first of the usual names on the path.
pub fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let places = names
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    places.into_iter().find(|place| place.is_file())
}

impl Browser {
    /// Starts the browser with an empty page.
    pub fn start(program: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("sh")
            .arg("-c")
            .arg("exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1")
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("--remote-debugging-pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take();
        let output = process.stdout.take().unwrap();
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut text = Vec::new();
            while output.read_until(0, &mut text).is_ok_and(|n| n > 0) {
                text.pop();
                if let Ok(value) = serde_json::from_slice(&text)
                    && send.send(value).is_err()
                {
                    return;
                }
                text.clear();
            }
        });
        let mut browser = Self {
            process,
            commands,
            answers,
            session: None,
            next_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sends a command and returns its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let mut message = json!({"id": self.next_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        let commands = self.commands.as_mut().unwrap();
        commands.write_all(&text).unwrap();
        commands.flush().unwrap();
        loop {
            let answer = self.answer(method);
            if answer["id"] == json!(self.next_id) {
                assert!(
                    answer.get("error").is_none(),
                    "{method}: {}",
                    answer["error"]
                );
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn answer(&mut self, waiting_for: &str) -> Value {
        let answer = self.answers.recv_timeout(PATIENCE);
        answer.unwrap_or_else(|error| panic!("Chromium does not answer {waiting_for}: {error}"))
    }

    /// Opens a file at a size, and waits until it is loaded.
    pub fn open(&mut self, file: &Path, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.events.clear();
        let url = format!("file://{}", file.display());
        self.call("Page.navigate", json!({"url": url}));
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(loaded) {
            let event = self.answer("Page.navigate");
            self.events.push(event);
        }
    }

    /// The value of a JavaScript expression.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let result = self.call("Runtime.evaluate", params);
        assert!(
            result.get("exceptionDetails").is_none(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].clone()
    }

    /// Middle of the first element that matches a selector, after scrolling to it.
    pub fn middle(&mut self, selector: &str) -> (f64, f64) {
        let code = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center', inline: 'center'}}); const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; }})()"
        );
        let value = self.eval(&code);
        (value[0].as_f64().unwrap(), value[1].as_f64().unwrap())
    }

    /// A mouse event: `mouseMoved`, `mousePressed` or `mouseReleased`.
    pub fn mouse(&mut self, kind: &str, (x, y): (f64, f64), clicks: u32) {
        let button = if kind == "mouseMoved" && clicks == 0 {
            "none"
        } else {
            "left"
        };
        let params = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": clicks, "pointerType": "mouse"});
        self.call("Input.dispatchMouseEvent", params);
    }

    /// A click in the middle of an element.
    pub fn click(&mut self, selector: &str) {
        let at = self.middle(selector);
        self.mouse("mousePressed", at, 1);
        self.mouse("mouseReleased", at, 1);
    }

    /// `light` or `dark`.
    pub fn scheme(&mut self, scheme: &str) {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": feature}));
    }

    /// The whole page as PNG, in base64.
    pub fn screenshot(&mut self) -> String {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let result = self.call("Page.captureScreenshot", params);
        result["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A closed pipe ends the browser; the kill is for one that hangs.
        self.commands.take();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
