use std::path::PathBuf;

/// What can be wrong with a rule or a query.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// A rule that cannot be compiled or evaluated.
    #[error("rule {rule:?}: {key}{place}: {message}")]
    Rule { rule: String, key: &'static str, place: Place, message: String, hint: Option<String> },
    #[error("{message} (in the SQL {sql:?})")]
    Query { sql: String, message: String },
    /// A query that needed more than it was given.
    #[error("out of memory at {limit} bytes: {message}")]
    OutOfMemory { limit: usize, message: String },
    #[error("{name:?} is no SQL engine")]
    NoEngine { name: String },
    #[error("{name}: this danlu was built without Spark Connect")]
    NotBuilt { name: String },
    #[cfg(feature = "spark")]
    #[error(transparent)]
    Spark(#[from] danlu_spark::SparkError),
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

impl SqlError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Rule { hint, .. } => hint.clone(),
            Self::Query { .. } => None,
            Self::OutOfMemory { .. } => {
                Some("give the query more memory, or sort and group fewer columns: `text` is the largest".into())
            }
            Self::NoEngine { .. } => {
                Some("write \"datafusion\" for the one in this process, or \"spark://HOST:15002\"".into())
            }
            Self::NotBuilt { .. } => {
                Some("build danlu with it: cargo install --path crates/cli --features spark".into())
            }
            #[cfg(feature = "spark")]
            Self::Spark(error) => error.hint().map(String::from),
            Self::Io { .. } => Some("check the path and the free space".into()),
        }
    }
}

/// Where in an expression something is, counted from 1 in characters; empty when not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (_, 0) => Ok(()),
            (0 | 1, column) => write!(formatter, ", character {column}"),
            (line, column) => write!(formatter, ", line {line}, character {column}"),
        }
    }
}
