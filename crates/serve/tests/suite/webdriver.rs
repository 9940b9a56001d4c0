//! The few WebDriver commands (W3C, 2018) that the tests of the page need, spoken to chromedriver.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The Enter key, as WebDriver writes it.
pub const ENTER: &str = "\u{e007}";

/// The name under which WebDriver hides an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

const PATIENCE: Duration = Duration::from_secs(20);

/// A Chromium with its chromedriver; both end with it.
pub struct Browser {
    driver: Child,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
}

pub struct Element<'b> {
    browser: &'b Browser,
    id: String,
}

impl Browser {
    /// Opens a page in a window of this size.
    ///
    /// # Errors
    /// Why there is no browser on this machine.
    pub fn open(url: &str, width: u32, height: u32) -> Result<Self, String> {
        let (driver, address) = start_driver()?;
        let mut browser = Self { driver, session: format!("{address}/session") };
        let size = format!("--window-size={width},{height}");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--lang=en-US",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &size,
        ];
        let wanted = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let made = browser.post("", json!({"capabilities": {"alwaysMatch": wanted}}));
        let id = made.map_err(|error| format!("Chromium did not start: {error}"))?["sessionId"].clone();
        browser.session = format!("{}/{}", browser.session, id.as_str().ok_or("no session")?);
        browser.post("/url", json!({"url": url}))?;
        Ok(browser)
    }

    fn post(&self, command: &str, body: Value) -> Result<Value, String> {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let reply = agent.post(format!("{}{command}", self.session)).send(body.to_string());
        answer(reply)
    }

    fn get(&self, command: &str) -> Result<Value, String> {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        answer(agent.get(format!("{}{command}", self.session)).call())
    }

    /// Waits for the first element of a CSS selector.
    pub fn find(&self, css: &str) -> Element<'_> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.post("/element", json!({"using": "css selector", "value": css}));
            match found {
                Ok(value) => return Element { browser: self, id: value[ELEMENT].as_str().unwrap().to_owned() },
                Err(error) => assert!(Instant::now() < end, "{css}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn click(&self, css: &str) {
        self.find(css).command("click", json!({})).unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    pub fn text(&self, css: &str) -> String {
        let element = self.find(css);
        self.get(&format!("/element/{}/text", element.id)).unwrap().as_str().unwrap().to_owned()
    }

    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []})).unwrap()
    }

    /// Waits until the script's value is true.
    pub fn until(&self, condition: &str) {
        let end = Instant::now() + PATIENCE;
        while self.script(&format!("return Boolean({condition})")) != json!(true) {
            assert!(Instant::now() < end, "never: {condition}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn refresh(&self) {
        self.post("/refresh", json!({})).unwrap();
    }

    /// One of Chromium's own logs: "browser" or "performance".
    pub fn log(&self, kind: &str) -> Vec<Value> {
        self.post("/se/log", json!({"type": kind})).unwrap().as_array().unwrap().clone()
    }

    /// Saves a picture where `DANLU_SCREENSHOTS` says, to be looked at.
    pub fn picture(&self, name: &str) {
        if let Some(dir) = std::env::var_os("DANLU_SCREENSHOTS") {
            let encoded = self.get("/screenshot").unwrap();
            let path = std::path::Path::new(&dir).join(format!("{name}.png"));
            std::fs::write(path, decode_base64(encoded.as_str().unwrap())).unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Element<'_> {
    fn command(&self, name: &str, body: Value) -> Result<Value, String> {
        self.browser.post(&format!("/element/{}/{name}", self.id), body)
    }

    pub fn clear(&self) {
        self.command("clear", json!({})).unwrap();
    }

    pub fn send_keys(&self, text: &str) {
        self.command("value", json!({"text": text})).unwrap();
    }

    pub fn property(&self, name: &str) -> String {
        let value = self.browser.get(&format!("/element/{}/property/{name}", self.id)).unwrap();
        value.as_str().unwrap().to_owned()
    }
}

/// The `value` of WebDriver's answer, or its error in words.
fn answer(reply: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, String> {
    let text = reply.map_err(|e| e.to_string())?.body_mut().with_config().limit(64 << 20).read_to_string();
    let answer: Value = serde_json::from_str(&text.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    match answer["value"]["error"].as_str() {
        Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
        None => Ok(answer["value"].clone()),
    }
}

fn start_driver() -> Result<(Child, String), String> {
    let names = ["chromedriver", "/usr/lib/chromium/chromedriver", "/usr/lib/chromium-browser/chromedriver"];
    let spawn = |name: &&str| {
        Command::new(name)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    };
    let mut driver = names.iter().find_map(spawn).ok_or("no chromedriver")?;
    let lines = BufReader::new(driver.stdout.take().ok_or("no output")?).lines();
    // "ChromeDriver was started successfully on port 35241."
    let port = lines.map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("successfully on port ")?;
        rest.trim_end_matches('.').parse::<u16>().ok()
    });
    let port = port.ok_or("chromedriver did not say its port")?;
    Ok((driver, format!("http://127.0.0.1:{port}")))
}

fn decode_base64(text: &str) -> Vec<u8> {
    let value =
        |c: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|&a| a == c);
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for six in text.bytes().filter_map(value) {
        held = held << 6 | six as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}
