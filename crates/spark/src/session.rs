use std::io::Cursor;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use http::uri::PathAndQuery;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::messages::*;
use crate::{Address, SparkError};

/// How long a server may take to answer the first knock.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A query may run for hours in silence; that the other side is still there, pings tell.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Spark sends batches of some MiB; a single row may be larger.
const MOST_BYTES: usize = 1 << 30;
const CLIENT: &str = concat!("danlu/", env!("CARGO_PKG_VERSION"));

/// A session with a Spark Connect server. Its tables are seen by nobody else and go with it.
///
/// Calls block; they must not be made from within an asynchronous runtime.
pub struct Session {
    address: Address,
    channel: Channel,
    runtime: Runtime,
    id: String,
    plans: AtomicI64,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// [`SparkError::Unreachable`], within some seconds.
    pub fn connect(address: &Address) -> Result<Self, SparkError> {
        let unreachable = |message: String| SparkError::Unreachable { address: address.to_string(), message };
        knock(address).map_err(|e| unreachable(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| unreachable(e.to_string()))?;
        let connected = runtime.block_on(async { endpoint(address)?.connect().await });
        let channel = connected.map_err(|e| unreachable(chain(&e)))?;
        let id = uuid::Uuid::new_v4().to_string();
        Ok(Self { address: address.clone(), channel, runtime, id, plans: AtomicI64::new(0) })
    }

    /// Makes a Parquet file, or a folder of them, a table of this name, in the place of one of the same name. The path is
    /// the cluster's.
    pub fn register_parquet(&self, name: &str, path: &str) -> Result<(), SparkError> {
        let files = DataSource { format: Some("parquet".into()), paths: vec![path.into()] };
        let input = Some(self.relation(RelType::Read(Read { data_source: Some(files) })));
        let view = CreateDataFrameView { input, name: name.into(), replace: true };
        let command = Command { command_type: Some(CommandType::CreateDataframeView(view)) };
        self.run(Plan { op_type: Some(OpType::Command(command)) }, path, &mut |_| true)
    }

    /// Gives `take` the rows of a query, batch by batch as they come, some of them empty, until it has enough (false).
    pub fn query(&self, sql: &str, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<(), SparkError> {
        let root = self.relation(RelType::Sql(Sql { query: sql.into() }));
        self.run(Plan { op_type: Some(OpType::Root(root)) }, sql, take)
    }

    fn relation(&self, kind: RelType) -> Relation {
        let plan_id = Some(self.plans.fetch_add(1, Ordering::Relaxed));
        Relation { common: Some(RelationCommon { plan_id }), rel_type: Some(kind) }
    }

    fn run(&self, plan: Plan, sql: &str, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<(), SparkError> {
        let request = ExecutePlanRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user()),
            plan: Some(plan),
            client_type: Some(CLIENT.into()),
        };
        let failed = |status: Status| self.failed(sql, &status);
        let mut answers = self.runtime.block_on(self.execute(request)).map_err(failed)?;
        while let Some(answer) = self.runtime.block_on(answers.message()).map_err(failed)? {
            if let Some(batch) = answer.arrow_batch
                && !self.decode(batch, take)?
            {
                break;
            }
        }
        Ok(())
    }

    async fn execute(&self, request: ExecutePlanRequest) -> Result<tonic::Streaming<ExecutePlanResponse>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MOST_BYTES);
        grpc.ready().await.map_err(|e| Status::unavailable(chain(&e)))?;
        let path = PathAndQuery::from_static("/spark.connect.SparkConnectService/ExecutePlan");
        Ok(grpc.server_streaming(self.request(request), path, ProstCodec::default()).await?.into_inner())
    }

    fn decode(&self, batch: ArrowBatch, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<bool, SparkError> {
        let bad = |message: String| SparkError::BadRows { address: self.address.to_string(), message };
        let (announced, mut rows) = (batch.row_count, 0);
        let reader = StreamReader::try_new(Cursor::new(batch.data), None).map_err(|e| bad(e.to_string()))?;
        for batch in reader {
            let batch = batch.map_err(|e| bad(e.to_string()))?;
            rows += batch.num_rows() as i64;
            if !take(batch) {
                return Ok(false);
            }
        }
        // An IPC stream may end after any of its batches; 0 is also what a server says that does not count.
        if announced != 0 && announced != rows {
            return Err(bad(format!("{announced} rows were announced, and {rows} came")));
        }
        Ok(true)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = self.address.token.as_ref().and_then(|token| format!("Bearer {token}").parse().ok());
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token);
        }
        request
    }

    fn user(&self) -> UserContext {
        UserContext { user_id: self.address.user.clone() }
    }

    fn failed(&self, sql: &str, status: &Status) -> SparkError {
        let address = self.address.to_string();
        // A broken connection is told as UNAVAILABLE, or as UNKNOWN with the transport's error as its source.
        let broken = status.code() == Code::Unavailable || std::error::Error::source(status).is_some();
        match broken {
            true => SparkError::Lost { address, message: chain(status) },
            false => SparkError::Query { address, sql: sql.into(), message: first_lines(status.message()) },
        }
    }
}

impl Drop for Session {
    /// Lets the server forget the session; if that cannot be told, it does so by itself after a while.
    fn drop(&mut self) {
        let request = ReleaseSessionRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user()),
            client_type: Some(CLIENT.into()),
        };
        let request = self.request(request);
        let release = async {
            let mut grpc = Grpc::new(self.channel.clone());
            if grpc.ready().await.is_ok() {
                let path = PathAndQuery::from_static("/spark.connect.SparkConnectService/ReleaseSession");
                let codec = ProstCodec::<_, ReleaseSessionResponse>::default();
                let _ = grpc.unary(request, path, codec).await;
            }
        };
        let _ = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(2), release).await });
    }
}

/// Whether somebody listens at all: a client of gRPC would try again and again for minutes.
fn knock(address: &Address) -> std::io::Result<()> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
    for socket in address.socket().to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn endpoint(address: &Address) -> Result<Endpoint, tonic::transport::Error> {
    let scheme = if address.use_ssl { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", address.socket()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    if address.use_ssl { endpoint.tls_config(ClientTlsConfig::new().with_native_roots()) } else { Ok(endpoint) }
}

/// An error with its causes: the outermost of gRPC alone says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Without the JVM's stack, which Spark appends to its messages.
fn first_lines(message: &str) -> String {
    let lines = message.lines().take_while(|line| !line.trim_start().starts_with("at ") && *line != "JVM stacktrace:");
    lines.take(12).collect::<Vec<_>>().join("\n")
}
