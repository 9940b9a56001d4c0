//! Starting and stopping a server.

use std::{
    future::Future,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use danlu_store::RunDb;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    ServeConfig, ServeError,
    app::{App, router},
    connections,
    engine::Engine,
    language::LanguageModel,
    metrics::Metrics,
    records::Recorder,
};

/// Where a server begins: [`Server::bind`].
pub struct Server;

impl Server {
    /// Loads the model, opens the run database (where replies and feedback go, if a path is given) and
    /// begins to listen. Clients can connect from now on; they are answered once [`Bound::run`] is awaited.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Whatever keeps the server from starting; see [`ServeError`].
    pub async fn bind(model_dir: &Path, config: ServeConfig, db: Option<&Path>) -> Result<Bound, ServeError> {
        config.validate()?;
        let keys = config.resolve_api_keys()?;
        // Listening comes first: a port in use is found at once, not after a large model is loaded.
        let listen_error = |cause| ServeError::Bind { host: config.host.clone(), port: config.port, cause };
        let listener = TcpListener::bind((config.host.as_str(), config.port)).await.map_err(listen_error)?;
        let addr = listener.local_addr().map_err(listen_error)?;
        if !addr.ip().is_loopback() && keys.is_empty() {
            tracing::warn!(%addr, "listening beyond this machine without API keys: whoever reaches the port can use the model");
        }
        let metrics = Arc::new(Metrics::new());
        let (model, language) = LanguageModel::load(model_dir, config.model_name.as_deref(), &config.device)?;
        let (recorder, records) = match db {
            Some(path) => Some(Recorder::start(RunDb::open(path)?, Arc::clone(&metrics))?).unzip(),
            None => (None, None),
        };
        let language = Arc::new(language);
        let (engine, thread) = Engine::start(model, Arc::clone(&language), &config, Arc::clone(&metrics))?;
        let app = App {
            language,
            engine,
            metrics,
            recorder,
            keys: keys.iter().map(crate::config::ApiKey::digest).collect(),
            config,
            draining: AtomicBool::new(false),
            started: SystemTime::now(),
        };
        Ok(Bound { addr, listener, app: Arc::new(app), engine: thread, records })
    }
}

/// A server that listens.
pub struct Bound {
    /// The address with the real port, also where port 0 was asked for.
    pub addr: SocketAddr,
    listener: TcpListener,
    app: Arc<App>,
    engine: JoinHandle<()>,
    records: Option<JoinHandle<()>>,
}

impl Bound {
    /// The name under which the model is served.
    #[must_use]
    pub fn model_name(&self) -> &str {
        &self.app.language.name
    }

    /// Serves until `shutdown` is ready. Then takes no new requests, finishes the accepted ones (at most for
    /// `shutdown_timeout_seconds`), and returns when every reply is in the run database.
    ///
    /// # Errors
    /// None at present; a connection's troubles are its own.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { listener, app, engine, records, .. } = self;
        let (stop, stopping) = watch::channel(false);
        let serving =
            connections::serve(listener, router(Arc::clone(&app)), &app.config, Arc::clone(&app.metrics), stopping);
        let stopper = async {
            shutdown.await;
            tracing::info!("shutting down: finishing running replies");
            app.draining.store(true, Ordering::Release);
            // The receiver lives in `serving`, which ends only after this.
            let _ = stop.send(true);
        };
        futures::join!(serving, stopper);
        app.engine.stop();
        // With the last handles gone, both threads end; joining them may block for one step of the model.
        drop(app);
        let joined = tokio::task::spawn_blocking(move || {
            let engine = engine.join();
            (engine, records.map(JoinHandle::join))
        });
        if !matches!(joined.await, Ok((Ok(()), None | Some(Ok(()))))) {
            tracing::error!("a thread of the server ended in a panic");
        }
        Ok(())
    }
}

/// Serves from a program that is not asynchronous: builds a runtime, calls `on_ready` with the address and the
/// model's name once clients can connect, and serves until `stop` is true.
///
/// # Errors
/// As [`Server::bind`] and [`Bound::run`].
pub fn serve_blocking(
    model_dir: &Path,
    config: ServeConfig,
    db: Option<&Path>,
    on_ready: impl FnOnce(SocketAddr, &str),
    stop: &AtomicBool,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("danlu-http")
        // The engine does the arithmetic; HTTP needs little.
        .worker_threads(2)
        .build()
        .map_err(|cause| ServeError::Start { what: "the asynchronous runtime", cause })?;
    runtime.block_on(async {
        let bound = Server::bind(model_dir, config, db).await?;
        on_ready(bound.addr, bound.model_name());
        let shutdown = async {
            while !stop.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        bound.run(shutdown).await
    })
}
