use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server's process, which ends with this value.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Starts a program whose output goes into a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let open = || std::fs::File::create(log).map_err(|e| e.to_string());
        let log = open()?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let started = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        started.map(Self).map_err(|e| format!("{command:?}: {e}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again until the answer is yes; an error with what was waited for after so long.
pub(crate) fn wait(what: &str, seconds: u64, mut ready: impl FnMut() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !ready() {
        if begun.elapsed() > Duration::from_secs(seconds) {
            return Err(format!("waited {seconds} s: {what}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
