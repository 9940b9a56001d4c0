//! `danlu serve MODEL`.

use std::path::Path;

use danlu_serve::ServeConfig;
use danlu_store::Workspace;

use crate::args::{Global, ServeArgs};
use crate::output::note;
use crate::signals::stop_flag;

pub fn serve(global: &Global, args: &ServeArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let mut config = resolve(args);
    config.device = danlu_pipeline::select_device(&global.device)?;
    let open_to_all = !config.is_loopback() && args.api_keys.is_none();
    if open_to_all {
        note("warning: anyone who can reach this address can use the model; --api-keys FILE asks for a key");
    }
    let stop = stop_flag("running replies are finished first");
    danlu_serve::serve_blocking(
        &args.model,
        config,
        Some(&workspace.db_path()),
        |address, name| {
            note(&format!("serving {name} at http://{address}  (page: /, API: /v1, metrics: /metrics; Ctrl-C stops)"));
        },
        stop,
    )?;
    Ok(())
}

/// A run's `model` and `model-int8` are served under the run's name: "model" would tell a client nothing.
fn run_name(model: &Path) -> Option<String> {
    let full = model.canonicalize().ok()?;
    let run = full.parent()?.file_name()?.to_string_lossy().into_owned();
    match full.file_name()?.to_str()? {
        "model" => Some(run),
        "model-int8" => Some(format!("{run}-int8")),
        _ => None,
    }
}

fn resolve(args: &ServeArgs) -> ServeConfig {
    let mut config = ServeConfig { host: args.host.clone(), port: args.port, ..ServeConfig::default() };
    config.api_key_file = args.api_keys.clone();
    config.model_name = run_name(&args.model);
    if let Some(n) = args.max_batch {
        config.max_batch = n;
    }
    if let Some(n) = args.max_queue {
        config.max_queue = n;
    }
    if let Some(n) = args.max_tokens {
        config.max_tokens = n;
    }
    if let Some(seconds) = args.timeout {
        config.request_timeout_seconds = seconds as f64;
    }
    config
}
