//! A real browser: Chromium, driven by chromedriver over its HTTP protocol (WebDriver). Where
//! either is missing, a test says that it was left out.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What WebDriver calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
/// How long something may take to be seen.
const WITHIN: Duration = Duration::from_secs(20);

/// A browser with one window; gone when dropped.
pub(crate) struct Browser {
    driver: Child,
    address: String,
    session: String,
    /// Whether pages' scripts run.
    script: bool,
    /// Its profile.
    _folder: tempfile::TempDir,
}

impl Browser {
    /// A browser on a phone's narrow screen; none: there is none on this machine.
    pub(crate) async fn start(script: bool, language: &str) -> Option<Self> {
        let there = |name: &str| {
            let found = Command::new(name).arg("--version").output();
            found.is_ok_and(|output| output.status.success())
        };
        if !there("chromium") || !there("chromedriver") {
            println!("LEFT OUT: chromium and chromedriver are not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let session = String::new();
        let mut browser = Self { driver, address, session, script, _folder: folder };
        browser.session = browser.begin(script, language).await;
        Some(browser)
    }

    async fn begin(&self, script: bool, language: &str) -> String {
        let profile = self._folder.path().to_str().unwrap();
        let mut preferences = json!({ "intl.accept_languages": language });
        if !script {
            preferences["profile.managed_default_content_settings.javascript"] = 2.into();
        }
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--window-size=390,844", format!("--user-data-dir={profile}"),
                     format!("--lang={language}")],
            "prefs": preferences,
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let since = Instant::now();
        loop {
            // It takes a moment until it listens.
            match self.call("POST", "/session", &wanted).await {
                Some(answer) if answer["sessionId"].is_string() => {
                    return answer["sessionId"].as_str().unwrap().to_owned();
                }
                other => assert!(since.elapsed() < WITHIN * 2, "no browser: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One call; none: nobody listens.
    async fn call(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        // chromedriver leaves the connection open whatever it was asked for.
        let mut answer = Vec::new();
        let mut answer: Value = loop {
            let body = tokio::time::timeout(WITHIN * 2, stream.read_buf(&mut answer));
            let read = body.await.unwrap_or_else(|_| panic!("{method} {path}: no answer")).ok()?;
            if let Some(body) = body_of(&answer) {
                break serde_json::from_slice(body).ok()?;
            }
            if read == 0 {
                return None;
            }
        };
        Some(answer["value"].take())
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        let answer = self.call(method, &path, &body).await;
        let answer = answer.unwrap_or_else(|| panic!("{path}: no answer"));
        assert!(answer.get("error").is_none(), "{path} {body}: {answer}");
        answer
    }

    pub(crate) async fn open(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url })).await;
    }

    pub(crate) async fn reload(&self) {
        self.ask("POST", "/refresh", json!({})).await;
    }

    pub(crate) async fn back(&self) {
        self.ask("POST", "/back", json!({})).await;
    }

    pub(crate) async fn url(&self) -> String {
        self.ask("GET", "/url", Value::Null).await.as_str().unwrap().to_owned()
    }

    async fn element(&self, css: &str) -> String {
        let found = self.ask("POST", "/element", by(css)).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    pub(crate) async fn count(&self, css: &str) -> usize {
        self.ask("POST", "/elements", by(css)).await.as_array().unwrap().len()
    }

    pub(crate) async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.ask("POST", &format!("/element/{element}/click"), json!({})).await;
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.ask("POST", &format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Keys, to whatever has the focus.
    pub(crate) async fn press(&self, keys: &str) {
        let focused = self.ask("GET", "/element/active", Value::Null).await;
        let element = focused[ELEMENT].as_str().unwrap();
        self.ask("POST", &format!("/element/{element}/value"), json!({ "text": keys })).await;
    }

    /// Goes on with the tabulator until this has the focus, and is seen to have it.
    pub(crate) async fn tab_to(&self, css: &str) {
        let there = format!(
            "const e = document.activeElement; return e.matches({}) && e.matches(':focus-visible')",
            json!(css)
        );
        for _ in 0..40 {
            self.press(TAB).await;
            if self.run(&there).await == json!(true) {
                return;
            }
        }
        panic!("the tabulator never comes to {css}");
    }

    /// Chooses an option of a list by its value, as a person does.
    pub(crate) async fn choose(&self, name: &str, value: &str) {
        self.click(&format!("select[name={name}] option[value='{value}']")).await;
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        let element = self.element(css).await;
        let path = format!("/element/{element}/text");
        self.ask("GET", &path, Value::Null).await.as_str().unwrap().to_owned()
    }

    pub(crate) async fn value(&self, css: &str) -> String {
        let element = self.element(css).await;
        let path = format!("/element/{element}/property/value");
        self.ask("GET", &path, Value::Null).await.as_str().unwrap().to_owned()
    }

    /// The text of an element; none: it is not there, or was taken away meanwhile.
    async fn text_now(&self, css: &str) -> Option<String> {
        let path = format!("/session/{}/element", self.session);
        let found = self.call("POST", &path, &by(css)).await?;
        let path = format!("{path}/{}/text", found[ELEMENT].as_str()?);
        Some(self.call("GET", &path, &Value::Null).await?.as_str()?.to_owned())
    }

    /// Waits until the page shows this.
    pub(crate) async fn until(&self, css: &str, text: &str) {
        let since = Instant::now();
        loop {
            let shown = self.text_now(css).await.unwrap_or_default();
            if shown.contains(text) {
                return;
            }
            assert!(
                since.elapsed() < WITHIN * 2,
                "{css} shows `{shown}`, not `{text}`; the page: {}",
                self.text("body").await
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Shows the page as paper would have it, to somebody who otherwise likes it dark.
    pub(crate) async fn as_printed(&self) {
        let dark = json!({ "name": "prefers-color-scheme", "value": "dark" });
        let printed = json!({ "media": "print", "features": [dark] });
        self.devtools("Emulation.setEmulatedMedia", printed).await;
    }

    /// The page as PDF, as it comes out of a printer.
    pub(crate) async fn printed(&self) -> Vec<u8> {
        let pdf = self.ask("POST", "/print", json!({ "background": true })).await;
        base64(pdf.as_str().unwrap())
    }

    /// A command of the browser's own protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) {
        let call = json!({ "cmd": command, "params": parameters });
        self.ask("POST", "/goog/cdp/execute", call).await;
    }

    pub(crate) async fn offline(&self, offline: bool) {
        let network =
            json!({ "offline": offline, "latency": 0, "throughput": if offline { 0 } else { -1 } });
        self.ask("POST", "/chromium/network_conditions", json!({ "network_conditions": network }))
            .await;
    }

    /// What the browser complains of: broken policies and scripts.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().into_iter().flatten();
        let said = lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned());
        // A refused connection or a status is what a test brings about.
        said.filter(|line| !line.contains("Failed to load resource") && !line.contains("net::ERR"))
            .collect()
    }

    /// A state that people see: anybody can use it, by day and by night, and its picture goes into
    /// the folder that GILIRAN_SCREENSHOTS names.
    pub(crate) async fn state(&self, name: &str) {
        for scheme in ["dark", "light"] {
            let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
            self.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
            // It is a script itself.
            let barriers = if self.script { self.barriers().await } else { Vec::new() };
            assert!(barriers.is_empty(), "{name}, {scheme}: {barriers:#?}");
        }
        let Ok(folder) = std::env::var("GILIRAN_SCREENSHOTS") else { return };
        let picture = self.ask("GET", "/screenshot", Value::Null).await;
        let decoded = base64(picture.as_str().unwrap());
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), decoded).unwrap();
    }

    /// What axe-core finds against WCAG 2.2, levels A and AA, and its own good practice.
    pub(crate) async fn barriers(&self) -> Vec<String> {
        let Ok(axe) = std::env::var("GILIRAN_AXE") else {
            println!("LEFT OUT: axe-core is not there; `cargo xtask test` installs it");
            return Vec::new();
        };
        // A page keeps it from one look to the next.
        if self.run("return typeof axe").await == json!("undefined") {
            let axe = std::fs::read_to_string(axe).unwrap();
            self.run(&axe).await;
        }
        let look = "const done = arguments[arguments.length - 1]; axe.run().then(found => done(\
                    found.violations.map(v => v.id + ': ' + v.help + ' ' + \
                    v.nodes.map(n => n.html + ' ' + n.failureSummary).join('; '))), \
                    error => done([String(error)]))";
        let found = self.ask("POST", "/execute/async", json!({ "script": look, "args": [] })).await;
        let found = found.as_array().unwrap_or_else(|| panic!("axe-core did not run: {found}"));
        found.iter().map(|barrier| barrier.as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with itself, where it is asked to.
        let path = format!("/session/{}", self.session);
        let request = format!(
            "DELETE {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        if let Ok(mut stream) = std::net::TcpStream::connect(&self.address) {
            use std::io::{Read as _, Write as _};
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn by(css: &str) -> Value {
    json!({ "using": "css selector", "value": css })
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(digit).collect();
    let four = |four: &[u8]| {
        let bits = four.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(four).collect()
}

/// The body of an HTTP answer; none: it is not all there.
fn body_of(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    answer[end + 4..].get(..length.trim().parse().ok()?)
}
