use std::process::Command;

use crate::process::{Process, wait};
use crate::{ports, python};

/// Sail, which speaks Spark Connect; stopped on drop.
pub struct Sail {
    _process: Process,
    _dir: tempfile::TempDir,
    port: u16,
}

impl Sail {
    pub fn start() -> Result<Self, String> {
        Self::with(&[])
    }

    /// With further variables in its environment, such as those of an object store.
    pub fn with(variables: &[(String, String)]) -> Result<Self, String> {
        let program = python::environment("sail", &["pysail==0.7.2"])?.join("bin/sail");
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let [port] = ports::free::<1>()?;
        let mut command = Command::new(program);
        command.args(["spark", "server", "--ip", "127.0.0.1", "--port", &port.to_string()]);
        command.envs(variables.iter().cloned()).current_dir(dir.path());
        let process = Process::start(&mut command, &dir.path().join("sail.log"))?;
        wait("Sail does not listen", 60, || ports::listens(port))?;
        Ok(Self { _process: process, _dir: dir, port })
    }

    pub fn address(&self) -> String {
        format!("spark://127.0.0.1:{}", self.port)
    }
}
