//! A page in a real browser: connects, comes back after a restart of the server, and shows every event.
//!
//! Needs Chromium (`CHROMIUM` names another program). Where continuous integration runs (`CI`) it must be there; elsewhere
//! a run without it says so. `IRON_TEST_SCREENSHOT` names a file for a picture of the page in the end.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::*;

/// The browser's program, if there is one.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|name| !name.is_empty()) {
        return Some(named.into());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&paths).flat_map(|dir| names.map(|name| dir.join(name))).find(|path| path.is_file())
}

/// A browser with one page, told what to do over its debugging socket.
struct Browser {
    child: Child,
    socket: WebSocketStream<TcpStream>,
    page: String,
    next: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn open(program: &PathBuf, url: &str) -> Self {
        let profile = tempfile::Builder::new().prefix("iron-browser-").tempdir().expect("a directory");
        let child = Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1100,700"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
        let file = profile.path().join("DevToolsActivePort");
        let text = eventually("the browser listens", || async {
            std::fs::read_to_string(&file).ok().filter(|text| text.lines().count() == 2)
        })
        .await;
        let (port, path) = text.split_once('\n').expect("port and path");
        let address = format!("127.0.0.1:{}", port.trim());
        let stream = TcpStream::connect(&address).await.expect("the browser takes connections");
        let (socket, _) = client_async(format!("ws://{address}{}", path.trim()), stream).await.expect("a socket");
        let mut browser = Self { child, socket, page: String::new(), next: 0, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": url})).await;
        let attach = json!({"targetId": target.text("targetId"), "flatten": true});
        browser.page = browser.call("Target.attachToTarget", attach).await.text("sessionId").to_owned();
        browser
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.page.is_empty() {
            message["sessionId"] = self.page.as_str().into();
        }
        self.socket.send(Message::text(message.to_string())).await.expect("sent");
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(30), self.socket.next()).await;
            let answer = answer.expect("the browser answers").expect("the browser runs").expect("a message");
            let Message::Text(text) = answer else { continue };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// What an expression comes to in the page.
    async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    async fn text(&mut self, id: &str) -> String {
        let text = self.evaluate(&format!("document.getElementById('{id}')?.textContent ?? ''")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element's text is as wanted.
    async fn wait(&mut self, id: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let text = self.text(id).await;
            if wanted(&text) {
                return text;
            }
            if tokio::time::Instant::now() > deadline {
                let page = self.evaluate("document.body.innerText").await;
                panic!("{id} is {text:?} for 30 seconds:\n{page}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn screenshot(&mut self) {
        let Some(path) = std::env::var_os("IRON_TEST_SCREENSHOT").filter(|path| !path.is_empty()) else { return };
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        std::fs::write(path, decode(picture.text("data"))).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Base64 as the browser writes it.
fn decode(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits = text.bytes().filter(|byte| *byte != b'=').map(value).collect::<Vec<_>>();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let word = four.iter().enumerate().fold(0_u32, |word, (at, digit)| word | u32::from(*digit) << (18 - 6 * at));
        bytes.extend_from_slice(&word.to_be_bytes()[1..four.len()]);
    }
    bytes
}

#[test]
fn pictures_are_read_as_they_were_written() {
    assert_eq!(decode("aGVsbG8="), b"hello");
    assert_eq!(decode("/+8="), [0xff, 0xef]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_connects_resumes_after_a_restart_and_shows_every_event() {
    let Some(program) = program() else {
        assert!(std::env::var_os("CI").is_none(), "there is no Chromium, and CI must have one");
        eprintln!("\n*** the page is NOT tested here: there is no Chromium (Debian package `chromium`) ***\n");
        return;
    };
    if !Backend::Sqlite.ready() {
        return;
    }
    // The page comes back to where it was
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let world = World::builder(Backend::Sqlite).env("IRON__SERVER__ADDRESS", &free.to_string()).start().await;
    let admin = world.admin().await;
    let agent = world.agent(1_000_000).await;
    let before = super::checker::head(&admin).await;
    let mut browser = Browser::open(&program, &admin.url("/docs/stream")).await;
    browser.wait("state", |text| text == "not connected").await;
    let token = json!(admin.token().expect("logged in"));
    browser.evaluate(&format!("document.getElementById('token').value = {token}")).await;
    browser.evaluate("document.getElementById('connect').click()").await;
    browser.wait("state", |text| text.starts_with("connected")).await;

    let lease = agent.borrow(400_000).await;
    lease.report("call-1", 10).await.expect(200);
    let seen = super::checker::head(&admin).await - before;
    browser.wait("count", |count| count == seen.to_string()).await;
    world.server.stop().await;
    browser.wait("state", |text| text.starts_with("disconnected (1001)")).await;
    world.server.start_again().await;
    // Before the page is back
    lease.report("call-2", 20).await.expect(200);
    browser.wait("connections", |count| count == "2").await;
    lease.give_back(json!({})).await.expect(200);
    let seen = super::checker::head(&admin).await - before;
    browser.wait("count", |count| count == seen.to_string()).await;
    assert_eq!(browser.text("lost").await, "0");
    let shown = browser.text("events").await;
    for name in ["lease_granted", "llm_call", "lease_returned"] {
        assert!(shown.contains(name), "{name} in {shown}");
    }
    let newest = browser.evaluate("document.querySelector('#events td').textContent").await;
    assert_eq!(newest, (before + seen).to_string());
    browser.screenshot().await;
    let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(browser.evaluate(fits).await, true, "the page is no wider than its window");
}
