use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong on disk or in the run database. The cause, where there is one, is the error's `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("no space left on the device while writing {}", path.display())]
    NoSpace { path: PathBuf },

    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    /// A file of danlu's own that does not say what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },

    #[error("another danlu process is working on {what} ({})", path.display())]
    Busy { what: String, path: PathBuf },

    #[error("the run database {} refused a request", path.display())]
    Database { path: PathBuf, source: rusqlite::Error },

    #[error("the run database {} has schema version {found}; this danlu knows versions up to {known}", path.display())]
    NewerDatabase { path: PathBuf, found: i64, known: i64 },

    #[error("no run {given:?} in {}", path.display())]
    RunNotFound { given: String, path: PathBuf },

    #[error("{given:?} fits {} runs: {}", matches.len(), matches.join(", "))]
    RunAmbiguous { given: String, matches: Vec<String> },

    #[error("no reply {id:?} in {}", path.display())]
    ReplyNotFound { id: String, path: PathBuf },

    #[error("invalid {what}: {reason}")]
    Invalid { what: &'static str, reason: String },

    #[error("the metrics writer's thread ended unexpectedly")]
    WriterGone,
}

impl StoreError {
    /// The remedy in one sentence, where there is one that the user can apply.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSpace { path } => format!(
                "free some space on the disk that holds {} (or choose another with --runs-dir) and run the same command \
                 again; everything already finished is kept",
                path.parent().unwrap_or(path).display()
            ),
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("check the owner and permissions of {}", path.display())
            }
            Self::Damaged { path, .. } => format!("remove {} and run again to rebuild it", path.display()),
            Self::Busy { .. } => "wait for it to end, or end it, and run again".to_owned(),
            Self::Database { source, path } if is_busy(source) => {
                format!("another program holds a lock on {} for long; close it and run again", path.display())
            }
            Self::Database { source, path } if is_corrupt(source) => {
                format!("move {} away; a new one is created, and artifacts are not affected", path.display())
            }
            Self::NewerDatabase { .. } => "use the newer danlu that made it, or another --runs-dir".to_owned(),
            Self::RunNotFound { .. } => "`danlu runs` lists the runs".to_owned(),
            Self::RunAmbiguous { .. } => "give more characters of the run's id".to_owned(),
            _ => return None,
        };
        Some(hint)
    }

    /// Wraps an error of the operating system; a full disk or quota becomes [`StoreError::NoSpace`].
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io { action, path, source },
        }
    }

    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::NoSpace { path },
            _ => Self::Database { path, source },
        }
    }
}

pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// `result.at("write", path)?` for operations of the operating system.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path, source))
    }
}
