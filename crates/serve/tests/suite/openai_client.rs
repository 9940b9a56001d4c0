//! The official OpenAI Python client, by `scripts/check_openai_client.py`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{TestServer, skip};

fn runs(python: &Path) -> bool {
    let outcome = Command::new(python).args(["-c", "import openai"]).output();
    outcome.is_ok_and(|output| output.status.success())
}

/// A Python that has the package: the test command's, the system's, or a virtual environment made beside the build.
fn python() -> Result<PathBuf, String> {
    let system = PathBuf::from("python3");
    let given = std::env::var_os("DANLU_TEST_PYTHON").map(PathBuf::from);
    if let Some(found) = given.into_iter().chain([system.clone()]).find(|python| runs(python)) {
        return Ok(found);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openai-client");
    let python = venv.join("bin/python");
    if runs(&python) {
        return Ok(python);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("failed").to_owned()),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new(&system).args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--timeout",
        "15",
        "openai",
    ]))?;
    Ok(python)
}

#[test]
fn the_official_client_is_content() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            skip("the_official_client_is_content", &format!("no Python with the openai package ({reason})"));
            return;
        }
    };
    let server = TestServer::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/check_openai_client.py");
    let output = Command::new(python).arg(script).arg(server.url("/v1")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("all checks passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
