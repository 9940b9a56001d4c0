use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Two tests of one process must not fill one environment.
static FILLING: Mutex<()> = Mutex::new(());

/// An environment of Python under `target/` with these packages, made when it is not there yet.
pub(crate) fn environment(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let _filling = FILLING.lock();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(format!("test-venv-{name}"));
    let done = folder.join("installed.txt");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip")).args(["install", "-q"]).args(packages))?;
    std::fs::write(&done, wanted).map_err(|e| e.to_string())?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", errors.lines().last().unwrap_or("it failed")))
}
