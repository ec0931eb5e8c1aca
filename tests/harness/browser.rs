//! A real browser without a window, driven by the DevTools protocol through two pipes.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::{Command, LONG};

/// Chromium takes requests from descriptor 3, and answers on descriptor 4. It ends when the first one is closed.
const START: &str = "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null";

/// It has no network, no other pages than a test's, and no sandbox, which root cannot have.
const FLAGS: [&str; 11] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
];

/// A browser with one page.
pub(crate) struct Browser {
    chromium: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    requests_sent: u64,
    session: Option<String>,
    /// What happened since a page was opened.
    events: Vec<Value>,
    /// Its profile, and what it writes on standard error.
    folder: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let arguments = [&["-c", START, "sh", &profile], FLAGS.as_slice()].concat();
        let shell =
            Command::of(PathBuf::from("sh"), &arguments).env("XDG_CONFIG_HOME", folder.path().to_str().unwrap());
        let mut shell = tokio::process::Command::from(shell.into_std());
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        shell.stderr(std::fs::File::create(folder.path().join("stderr")).unwrap());
        let mut chromium = shell.spawn().unwrap();
        let (requests, replies) = (chromium.stdin.take().unwrap(), BufReader::new(chromium.stdout.take().unwrap()));
        let mut browser =
            Self { chromium, requests, replies, requests_sent: 0, session: None, events: Vec::new(), folder };
        browser.open_tab().await;
        browser
    }

    async fn open_tab(&mut self) {
        let tab = self.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", attach).await;
        self.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({})).await;
        }
    }

    /// Opens a page, and returns when it has loaded all that it shows.
    pub(crate) async fn open(&mut self, url: &str) {
        self.events.clear();
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        while self.events_of("Page.loadEventFired").next().is_none() {
            let event = self.receive().await;
            self.events.push(event);
        }
    }

    /// The value of an expression in JavaScript, or what its promise becomes.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let expression = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", expression).await;
        assert!(result.get("exceptionDetails").is_none(), "{result}");
        result["result"]["value"].take()
    }

    /// Writes into the field that has the focus.
    pub(crate) async fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Sets the size of the window. A narrow one is a phone's.
    pub(crate) async fn resize(&mut self, (width, height): (u32, u32)) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets whether the person prefers "light" or "dark".
    pub(crate) async fn prefer(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Writes a picture of what the window shows.
    pub(crate) async fn screenshot(&mut self, file: &Path) {
        let shot = self.call("Page.captureScreenshot", json!({})).await;
        let png = base64::prelude::BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, png).unwrap();
    }

    /// The errors of the page since it was opened, and the resources that did not come.
    pub(crate) fn errors(&self) -> Vec<&Value> {
        let failed = self.events_of("Network.loadingFailed").chain(self.events_of("Runtime.exceptionThrown"));
        let logged = self.events_of("Log.entryAdded").filter(|entry| entry["entry"]["level"] == "error");
        let bad = |call: &&Value| call["type"] == "error" || call["type"] == "assert";
        failed.chain(logged).chain(self.events_of("Runtime.consoleAPICalled").filter(bad)).collect()
    }

    /// What the page loaded since it was opened.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &str> {
        self.events_of("Network.requestWillBeSent").filter_map(|event| event["request"]["url"].as_str())
    }

    /// Ends the browser with all of its processes.
    pub(crate) async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        timeout(LONG, self.chromium.wait()).await.expect("the browser ends").unwrap();
    }

    fn events_of(&self, method: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["method"] == method).map(|event| &event["params"])
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.requests_sent += 1;
        let mut request = json!({ "id": self.requests_sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        // Without a browser, the reply says why.
        _ = self.requests.write_all(format!("{request}\0").as_bytes()).await;
        loop {
            let mut message = self.receive().await;
            if message["id"] == self.requests_sent {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    async fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        let read = timeout(LONG, self.replies.read_until(0, &mut message)).await.expect("the browser answers");
        if message.pop() != Some(0) {
            let stderr = std::fs::read_to_string(self.folder.path().join("stderr")).unwrap();
            panic!("Chromium does not run ({read:?}); tests/setup installs it if it is missing. It said:\n{stderr}");
        }
        serde_json::from_slice(&message).unwrap()
    }
}
