//! `danlu data work ADDRESS`.

use std::time::Duration;

use danlu_work::WorkOptions;

use crate::args::DataWorkArgs;
use crate::output::{line, note};
use crate::signals::stop_flag;

pub fn work(args: &DataWorkArgs) -> anyhow::Result<()> {
    let stop = stop_flag("the part at work is finished first");
    let options = WorkOptions::new();
    note(&format!("{} works at {}", options.worker, args.address));
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("danlu-{}", options.worker)),
    };
    let idle = Duration::from_secs(args.idle);
    let tell = |part: &str| note(&format!("  {part}"));
    let worked = danlu_pipeline::work(&args.address, idle, &options, &folder, stop, &tell);
    if args.folder.is_none() {
        let _ = std::fs::remove_dir_all(&folder); // only this process knows of it
    }
    let summary = worked?;
    let taken = if summary.taken_over > 0 { format!(", {} taken over", summary.taken_over) } else { String::new() };
    note(&format!("{} parts done here{taken}", summary.done));
    if args.json {
        line(&serde_json::to_string(&summary)?);
    }
    Ok(())
}
