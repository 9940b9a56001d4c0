use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{Process, wait};
use crate::{ports, python};

/// Apache Spark with Java: a master, two workers of one executor each, and a Connect server; stopped on drop.
pub struct SparkCluster {
    // The server goes before those it works with.
    _processes: Vec<Process>,
    _dir: tempfile::TempDir,
    connect: u16,
    ui: u16,
}

/// What all four processes are told.
struct Launcher {
    home: PathBuf,
    python: PathBuf,
    dir: PathBuf,
}

impl Launcher {
    fn start(&self, program: &str, name: &str, args: &[&str]) -> Result<Process, String> {
        let mut command = Command::new(self.home.join("bin").join(program));
        command
            .args(args)
            .current_dir(&self.dir)
            .env("SPARK_HOME", &self.home)
            .env("PYSPARK_PYTHON", &self.python)
            .envs([
                ("SPARK_LOCAL_IP", "127.0.0.1"),
                ("SPARK_PUBLIC_DNS", "127.0.0.1"),
                ("SPARK_DAEMON_MEMORY", "512m"),
            ]);
        Process::start(&mut command, &self.dir.join(format!("{name}.log")))
    }
}

impl SparkCluster {
    pub fn start() -> Result<Self, String> {
        let java = Command::new("java").arg("-version").output().map_err(|e| format!("no Java: {e}"))?;
        if !java.status.success() {
            return Err("no Java that works".into());
        }
        let venv = python::environment("spark", &["pyspark==4.3.0"])?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let home = home(&venv)?;
        let launcher = Launcher { home, python: venv.join("bin/python"), dir: dir.path().into() };
        let [master, master_ui, ui, connect] = ports::free::<4>()?;
        let mut processes = start_master_and_workers(&launcher, master, master_ui)?;
        processes.insert(0, start_connect(&launcher, master, ui, connect)?);
        wait("Spark Connect does not listen", 120, || ports::listens(connect))?;
        Ok(Self { _processes: processes, _dir: dir, connect, ui })
    }

    pub fn address(&self) -> String {
        format!("spark://127.0.0.1:{}", self.connect)
    }

    /// Waits until a stage is running that has begun tasks, and kills (-9) one executor. Returns the executor's name.
    pub fn kill_an_executor_at_work(&self) -> Result<String, String> {
        let app = self.application()?;
        wait("no stage runs", 120, || {
            let stages = self.ask(&format!("{app}/stages?status=active"));
            stages.is_ok_and(|stages| {
                stages.as_array().is_some_and(|all| all.iter().any(|stage| stage["numActiveTasks"].as_u64() > Some(0)))
            })
        })?;
        let pid = executors()?.into_iter().next().ok_or("there is no executor")?;
        let killed = Command::new("kill").args(["-9", &pid]).status().map_err(|e| e.to_string())?;
        if killed.success() { Ok(pid) } else { Err(format!("kill -9 {pid} failed")) }
    }

    /// How many executors the cluster has lost.
    pub fn lost_executors(&self) -> Result<usize, String> {
        let all = self.ask(&format!("{}/allexecutors", self.application()?))?;
        let all = all.as_array().cloned().unwrap_or_default();
        Ok(all.iter().filter(|executor| executor["id"] != "driver" && executor["isActive"] == false).count())
    }

    fn application(&self) -> Result<String, String> {
        let all = self.ask("applications")?;
        let id = all[0]["id"].as_str().ok_or("Spark names no application")?;
        Ok(format!("applications/{id}"))
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = ports::http(self.ui, &format!("GET /api/v1/{path}")).map_err(|e| e.to_string())?;
        let body = answer.find(['[', '{']).map(|at| &answer[at..]).ok_or("an answer without JSON")?;
        serde_json::from_str(body).map_err(|e| e.to_string())
    }
}

fn home(venv: &Path) -> Result<PathBuf, String> {
    let versions = std::fs::read_dir(venv.join("lib")).map_err(|e| e.to_string())?;
    let mut homes = versions.flatten().map(|version| version.path().join("site-packages/pyspark"));
    homes.find(|home| home.join("jars").is_dir()).ok_or_else(|| "pyspark holds no Spark".into())
}

fn start_master_and_workers(launcher: &Launcher, master: u16, ui: u16) -> Result<Vec<Process>, String> {
    let (master_text, ui, url) = (master.to_string(), ui.to_string(), format!("spark://127.0.0.1:{master}"));
    let class = "org.apache.spark.deploy.master.Master";
    let args = [class, "--host", "127.0.0.1", "--port", &master_text, "--webui-port", &ui];
    let mut processes = vec![launcher.start("spark-class", "master", &args)?];
    wait("Spark's master does not listen", 60, || ports::listens(master))?;
    for name in ["worker-1", "worker-2"] {
        let [port, ui] = ports::free::<2>()?.map(|port| port.to_string());
        let folder = launcher.dir.join(name).to_string_lossy().into_owned();
        let class = "org.apache.spark.deploy.worker.Worker";
        let args =
            [class, "--host", "127.0.0.1", "--port", &port, "--webui-port", &ui, "--cores", "1", "--memory", "1500m"];
        let args = [&args[..], &["--work-dir", &folder, &url]].concat();
        processes.insert(0, launcher.start("spark-class", name, &args)?);
    }
    Ok(processes)
}

fn start_connect(launcher: &Launcher, master: u16, ui: u16, connect: u16) -> Result<Process, String> {
    let (local, warehouse) = (launcher.dir.join("local"), launcher.dir.join("warehouse"));
    let settings = [
        "spark.connect.grpc.binding.address=127.0.0.1".to_owned(),
        format!("spark.connect.grpc.binding.port={connect}"),
        "spark.driver.host=127.0.0.1".into(),
        "spark.driver.bindAddress=127.0.0.1".into(),
        "spark.cores.max=2".into(),
        "spark.executor.cores=1".into(),
        "spark.executor.memory=1g".into(),
        "spark.driver.memory=1g".into(),
        "spark.sql.shuffle.partitions=8".into(),
        format!("spark.ui.port={ui}"),
        format!("spark.local.dir={}", local.display()),
        format!("spark.sql.warehouse.dir={}", warehouse.display()),
    ];
    let url = format!("spark://127.0.0.1:{master}");
    let mut args = vec!["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "--master", &url];
    settings.iter().for_each(|setting| args.extend(["--conf", setting]));
    launcher.start("spark-submit", "connect", &args)
}

/// Processes of executors on this machine.
fn executors() -> Result<Vec<String>, String> {
    let found =
        Command::new("pgrep").args(["-f", "CoarseGrainedExecutorBackend"]).output().map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&found.stdout).lines().map(String::from).collect())
}
