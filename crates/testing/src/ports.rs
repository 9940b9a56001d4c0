use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Ports that nobody listens on, all different.
pub(crate) fn free<const N: usize>() -> Result<[u16; N], String> {
    let bound: Result<Vec<TcpListener>, _> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let bound = bound.map_err(|e| e.to_string())?;
    let ports: Result<Vec<u16>, _> = bound.iter().map(|listener| Ok(listener.local_addr()?.port())).collect();
    ports.map_err(|e: std::io::Error| e.to_string())?.try_into().map_err(|_| "no free ports".into())
}

pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The whole answer to an HTTP request without a body. Of the first version, whose answers come in one piece.
pub(crate) fn http(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("{request} HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
