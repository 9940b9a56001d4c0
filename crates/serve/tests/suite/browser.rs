//! The page in a real headless Chromium.

use danlu_serve::ServeConfig;
use danlu_store::RunDb;
use serde_json::{Value, json};

use crate::harness::{TestServer, skip};
use crate::webdriver::{Browser, ENTER};

/// Nothing was said on the console, and nothing asked of any other server.
fn assert_clean(page: &Browser, server: &TestServer) {
    let said: Vec<Value> = page.log("browser").into_iter().filter(|entry| entry["level"] != "DEBUG").collect();
    assert!(said.is_empty(), "{said:?}");
    let own = server.url("/");
    let mut requests = 0;
    for entry in page.log("performance") {
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

/// Runs a test in a browser, or says that there is none.
fn in_browser(name: &str, server: &TestServer, size: (u32, u32), test: impl FnOnce(&Browser)) {
    let browser = match Browser::open(&server.url("/"), size.0, size.1) {
        Ok(browser) => browser,
        Err(reason) => return skip(name, &reason),
    };
    test(&browser);
    assert_clean(&browser, server);
}

#[test]
fn a_person_completes_judges_and_corrects() {
    let server = TestServer::start();
    in_browser("a_person_completes_judges_and_corrects", &server, (1100, 800), |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'");
        page.picture("welcome");
        page.click("#settings-toggle");
        for (dial, value) in [("max_tokens", "24"), ("temperature", "0")] {
            let field = page.find(&format!("#dial-{dial}"));
            field.clear();
            field.send_keys(value);
        }
        page.picture("settings");
        page.click("#settings-close");
        let prompt = page.find("#prompt");
        prompt.send_keys("Four score");
        prompt.send_keys(ENTER);
        page.until("document.querySelector('.reply .under:not([hidden])')");
        assert_eq!(page.text(".given"), "Four score");
        let made = page.script("return document.querySelector('.made').textContent");
        let asked = json!({"prompt": "Four score", "max_tokens": 24, "temperature": 0, "top_p": 0.95, "repetition_penalty": 1.1});
        let expected = server.complete(asked);
        assert_eq!(made, expected["choices"][0]["text"]);
        let pieces = page.script("return document.querySelector('.made').childNodes.length");
        assert!(pieces.as_u64().unwrap() > 3, "it streamed: {pieces}");

        page.click(".up");
        page.until("document.querySelector('.up').getAttribute('aria-pressed') === 'true'");
        page.click(".correct");
        let field = page.find(".correction textarea");
        assert_eq!(field.property("value"), made.as_str().unwrap());
        field.clear();
        field.send_keys(" and seven years ago 春");
        page.picture("correction");
        page.click(".correction .save");
        page.until("document.querySelector('.correction').hidden");
        let row = RunDb::open(&server.db).unwrap().feedback_rows().unwrap().pop().unwrap();
        assert_eq!((row.rating, row.correction.as_deref()), (Some(1), Some(" and seven years ago 春")));
        assert_eq!(row.reply.reply, made.as_str().unwrap());
        assert_eq!(row.reply.request["prompt"], "Four score");
    });
}

#[test]
fn the_page_speaks_two_languages_and_knows_night() {
    let server = TestServer::start();
    in_browser("the_page_speaks_two_languages_and_knows_night", &server, (1100, 800), |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'");
        assert_eq!(page.text("#mode-chat"), "Chat");
        page.click("#language");
        assert_eq!(page.text("#mode-chat"), "对话");
        assert_eq!(page.script("return document.documentElement.lang"), "zh-Hans");
        let paper = "return getComputedStyle(document.body).backgroundColor";
        let light = page.script(paper);
        page.click("#theme");
        assert_ne!(page.script(paper), light);
        page.picture("dark-zh");
        // Both are remembered.
        page.refresh();
        page.until("document.querySelector('#model').textContent === 'tiny'");
        assert_eq!(page.text("#mode-chat"), "对话");
        assert_ne!(page.script(paper), light);
        page.click("#language");
        assert_eq!(page.text("#mode-chat"), "Chat");
        // No word is missing in either language.
        for _ in 0..2 {
            let missing = "return [...document.querySelectorAll('[data-word]')].filter((one) => one.textContent === '' || \
                one.textContent === one.dataset.word).map((one) => one.dataset.word)";
            assert_eq!(page.script(missing), json!([]));
            page.click("#language");
        }
    });
}

#[test]
fn a_chat_goes_on_and_can_be_stopped() {
    let server = TestServer::start();
    in_browser("a_chat_goes_on_and_can_be_stopped", &server, (1100, 800), |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'");
        page.click("#mode-chat");
        page.script("document.querySelector('#dial-max_tokens').value = 16");
        for (turn, text) in ["Hello", "春眠不觉晓"].into_iter().enumerate() {
            page.find("#prompt").send_keys(text);
            page.click("#send");
            page.until(&format!("document.querySelectorAll('.reply .under:not([hidden])').length === {}", turn + 1));
        }
        page.picture("chat");
        let rows = server.db.clone();
        let id = page.script("return [...document.querySelectorAll('.reply')].pop().state.id");
        let reply = RunDb::open(&rows).unwrap().reply(id.as_str().unwrap()).unwrap();
        let messages = reply.request["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert!(roles.ends_with(&["user"]) && messages.last().unwrap()["content"] == "春眠不觉晓");
        assert!(
            roles == ["user", "assistant", "user"] || roles == ["user"],
            "the empty reply of a turn is not sent: {roles:?}"
        );
        // A long reply, stopped on the way.
        page.click("#mode-complete");
        // Greedy, because a sampled reply may end by itself before it is stopped.
        page.script("document.querySelector('#dial-max_tokens').value = 900; document.querySelector('#dial-temperature').value = 0");
        // From inside the page, so that the click surely comes while the reply runs.
        let stop = "new MutationObserver((_, watch) => { if (document.querySelector('.made')?.childNodes.length > 2 && \
            document.querySelector('#send.running')) { watch.disconnect(); document.querySelector('#send').click(); } })\
            .observe(document.querySelector('#log'), { childList: true, subtree: true })";
        page.script(stop);
        page.find("#prompt").send_keys("x");
        page.click("#send");
        page.until("document.querySelector('.reply .under:not([hidden])')");
        assert_eq!(page.text(".stats"), "stopped");
        server.wait_for("num_requests_running", |running| running == 0.0);
    });
}

#[test]
fn the_page_fits_a_phone() {
    let server = TestServer::start();
    in_browser("the_page_fits_a_phone", &server, (500, 844), |page| {
        page.until("document.querySelector('#model').textContent === 'tiny'");
        page.click("#examples button");
        page.click("#send");
        page.until("document.querySelector('.reply .under:not([hidden])')");
        let overflow =
            page.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(overflow, 0);
        page.picture("phone");
        page.click("#settings-toggle");
        page.picture("phone-settings");
        page.click("#settings-close");
    });
}

#[test]
fn a_key_is_asked_for_and_kept_in_the_tab() {
    let config = ServeConfig { api_keys: vec!["open sesame".into()], ..ServeConfig::default() };
    let server = TestServer::with(config);
    let page = match Browser::open(&server.url("/"), 1100, 800) {
        Ok(page) => page,
        Err(reason) => return skip("a_key_is_asked_for_and_kept_in_the_tab", &reason),
    };
    page.until("!document.querySelector('#notice').hidden");
    page.click("#settings-toggle");
    page.find("#key").send_keys(&format!("open sesame{ENTER}"));
    page.until("document.querySelector('#model').textContent === 'tiny'");
    page.picture("key");
    page.until("document.querySelector('#notice').hidden");
}
