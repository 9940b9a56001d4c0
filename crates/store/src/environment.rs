use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// The machine and program, for reports: `os`, `arch`, `cpu`, `cores`, `memory_bytes`, `danlu_version`.
/// What the system does not tell is null.
pub fn environment() -> Value {
    json!({
        "os": operating_system(),
        "arch": std::env::consts::ARCH,
        "cpu": cpu_model(),
        "cores": std::thread::available_parallelism().map(std::num::NonZero::get).ok(),
        "memory_bytes": memory_bytes(),
        "danlu_version": env!("CARGO_PKG_VERSION"),
    })
}

fn operating_system() -> String {
    let name = fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|text| field(&text, "PRETTY_NAME", '=').map(|name| name.trim_matches('"').to_owned()));
    match name {
        Some(name) => format!("{name} ({})", std::env::consts::OS),
        None => std::env::consts::OS.to_owned(),
    }
}

fn cpu_model() -> Option<String> {
    match fs::read_to_string("/proc/cpuinfo") {
        Ok(text) => field(&text, "model name", ':').map(str::to_owned),
        Err(_) => sysctl("machdep.cpu.brand_string"),
    }
}

fn memory_bytes() -> Option<u64> {
    match fs::read_to_string("/proc/meminfo") {
        Ok(text) => {
            let kilobytes: u64 = field(&text, "MemTotal", ':')?.trim_end_matches("kB").trim().parse().ok()?;
            Some(kilobytes * 1024)
        }
        Err(_) => sysctl("hw.memsize")?.parse().ok(),
    }
}

/// The first `name<separator>value` line's value.
fn field<'a>(text: &'a str, name: &str, separator: char) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// macOS tells these by a program.
fn sysctl(name: &str) -> Option<String> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let output = Command::new("sysctl").args(["-n", name]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2: fast\nmodel name\t: other\n";
        assert_eq!(field(text, "model name", ':'), Some("Some CPU @ 2: fast"));
        assert_eq!(field(text, "flags", ':'), None);
    }

    #[test]
    fn tells_the_cores_and_the_version() {
        let told = environment();
        assert!(told["cores"].as_u64().is_some_and(|cores| cores >= 1));
        assert_eq!(told["danlu_version"], env!("CARGO_PKG_VERSION"));
        #[cfg(target_os = "linux")]
        assert!(told["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{told}");
    }
}
