//! The page in a real headless Chromium.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use danlu_serve::ServeConfig;
use danlu_store::RunDb;
use fantoccini::{Client, ClientBuilder, Locator, elements::Element, key::Key};
use serde_json::{Map, Value, json};

use crate::harness::{TestServer, skip};

/// A chromedriver that ends with the test.
struct Driver {
    process: Child,
    url: String,
}

impl Driver {
    fn start() -> Result<Self, String> {
        let names = ["chromedriver", "/usr/lib/chromium/chromedriver", "/usr/lib/chromium-browser/chromedriver"];
        let spawn = |name: &&str| {
            Command::new(name).arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()
        };
        let mut process = names.iter().find_map(spawn).ok_or("no chromedriver")?;
        let lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        // "ChromeDriver was started successfully on port 35241."
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.ok_or("chromedriver did not say its port")?;
        Ok(Self { process, url: format!("http://127.0.0.1:{port}") })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Browser {
    client: Client,
    driver: Driver,
}

impl Browser {
    async fn open(url: &str, width: u32, height: u32) -> Result<Self, String> {
        let driver = Driver::start()?;
        let size = format!("--window-size={width},{height}");
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US", "--hide-scrollbars", &size];
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".into(), json!({"args": arguments}));
        capabilities.insert("goog:loggingPrefs".into(), json!({"browser": "ALL", "performance": "ALL"}));
        let connected = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver.url)
            .await;
        let client = connected.map_err(|error| format!("Chromium did not start: {error}"))?;
        client.goto(url).await.unwrap();
        Ok(Self { client, driver })
    }

    async fn find(&self, css: &str) -> Element {
        let wait = self.client.wait().at_most(Duration::from_secs(20));
        wait.for_element(Locator::Css(css)).await.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until the script's value is true.
    async fn until(&self, condition: &str) {
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.script(&format!("return Boolean({condition})")).await != json!(true) {
            assert!(tokio::time::Instant::now() < end, "never: {condition}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One of Chromium's own logs.
    async fn log(&self, kind: &'static str) -> Vec<Value> {
        let session = self.client.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/se/log", self.driver.url);
        let ask = move || {
            let mut reply = ureq::post(&url).send(json!({"type": kind}).to_string()).unwrap();
            serde_json::from_str::<Value>(&reply.body_mut().read_to_string().unwrap()).unwrap()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()["value"].as_array().unwrap().clone()
    }

    /// Saves a picture where `DANLU_SCREENSHOTS` says, to be looked at.
    async fn picture(&self, name: &str) {
        if let Some(dir) = std::env::var_os("DANLU_SCREENSHOTS") {
            let png = self.client.screenshot().await.unwrap();
            std::fs::write(std::path::Path::new(&dir).join(format!("{name}.png")), png).unwrap();
        }
    }

    /// Nothing was said on the console, and nothing asked of any other server.
    async fn assert_clean(&self, server: &TestServer) {
        let said: Vec<Value> = self.log("browser").await.into_iter().filter(|entry| entry["level"] != "DEBUG").collect();
        assert!(said.is_empty(), "{said:?}");
        let own = server.url("/");
        let mut requests = 0;
        for entry in self.log("performance").await {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let event = &event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                let url = event["params"]["request"]["url"].as_str().unwrap();
                assert!(url.starts_with(&own) || url.starts_with("data:"), "the page asked for {url}");
                requests += 1;
            }
        }
        assert!(requests > 5, "the log of requests is empty");
    }
}

/// Runs a test in a browser, or says that there is none.
fn in_browser(name: &str, server: &TestServer, size: (u32, u32), test: impl AsyncFnOnce(&Browser)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = match Browser::open(&server.url("/"), size.0, size.1).await {
            Ok(browser) => browser,
            Err(reason) => {
                skip(name, &reason);
                return;
            }
        };
        test(&browser).await;
        browser.assert_clean(server).await;
        browser.client.clone().close().await.unwrap();
    });
}

#[test]
fn a_person_completes_judges_and_corrects() {
    let server = TestServer::start();
    in_browser("a_person_completes_judges_and_corrects", &server, (1100, 800), async |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'").await;
        page.picture("welcome").await;
        page.click("#settings-toggle").await;
        for (dial, value) in [("max_tokens", "24"), ("temperature", "0")] {
            let field = page.find(&format!("#dial-{dial}")).await;
            field.clear().await.unwrap();
            field.send_keys(value).await.unwrap();
        }
        page.picture("settings").await;
        page.click("#settings-close").await;
        let prompt = page.find("#prompt").await;
        prompt.send_keys("Four score").await.unwrap();
        prompt.send_keys(&Key::Enter.to_string()).await.unwrap();
        page.until("document.querySelector('.reply .under:not([hidden])')").await;
        assert_eq!(page.text(".given").await, "Four score");
        let made = page.script("return document.querySelector('.made').textContent").await;
        let asked = json!({"prompt": "Four score", "max_tokens": 24, "temperature": 0, "top_p": 0.95, "repetition_penalty": 1.1});
        let expected = tokio::task::block_in_place(|| server.complete(asked));
        assert_eq!(made, expected["choices"][0]["text"]);
        let pieces = page.script("return document.querySelector('.made').childNodes.length").await;
        assert!(pieces.as_u64().unwrap() > 3, "it streamed: {pieces}");

        page.click(".up").await;
        page.until("document.querySelector('.up').getAttribute('aria-pressed') === 'true'").await;
        page.click(".correct").await;
        let field = page.find(".correction textarea").await;
        assert_eq!(field.prop("value").await.unwrap().unwrap(), made.as_str().unwrap());
        field.clear().await.unwrap();
        field.send_keys(" and seven years ago 春").await.unwrap();
        page.picture("correction").await;
        page.click(".correction .save").await;
        page.until("document.querySelector('.correction').hidden").await;
        let row = RunDb::open(&server.db).unwrap().feedback_rows().unwrap().pop().unwrap();
        assert_eq!((row.rating, row.correction.as_deref()), (Some(1), Some(" and seven years ago 春")));
        assert_eq!(row.reply.reply, made.as_str().unwrap());
        assert_eq!(row.reply.request["prompt"], "Four score");
    });
}

#[test]
fn the_page_speaks_two_languages_and_knows_night() {
    let server = TestServer::start();
    in_browser("the_page_speaks_two_languages_and_knows_night", &server, (1100, 800), async |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'").await;
        assert_eq!(page.text("#mode-chat").await, "Chat");
        page.click("#language").await;
        assert_eq!(page.text("#mode-chat").await, "对话");
        assert_eq!(page.script("return document.documentElement.lang").await, "zh-Hans");
        let paper = "return getComputedStyle(document.body).backgroundColor";
        let light = page.script(paper).await;
        page.click("#theme").await;
        assert_ne!(page.script(paper).await, light);
        page.picture("dark-zh").await;
        // Both are remembered.
        page.client.refresh().await.unwrap();
        page.until("document.querySelector('#model').textContent === 'tiny'").await;
        assert_eq!(page.text("#mode-chat").await, "对话");
        assert_ne!(page.script(paper).await, light);
        page.click("#language").await;
        assert_eq!(page.text("#mode-chat").await, "Chat");
        // No word is missing in either language.
        for _ in 0..2 {
            let missing = "return [...document.querySelectorAll('[data-word]')].filter((one) => one.textContent === '' || \
                one.textContent === one.dataset.word).map((one) => one.dataset.word)";
            assert_eq!(page.script(missing).await, json!([]));
            page.click("#language").await;
        }
    });
}

#[test]
fn a_chat_goes_on_and_can_be_stopped() {
    let server = TestServer::start();
    in_browser("a_chat_goes_on_and_can_be_stopped", &server, (1100, 800), async |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'").await;
        page.click("#mode-chat").await;
        page.script("document.querySelector('#dial-max_tokens').value = 16").await;
        for (turn, text) in ["Hello", "春眠不觉晓"].into_iter().enumerate() {
            page.find("#prompt").await.send_keys(text).await.unwrap();
            page.click("#send").await;
            page.until(&format!("document.querySelectorAll('.reply .under:not([hidden])').length === {}", turn + 1)).await;
        }
        page.picture("chat").await;
        let rows = server.db.clone();
        let id = page.script("return [...document.querySelectorAll('.reply')].pop().state.id").await;
        let reply = RunDb::open(&rows).unwrap().reply(id.as_str().unwrap()).unwrap();
        let messages = reply.request["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert!(roles.ends_with(&["user"]) && messages.last().unwrap()["content"] == "春眠不觉晓");
        assert!(roles == ["user", "assistant", "user"] || roles == ["user"], "the empty reply of a turn is not sent: {roles:?}");
        // A long reply, stopped on the way.
        page.click("#mode-complete").await;
        page.script("document.querySelector('#dial-max_tokens').value = 900").await;
        // From inside the page, so that the click surely comes while the reply runs.
        let stop = "new MutationObserver((_, watch) => { if (document.querySelector('.made')?.childNodes.length > 2 && \
            document.querySelector('#send.running')) { watch.disconnect(); document.querySelector('#send').click(); } })\
            .observe(document.querySelector('#log'), { childList: true, subtree: true })";
        page.script(stop).await;
        page.find("#prompt").await.send_keys("x").await.unwrap();
        page.click("#send").await;
        page.until("document.querySelector('.reply .under:not([hidden])')").await;
        assert_eq!(page.text(".stats").await, "stopped");
        tokio::task::block_in_place(|| server.wait_for("num_requests_running", |running| running == 0.0));
    });
}

#[test]
fn the_page_fits_a_phone() {
    let server = TestServer::start();
    in_browser("the_page_fits_a_phone", &server, (500, 844), async |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'").await;
        page.click("#examples button").await;
        page.click("#send").await;
        page.until("document.querySelector('.reply .under:not([hidden])')").await;
        let overflow = page.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow, 0);
        page.picture("phone").await;
        page.click("#settings-toggle").await;
        page.picture("phone-settings").await;
        page.click("#settings-close").await;
    });
}

#[test]
fn a_key_is_asked_for_and_kept_in_the_tab() {
    let config = ServeConfig { api_keys: vec!["open sesame".into()], ..ServeConfig::default() };
    let server = TestServer::with(config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let page = match Browser::open(&server.url("/"), 1100, 800).await {
            Ok(page) => page,
            Err(reason) => {
                skip("a_key_is_asked_for_and_kept_in_the_tab", &reason);
                return;
            }
        };
        page.until("!document.querySelector('#notice').hidden").await;
        page.click("#settings-toggle").await;
        page.find("#key").await.send_keys(&format!("open sesame{}", Key::Enter)).await.unwrap();
        page.until("document.querySelector('#model').textContent === 'tiny'").await;
        page.picture("key").await;
        page.until("document.querySelector('#notice').hidden").await;
        page.client.clone().close().await.unwrap();
    });
}
