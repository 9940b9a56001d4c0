//! Counters and histograms in the Prometheus text format, named after vLLM's with `danlu:` for `vllm:`,
//! so that dashboards made for one read the other.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::engine::FinishReason;

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of observations up to each bound, as Prometheus wants them.
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One for each bound and one for what lies beyond; not cumulative.
    counts: Vec<AtomicU64>,
    sum: Mutex<f64>,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: Mutex::new(0.0) }
    }

    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        *self.sum.lock().unwrap_or_else(PoisonError::into_inner) += value;
    }
}

const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0,
];
const BETWEEN_TOKENS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
];
const REQUEST: &[f64] = &[
    0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0,
];
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Everything counted while the server runs.
pub(crate) struct Metrics {
    pub prompt_tokens: Counter,
    pub generation_tokens: Counter,
    stopped: Counter,
    reached_length: Counter,
    pub cancelled: Counter,
    pub timed_out: Counter,
    pub failed: Counter,
    pub rejected: Counter,
    pub time_to_first_token: Histogram,
    pub inter_token_latency: Histogram,
    pub queue_time: Histogram,
    e2e_latency: Histogram,
    pub decode_batch_size: Histogram,
    pub thumbs_up: Counter,
    pub thumbs_down: Counter,
    pub corrections: Counter,
    pub comments: Counter,
    pub replies_recorded: Counter,
    pub records_failed: Counter,
    pub connections: AtomicU64,
    pub connections_evicted: Counter,
    responses: Mutex<BTreeMap<u16, u64>>,
}

impl Metrics {
    pub fn new() -> Self {
        let counter = Counter::default;
        Self {
            prompt_tokens: counter(),
            generation_tokens: counter(),
            stopped: counter(),
            reached_length: counter(),
            cancelled: counter(),
            timed_out: counter(),
            failed: counter(),
            rejected: counter(),
            time_to_first_token: Histogram::new(FIRST_TOKEN),
            inter_token_latency: Histogram::new(BETWEEN_TOKENS),
            queue_time: Histogram::new(REQUEST),
            e2e_latency: Histogram::new(REQUEST),
            decode_batch_size: Histogram::new(BATCH),
            thumbs_up: counter(),
            thumbs_down: counter(),
            corrections: counter(),
            comments: counter(),
            replies_recorded: counter(),
            records_failed: counter(),
            connections: AtomicU64::new(0),
            connections_evicted: counter(),
            responses: Mutex::new(BTreeMap::new()),
        }
    }

    pub fn finished(&self, reason: FinishReason, seconds: f64) {
        match reason {
            FinishReason::Stop => self.stopped.add(1),
            FinishReason::Length => self.reached_length.add(1),
        }
        self.e2e_latency.observe(seconds);
    }

    pub fn responded(&self, status: u16) {
        *self.responses.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }

    /// Everything in the text format 0.0.4.
    pub fn render(&self, model: &str, gauges: &Gauges) -> String {
        let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let mut page = Page { text: String::new(), model };
        page.gauge("num_requests_running", "Sequences in the batch.", gauges.running as f64);
        page.gauge("num_requests_waiting", "Sequences waiting for a place in the batch.", gauges.waiting as f64);
        page.gauge("kv_cache_usage_perc", "Share of the caches' room in use, 0 to 1.", gauges.cache_usage);
        page.counter("prompt_tokens", "Prompt tokens read.", "", &[("", self.prompt_tokens.get())]);
        page.counter("generation_tokens", "Tokens generated.", "", &[("", self.generation_tokens.get())]);
        let finished = [("stop", self.stopped.get()), ("length", self.reached_length.get())];
        page.counter("request_success", "Sequences finished.", "finished_reason", &finished);
        let failures = [
            ("cancelled", self.cancelled.get()),
            ("timeout", self.timed_out.get()),
            ("error", self.failed.get()),
            ("queue_full", self.rejected.get()),
        ];
        page.counter("request_failure", "Sequences that did not finish.", "reason", &failures);
        page.histogram("time_to_first_token_seconds", "From arrival to the first token.", &self.time_to_first_token);
        page.histogram("inter_token_latency_seconds", "From one token to the next.", &self.inter_token_latency);
        page.histogram("request_queue_time_seconds", "From arrival to a place in the batch.", &self.queue_time);
        page.histogram("e2e_request_latency_seconds", "From arrival to the last token.", &self.e2e_latency);
        page.histogram("decode_batch_size", "Sequences in each decode step.", &self.decode_batch_size);
        let feedback = [
            ("up", self.thumbs_up.get()),
            ("down", self.thumbs_down.get()),
            ("correction", self.corrections.get()),
            ("comment", self.comments.get()),
        ];
        page.counter("feedback", "Feedback received.", "kind", &feedback);
        page.counter(
            "replies_recorded",
            "Replies stored in the run database.",
            "",
            &[("", self.replies_recorded.get())],
        );
        page.counter(
            "reply_record_failures",
            "Replies that could not be stored.",
            "",
            &[("", self.records_failed.get())],
        );
        page.gauge("http_connections", "Open connections.", self.connections.load(Ordering::Relaxed) as f64);
        let evicted = self.connections_evicted.get();
        page.counter("http_connections_evicted", "Idle connections closed to make room.", "", &[("", evicted)]);
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let responses: Vec<(String, u64)> = responses.iter().map(|(code, count)| (code.to_string(), *count)).collect();
        let responses: Vec<(&str, u64)> = responses.iter().map(|(code, count)| (code.as_str(), *count)).collect();
        page.counter("http_responses", "HTTP responses by status.", "code", &responses);
        page.text
    }
}

/// What is read at the moment rather than counted.
pub(crate) struct Gauges {
    pub running: usize,
    pub waiting: usize,
    pub cache_usage: f64,
}

struct Page {
    text: String,
    model: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "# HELP danlu:{name} {help}\n# TYPE danlu:{name} {kind}");
    }

    fn line(&mut self, name: &str, label: &str, value: f64) {
        let _ = writeln!(self.text, "danlu:{name}{{model_name=\"{}\"{label}}} {value}", self.model);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    /// One line for each value of the label, or a single line if the label has no name.
    fn counter(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        let name = format!("{name}_total");
        self.head(&name, "counter", help);
        for (value, count) in values {
            let label = if label.is_empty() { String::new() } else { format!(",{label}=\"{value}\"") };
            self.line(&name, &label, *count as f64);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut total = 0;
        let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count.load(Ordering::Relaxed);
            self.line(&format!("{name}_bucket"), &format!(",le=\"{bound}\""), total as f64);
        }
        let sum = *histogram.sum.lock().unwrap_or_else(PoisonError::into_inner);
        self.line(&format!("{name}_sum"), "", sum);
        self.line(&format!("{name}_count"), "", total as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_prometheus_text() {
        let metrics = Metrics::new();
        metrics.prompt_tokens.add(7);
        for seconds in [0.0005, 0.001, 0.003, 900.0] {
            metrics.time_to_first_token.observe(seconds);
        }
        metrics.responded(200);
        let page = metrics.render("a\"b", &Gauges { running: 2, waiting: 1, cache_usage: 0.25 });
        for line in [
            "danlu:prompt_tokens_total{model_name=\"a\\\"b\"} 7",
            "danlu:num_requests_running{model_name=\"a\\\"b\"} 2",
            "danlu:kv_cache_usage_perc{model_name=\"a\\\"b\"} 0.25",
            "danlu:time_to_first_token_seconds_bucket{model_name=\"a\\\"b\",le=\"0.001\"} 2",
            "danlu:time_to_first_token_seconds_bucket{model_name=\"a\\\"b\",le=\"0.005\"} 3",
            "danlu:time_to_first_token_seconds_bucket{model_name=\"a\\\"b\",le=\"+Inf\"} 4",
            "danlu:time_to_first_token_seconds_count{model_name=\"a\\\"b\"} 4",
            "danlu:http_responses_total{model_name=\"a\\\"b\",code=\"200\"} 1",
            "# TYPE danlu:inter_token_latency_seconds histogram",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        let mut families: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = families.len();
        families.dedup();
        assert_eq!(families.len(), count);
    }
}
