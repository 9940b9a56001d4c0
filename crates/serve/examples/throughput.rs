//! Tokens per second that a server gives to 1, 2, 4, … clients at once, over real sockets.
//!
//! `cargo run --release -p danlu-serve --example throughput -- MODEL [TOKENS]`

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use danlu_serve::{ServeConfig, serve_blocking};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One streamed reply: time to the first token, and to the last.
fn ask(addr: SocketAddr, tokens: usize) -> Outcome<(Duration, Duration)> {
    let body = json!({"prompt": "The people of the United States", "max_tokens": tokens, "temperature": 0,
        "ignore_eos": true, "stream": true})
    .to_string();
    let began = Instant::now();
    let mut stream = TcpStream::connect(addr)?;
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("data:") {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err("the server closed the connection".into());
        }
    }
    let first = began.elapsed();
    let mut rest = String::new();
    reader.read_to_string(&mut rest)?;
    if !rest.contains("[DONE]") {
        return Err(format!("the reply broke off: {rest}").into());
    }
    Ok((first, began.elapsed()))
}

#[allow(clippy::print_stdout)]
fn measure(addr: SocketAddr, tokens: usize) -> Outcome<()> {
    ask(addr, tokens)?;
    println!("clients  tokens/s  per client  first token (mean, ms)");
    for clients in [1_usize, 2, 4, 8, 16] {
        let began = Instant::now();
        let threads: Vec<_> = (0..clients).map(|_| std::thread::spawn(move || ask(addr, tokens))).collect();
        let mut first = Duration::ZERO;
        for thread in threads {
            first += thread.join().map_err(|_| "a client panicked")??.0;
        }
        let rate = (clients * tokens) as f64 / began.elapsed().as_secs_f64();
        let first = first.as_secs_f64() * 1e3 / clients as f64;
        println!("{clients:>7}  {rate:>8.0}  {:>10.0}  {first:>22.1}", rate / clients as f64);
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("usage: throughput MODEL [TOKENS]")?;
    let tokens = arguments.next().map_or(Ok(128), |text| text.parse())?;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, ready) = mpsc::channel();
    let server = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let config = ServeConfig { port: 0, ..ServeConfig::default() };
            // Whoever waits for the address is gone only if the measurement is.
            serve_blocking(
                Path::new(&model),
                config,
                None,
                |addr, _| {
                    let _ = sender.send(addr);
                },
                &stop,
            )
        }
    });
    let outcome = match ready.recv() {
        Ok(addr) => measure(addr, tokens),
        Err(_) => Err("the server did not start".into()),
    };
    stop.store(true, Ordering::Release);
    server.join().map_err(|_| "the server panicked")??;
    outcome
}
