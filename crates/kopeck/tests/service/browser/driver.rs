//! Chromium, driven by chromedriver: one process of each a test, ended with it.
//!
//! Never: a test that passes because there is no browser. Where Chromium or its driver is missing,
//! starting fails, and says what to install.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fantoccini::actions::{InputSource, MouseActions, PointerAction};
use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use url::{ParseError, Url};

const NAVIGATION_CHECKS_MAX: u32 = 400;
const NAVIGATION_CHECK_EVERY: Duration = Duration::from_millis(25);

/// What the pages are looked at with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    Desktop,
    Phone,
    /// Of somebody who reads letters of twice the size.
    PhoneOfLargeLetters,
}

impl Device {
    /// The width of the page in CSS pixels.
    pub(super) fn width(self) -> i64 {
        match self {
            Self::Desktop => 1280,
            Self::Phone | Self::PhoneOfLargeLetters => 390,
        }
    }
}

/// chromedriver's process. Its browser is in the same process group and ends with it.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// It takes a free port for one family of addresses and the same for the other, which another test may
    /// have taken: then it ends, and is started again.
    fn start() -> Self {
        (0..5).find_map(|_| Self::try_start()).expect("chromedriver says on which port it listens")
    }

    fn try_start() -> Option<Self> {
        let name = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let mut process = Command::new(&name)
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "`{name}` does not start: {error}. The pages are tested in Chromium: run \
                     ./test, which installs it, or install chromium and chromium-driver"
                )
            });
        let stdout = process.stdout.take().unwrap();
        let mut driver = Self { process, port: 0 };
        let mut lines = BufReader::new(stdout).lines();
        driver.port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        })?;
        // Read on, so that it never waits for somebody to read.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        // The shell's own `kill`: a bare Debian has no program of that name.
        drop(Command::new("sh").args(["-c", "kill -KILL \"$1\"", "sh", &group]).status());
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A command of chromedriver that is not in the WebDriver standard.
#[derive(Debug)]
struct ChromeCommand {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for ChromeCommand {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// A browser window on the service under test, fresh: no cookie, no history.
pub(super) struct Browser {
    pub(super) client: Client,
    pub(super) device: Device,
    base: String,
    screenshots: Option<(PathBuf, String)>,
    _driver: Driver,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser that asks for pages in `language`. `base` is the service's address, without
    /// a slash at the end.
    pub(super) async fn start(base: &str, device: Device, language: &str) -> Self {
        let driver = Driver::start();
        let profile = tempfile::tempdir().unwrap();
        let mut capabilities = serde_json::Map::new();
        let options = chrome_options(device, language, profile.path().to_str().unwrap());
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let logs = json!({"browser": "ALL", "performance": "ALL"});
        capabilities.insert("goog:loggingPrefs".to_owned(), logs);
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let client = ClientBuilder::new(connector)
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .expect("Chromium starts; ./test installs it where it is missing");
        let screenshots = std::env::var_os("SCREENSHOTS").map(|folder| {
            let folder = PathBuf::from(folder);
            std::fs::create_dir_all(&folder).unwrap();
            (folder, format!("{}-{language}", device.width()))
        });
        let base = base.to_owned();
        let browser =
            Self { client, device, base, screenshots, _driver: driver, _profile: profile };
        // What a fresh browser does before it is told anything is not the pages' doing.
        browser.forget_logs().await;
        browser
    }

    /// Goes to a path of the service.
    pub(super) async fn open(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    /// The only element that a CSS selector finds.
    pub(super) async fn find(&self, selector: &str) -> Element {
        self.client
            .wait()
            .for_element(Locator::Css(selector))
            .await
            .unwrap_or_else(|error| panic!("no `{selector}` on the page: {error}"))
    }

    /// Whether the page has such an element.
    pub(super) async fn has(&self, selector: &str) -> bool {
        !self.client.find_all(Locator::Css(selector)).await.unwrap().is_empty()
    }

    /// The text that is shown in an element.
    pub(super) async fn text(&self, selector: &str) -> String {
        self.find(selector).await.text().await.unwrap()
    }

    /// What stands in an input field.
    pub(super) async fn value(&self, selector: &str) -> String {
        self.find(selector).await.prop("value").await.unwrap().unwrap_or_default()
    }

    /// Replaces what stands in a field.
    pub(super) async fn fill(&self, selector: &str, text: &str) {
        let field = self.find(selector).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Clicks, and waits for the page that this leads to.
    pub(super) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.leave(element.click()).await;
    }

    /// Presses the key Enter in a field, and waits for the page that this leads to.
    pub(super) async fn press_enter(&self, selector: &str) {
        let element = self.find(selector).await;
        self.leave(element.send_keys("\u{e007}")).await;
    }

    /// Does something that leads to another page, and waits until that is there: the driver alone
    /// does not, when the page is left a moment after the tap of a finger.
    async fn leave(&self, action: impl Future<Output = Result<(), CmdError>>) {
        self.client.execute("window.isLeft = true", vec![]).await.unwrap();
        action.await.unwrap();
        let arrived = "return !window.isLeft && document.readyState === 'complete'";
        for _ in 0..NAVIGATION_CHECKS_MAX {
            // Between two pages there is nothing that could answer.
            if matches!(self.client.execute(arrived, vec![]).await, Ok(Value::Bool(true))) {
                return;
            }
            tokio::time::sleep(NAVIGATION_CHECK_EVERY).await;
        }
        panic!("this led to no other page");
    }

    /// Clicks twice at once, as an impatient person does.
    pub(super) async fn double_click(&self, selector: &str) {
        let element = self.find(selector).await;
        let press = PointerAction::Down { button: fantoccini::actions::MOUSE_BUTTON_LEFT };
        let release = PointerAction::Up { button: fantoccini::actions::MOUSE_BUTTON_LEFT };
        let clicks = MouseActions::new("mouse".to_owned())
            .then(PointerAction::MoveToElement { element, duration: None, x: 0.0, y: 0.0 })
            .then(press.clone())
            .then(release.clone())
            .then(press)
            .then(release);
        self.client.perform_actions(clicks).await.unwrap();
    }

    /// Looks the page over: nothing is wider than the window, the console is quiet, nothing came
    /// from another host. Takes its picture, where pictures are wanted.
    pub(super) async fn inspect(&self, name: &str) {
        self.inspect_with_status(name, 200).await;
    }

    /// The same for a page that came with an error status, which the console may mention.
    pub(super) async fn inspect_with_status(&self, name: &str, status: u16) {
        let width = self.client.execute("return document.documentElement.scrollWidth", vec![]);
        let width = width.await.unwrap().as_i64().unwrap();
        assert!(width <= self.device.width(), "{name} is {width} px wide: it scrolls sideways");
        self.check_console(name, status).await;
        self.check_requests(name).await;
        if let Some((folder, variant)) = &self.screenshots {
            let picture = self.picture().await;
            std::fs::write(folder.join(format!("{name}-{variant}.png")), picture).unwrap();
        }
    }

    async fn check_console(&self, name: &str, status: u16) {
        let mentioned = format!("status of {status}");
        for entry in self.log("browser").await {
            let message = entry["message"].as_str().unwrap_or_default();
            let expected = entry["source"] == "network" && message.contains(&mentioned);
            assert!(expected, "the console on {name} says: {entry}");
        }
    }

    async fn check_requests(&self, name: &str) {
        let requests = self.requests().await;
        for (_, address) in &requests {
            // The rest stays in the browser: `data:` in a style, `chrome:` of its first tab.
            let goes_out = address.starts_with("http") || address.starts_with("ws");
            let ours = address.starts_with(&format!("{}/", self.base));
            assert!(ours || !goes_out, "{name} asked another host: {address}");
        }
    }

    /// The method and address of every request since the last time.
    pub(super) async fn requests(&self) -> Vec<(String, String)> {
        let log = self.log("performance").await;
        log.iter()
            .filter_map(|entry| {
                let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
                let event = &event["message"];
                let text = |value: &Value| value.as_str().map(str::to_owned);
                if event["method"] == "Network.webSocketCreated" {
                    return Some(("GET".to_owned(), text(&event["params"]["url"])?));
                }
                let request = &event["params"]["request"];
                (event["method"] == "Network.requestWillBeSent")
                    .then_some((text(&request["method"])?, text(&request["url"])?))
            })
            .collect()
    }

    /// Drops what was logged so far.
    pub(super) async fn forget_logs(&self) {
        drop(self.log("browser").await);
        drop(self.log("performance").await);
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("se/log", json!({"type": kind})).await;
        entries.as_array().expect("a log is a list").clone()
    }

    async fn command(&self, path: &'static str, body: Value) -> Value {
        self.client.issue_cmd(ChromeCommand { path, body }).await.unwrap()
    }

    /// Makes the window as wide as this, in CSS pixels.
    pub(super) async fn set_width(&self, width: i64) {
        let params =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        let body = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params});
        self.command("goog/cdp/execute", body).await;
    }

    /// The whole page as PNG, below the window's edge too.
    async fn picture(&self) -> Vec<u8> {
        let size = "const page = document.documentElement; \
                    return Math.max(page.scrollHeight, window.innerHeight)";
        let height = self.client.execute(size, vec![]).await.unwrap();
        let clip =
            json!({"x": 0, "y": 0, "width": self.device.width(), "height": height, "scale": 1});
        let params = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let body = json!({"cmd": "Page.captureScreenshot", "params": params});
        let answer = self.command("goog/cdp/execute", body).await;
        BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// Ends the browser in good order.
    pub(super) async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

fn chrome_options(device: Device, language: &str, profile: &str) -> Value {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--window-size=1280,900",
        &format!("--accept-lang={language}"),
        &format!("--user-data-dir={profile}"),
    ];
    let mut options = json!({"args": arguments});
    if device == Device::PhoneOfLargeLetters {
        options["prefs"] = json!({"webkit.webprefs.default_font_size": 32});
    }
    if device != Device::Desktop {
        let metrics = json!({
            "width": device.width(), "height": 844, "pixelRatio": 2.0, "mobile": true, "touch": true
        });
        options["mobileEmulation"] = json!({"deviceMetrics": metrics});
    }
    if let Ok(binary) = std::env::var("CHROMIUM") {
        options["binary"] = binary.into();
    }
    options
}
