//! A small random model, a server around it, and a client.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use danlu_model::{Architecture, CausalLm, ModelConfig, SaveOptions, SpecialTokens};
use danlu_serve::{ServeConfig, ServeError, serve_blocking};
use danlu_text::{Tokenizer, TokenizerConfig};
use serde_json::{Value, json};

/// Positions of the test model.
pub const CONTEXT: usize = 1024;

/// Lincoln at Gettysburg, and Meng Haoran and Li Bai: enough to learn a few hundred merges from.
const TEXT: &str = "Four score and seven years ago our fathers brought forth on this continent, a new nation, \
conceived in Liberty, and dedicated to the proposition that all men are created equal. Now we are engaged in a great \
civil war, testing whether that nation, or any nation so conceived and so dedicated, can long endure. We are met on a \
great battle-field of that war. We have come to dedicate a portion of that field, as a final resting place for those who \
here gave their lives that that nation might live. It is altogether fitting and proper that we should do this.\n\
春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。\n床前明月光，疑是地上霜。举头望明月，低头思故乡。\n";

/// The folder of a model with random weights, made once for all tests.
pub fn model_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        // Beside the build: a folder in a static is never removed.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("serve/tiny");
        let _ = std::fs::remove_dir_all(&dir);
        let transformer = ModelConfig { heads: 4, kv_heads: Some(2), ..ModelConfig::default() };
        make_model(&dir, transformer);
        dir
    })
}

/// The folder of an LSTM with random weights.
pub fn recurrent_model_dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("serve/lstm");
    let _ = std::fs::remove_dir_all(&dir);
    make_model(&dir, ModelConfig { architecture: Architecture::Lstm, ..ModelConfig::default() });
    dir
}

fn make_model(dir: &Path, model: ModelConfig) {
    let config = TokenizerConfig { vocab_size: 512, ..TokenizerConfig::default() };
    let tokenizer = Tokenizer::train([TEXT, TEXT].into_iter(), &config).unwrap();
    let model = ModelConfig { layers: 2, hidden_size: 64, max_seq_len: CONTEXT, ..model };
    let model = CausalLm::new(&model, tokenizer.vocab_size(), 7, &Device::default()).unwrap();
    let special_tokens = Some(SpecialTokens { eos: vec![tokenizer.eos_id()], ..SpecialTokens::default() });
    danlu_model::save(&model, dir, &SaveOptions { special_tokens }).unwrap();
    tokenizer.save(dir).unwrap();
}

/// The test model and its tokenizer, to compare with.
pub fn load() -> (CausalLm, Tokenizer) {
    let model = danlu_model::load(model_dir(), &Device::default()).unwrap();
    (model, Tokenizer::from_dir(model_dir()).unwrap())
}

pub use danlu_testing::skip;

/// A server that runs until it is dropped.
pub struct TestServer {
    pub addr: SocketAddr,
    pub db: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    _dir: tempfile::TempDir,
}

impl TestServer {
    pub fn start() -> Self {
        Self::with(ServeConfig::default())
    }

    pub fn with(config: ServeConfig) -> Self {
        Self::of(model_dir(), config)
    }

    pub fn of(model: &Path, config: ServeConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("danlu.db");
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, ready) = mpsc::channel();
        let thread = std::thread::spawn({
            let (stop, db, model) = (Arc::clone(&stop), db.clone(), model.to_owned());
            move || {
                let config = ServeConfig { port: 0, ..config };
                serve_blocking(&model, config, Some(&db), |addr, _| sender.send(addr).unwrap(), &stop)
            }
        });
        let addr = match ready.recv() {
            Ok(addr) => addr,
            Err(_) => panic!("the server did not start: {:?}", thread.join()),
        };
        Self { addr, db, stop, thread: Some(thread), _dir: dir }
    }

    /// Asks the server to end, without waiting.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Ends the server and gives what it returned.
    pub fn join(mut self) -> Result<(), ServeError> {
        self.stop();
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn get(&self, path: &str) -> Reply {
        Reply::of(agent().get(self.url(path)).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    pub fn post_bytes(&self, path: &str, body: &[u8]) -> Reply {
        Reply::of(agent().post(self.url(path)).content_type("application/json").send(body).unwrap())
    }

    pub fn complete(&self, body: Value) -> Value {
        self.post("/v1/completions", &body).ok()
    }

    pub fn chat(&self, body: Value) -> Value {
        self.post("/v1/chat/completions", &body).ok()
    }

    /// A greedy completion's text.
    pub fn greedy(&self, prompt: &str, max_tokens: usize) -> String {
        let reply = self.complete(json!({"prompt": prompt, "max_tokens": max_tokens, "temperature": 0}));
        reply["choices"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Begins a stream; see [`Events`].
    pub fn stream(&self, path: &str, mut body: Value) -> Events {
        body["stream"] = json!(true);
        let response = agent().post(self.url(path)).content_type("application/json").send(body.to_string()).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { lines: BufReader::new(Box::new(response.into_body().into_reader())) }
    }

    /// The sum over a metric's lines whose names begin so.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").text;
        let lines = page.lines().filter(|line| line.starts_with(&format!("danlu:{name}")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Waits until the metric fulfils the condition.
    pub fn wait_for(&self, name: &str, condition: impl Fn(f64) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let value = self.metric(name);
            if condition(value) {
                return;
            }
            assert!(Instant::now() < end, "{name} stayed at {value}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A bare connection, with a bound on how long a test can hang.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes and reads whatever comes until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn agent() -> ureq::Agent {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build();
    config.into()
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Reply {
    fn of(mut response: ureq::http::Response<ureq::Body>) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }
}

/// The data of a stream's events, `[DONE]` included.
pub struct Events {
    lines: BufReader<Box<dyn Read + Send>>,
}

impl Iterator for Events {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.trim_end().to_owned());
            }
        }
    }
}

impl Events {
    /// All chunks; the stream must end with `[DONE]`.
    pub fn chunks(self) -> Vec<Value> {
        let mut all: Vec<String> = self.collect();
        assert_eq!(all.pop().as_deref(), Some("[DONE]"));
        all.iter().map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

/// The text of a stream's choice, from either endpoint.
pub fn text_of(chunks: &[Value], index: u64) -> String {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let own = choices.filter(|choice| choice["index"] == index);
    own.filter_map(|choice| choice["text"].as_str().or(choice["delta"]["content"].as_str())).collect()
}
