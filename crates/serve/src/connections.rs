//! Accepting connections so that no number of slow, idle or deaf clients takes the server down.
//!
//! - A head that does not arrive in time, and a connection that stays idle as long, is closed.
//! - At `max_connections`, or when the system has no more handles, the longest idle connection
//!   gives way to the new one, and one that has not sent its whole request counts as idle;
//!   connections with a running reply are never closed for it.
//! - A client that does not read its reply is dropped after `write_timeout_seconds`.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Request, Response},
};
use futures::FutureExt;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::Sleep,
};

use crate::{ServeConfig, metrics::Metrics};

/// Open connections, to find the longest idle one.
struct Table {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    metrics: Arc<Metrics>,
}

struct Connection {
    /// Requests whose response is not sent in full.
    busy: AtomicUsize,
    /// Those among them whose body is still being received.
    receiving: AtomicUsize,
    idle_since: Mutex<Instant>,
    evict: Notify,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: u64) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            busy: AtomicUsize::new(0),
            receiving: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            evict: Notify::new(),
        });
        let mut open = self.lock();
        open.insert(id, Arc::clone(&connection));
        self.metrics.connections.store(open.len() as u64, Ordering::Relaxed);
        connection
    }

    fn remove(&self, id: u64) {
        let mut open = self.lock();
        open.remove(&id);
        self.metrics.connections.store(open.len() as u64, Ordering::Relaxed);
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    /// Closes the longest idle connection; `false` if all are busy.
    fn evict_one(&self) -> bool {
        let mut open = self.lock();
        let idle = open.iter().filter(|(_, one)| one.is_idle());
        let longest = idle.min_by_key(|(_, one)| *one.idle_since.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(id) = longest.map(|(id, _)| *id) else { return false };
        if let Some(connection) = open.remove(&id) {
            connection.evict.notify_one();
        }
        self.metrics.connections.store(open.len() as u64, Ordering::Relaxed);
        self.metrics.connections_evicted.add(1);
        true
    }
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Acquire) <= self.receiving.load(Ordering::Acquire)
    }
}

/// Marks a connection busy for as long as it lives: until the response's body is sent or dropped.
struct Busy(Arc<Connection>);

impl Busy {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request body that marks its connection as receiving until it is read or given up.
struct ReceivingBody {
    body: Incoming,
    connection: Arc<Connection>,
}

impl ReceivingBody {
    fn new(body: Incoming, connection: &Arc<Connection>) -> Self {
        connection.receiving.fetch_add(1, Ordering::AcqRel);
        Self { body, connection: Arc::clone(connection) }
    }
}

impl Drop for ReceivingBody {
    fn drop(&mut self) {
        self.connection.receiving.fetch_sub(1, Ordering::AcqRel);
    }
}

impl HttpBody for ReceivingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that keeps its connection busy.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Accepts until `stopping` becomes true, then waits until every connection has ended, at most for
/// the configured time.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    config: &ServeConfig,
    metrics: Arc<Metrics>,
    mut stopping: watch::Receiver<bool>,
) {
    let table = Arc::new(Table { open: Mutex::default(), metrics });
    let mut tasks = tokio::task::JoinSet::new();
    let mut next_id = 0;
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.changed() => break,
        };
        while tasks.try_join_next().is_some() {}
        let Some(stream) = admit(accepted, &table, config.max_connections).await else { continue };
        next_id += 1;
        let connection = table.add(next_id);
        tasks.spawn(converse(
            stream,
            router.clone(),
            next_id,
            connection,
            Arc::clone(&table),
            Timeouts::of(config),
            stopping.clone(),
        ));
    }
    drop(listener);
    let patience = Duration::from_secs_f64(config.shutdown_timeout_seconds);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(patience, drained).await.is_err() {
        tracing::warn!(connections = tasks.len(), "closing connections that did not end in time");
        tasks.abort_all();
    }
}

/// Makes room for an accepted connection. `None`: there is none, and the client is turned away.
async fn admit(
    accepted: io::Result<(TcpStream, std::net::SocketAddr)>,
    table: &Table,
    most: usize,
) -> Option<TcpStream> {
    match accepted {
        Ok((stream, _)) => (table.len() < most || table.evict_one()).then_some(stream),
        Err(error) => {
            // Out of handles, most likely: make room and let the closing happen.
            tracing::warn!(%error, "a connection could not be accepted");
            table.evict_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

#[derive(Clone, Copy)]
struct Timeouts {
    header: Duration,
    write: Duration,
}

impl Timeouts {
    fn of(config: &ServeConfig) -> Self {
        Self {
            header: Duration::from_secs_f64(config.header_timeout_seconds),
            write: Duration::from_secs_f64(config.write_timeout_seconds),
        }
    }
}

/// Serves one connection to its end.
async fn converse(
    stream: TcpStream,
    router: Router,
    id: u64,
    connection: Arc<Connection>,
    table: Arc<Table>,
    timeouts: Timeouts,
    mut stopping: watch::Receiver<bool>,
) {
    // Tokens are small writes, each to be seen at once. Where it fails, they are only later.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteTimeout { stream, limit: timeouts.write, stalled: None });
    let service = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(&connection);
        let router = router.clone();
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(ReceivingBody::new(body, &connection)),
        });
        async move {
            let response = call(router, request).await;
            Ok::<_, Infallible>(response.map(|body| BusyBody { body, _busy: busy }))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(timeouts.header).max_buf_size(64 << 10);
    let mut conversation = std::pin::pin!(http.serve_connection(io, service));
    let mut told = false;
    loop {
        tokio::select! {
            ended = conversation.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                break;
            }
            () = connection.evict.notified() => break,
            _ = stopping.wait_for(|stop| *stop), if !told => {
                told = true;
                conversation.as_mut().graceful_shutdown();
            }
        }
    }
    table.remove(id);
}

/// Runs the router. A panic in a handler, which would be a fault of this crate, costs one answer.
async fn call(router: Router, request: Request<Body>) -> Response<Body> {
    use axum::response::IntoResponse;
    use tower_service::Service;
    let mut router = router;
    let answer = std::panic::AssertUnwindSafe(router.call(request)).catch_unwind();
    match answer.await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!("a request handler panicked");
            crate::api_error::ApiError::server("The server failed unexpectedly; see its log.").into_response()
        }
    }
}

/// A stream whose writes fail when the other side takes nothing for too long.
struct WriteTimeout {
    stream: TcpStream,
    limit: Duration,
    /// Set while a write cannot go on.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    fn check<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl AsyncRead for WriteTimeout {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.check(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.check(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
