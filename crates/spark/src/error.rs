/// What can go wrong between danlu and a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparkError {
    #[error("{address}: not an address of a Spark Connect server: {message}")]
    BadAddress { address: String, message: String },
    #[error("cannot reach a Spark Connect server at {address}: {message}")]
    Unreachable { address: String, message: String },
    /// The server is there and refuses or fails.
    #[error("{message} (in the SQL {sql:?}, by {address})")]
    Query { address: String, sql: String, message: String },
    /// The connection broke while a query ran.
    #[error("lost the Spark Connect server at {address}: {message}")]
    Lost { address: String, message: String },
    #[error("{address} sent rows that cannot be read: {message}")]
    BadRows { address: String, message: String },
}

impl SparkError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::BadAddress { .. } => Some("write it as spark://HOST:15002"),
            Self::Unreachable { .. } => Some(
                "start one (`sbin/start-connect-server.sh` of Spark, `sail spark server` of Sail), or check host and port",
            ),
            Self::Lost { .. } => Some("run the same command again: nothing finished is lost"),
            Self::Query { .. } | Self::BadRows { .. } => None,
        }
    }
}
