//! A Slurm cluster of two pretend nodes on this machine: no root, no munge, no database.

use crate::support::signal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The cluster; stopped when dropped.
pub struct Cluster {
    root: tempfile::TempDir,
}

impl Cluster {
    /// Starts one, or says why there is none.
    pub fn start() -> Result<Self, String> {
        for name in ["slurmctld", "slurmd", "sbatch", "squeue"] {
            if find(name).is_none() {
                return Err(format!("{name} is not installed (Debian: slurm-wlm)"));
            }
        }
        let root = tempfile::tempdir().unwrap();
        let cluster = Self { root };
        let dir = cluster.root.path().display();
        let host = output(Command::new("hostname").arg("-s"));
        let user = output(Command::new("id").arg("-un"));
        let ports: Vec<TcpListener> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let port = |index: usize| ports[index].local_addr().unwrap().port();
        let mut text = format!(
            "ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmctldPort={}
SlurmdParameters=config_overrides
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd-%n.log
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
MinJobAge=3600
ReturnToService=2
SlurmdTimeout=10
MessageTimeout=10
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
",
            port(0)
        );
        for node in [1, 2] {
            text += &format!(
                "NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={} CPUs=4 RealMemory=4000 State=UNKNOWN\n",
                port(node)
            );
        }
        text += "PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1\n";
        text += "PartitionName=urgent Nodes=n[1-2] MaxTime=INFINITE State=UP PriorityTier=10\n";
        drop(ports);
        std::fs::create_dir_all(cluster.root.path().join("state")).unwrap();
        std::fs::write(cluster.conf(), text).unwrap();
        cluster.start_controller();
        for node in ["n1", "n2"] {
            cluster.start_node(node);
        }
        cluster.until("both nodes are idle", Duration::from_secs(60), || {
            cluster
                .slurm(
                    "sinfo",
                    &["-h", "-N", "-p", "main", "-t", "idle", "-o", "%N"],
                )
                .lines()
                .count()
                == 2
        });
        Ok(cluster)
    }

    fn conf(&self) -> PathBuf {
        self.root.path().join("slurm.conf")
    }

    /// Has a command talk to this cluster.
    pub fn join<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("SLURM_CONF", self.conf())
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
    }

    /// What a command of Slurm prints.
    pub fn slurm(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(find(name).unwrap());
        let output = self.join(command.args(arguments)).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn start_controller(&self) {
        self.daemon("slurmctld", &[]);
    }

    pub fn start_node(&self, node: &str) {
        self.daemon("slurmd", &["-N", node]);
    }

    fn daemon(&self, name: &str, arguments: &[&str]) {
        let mut command = Command::new(find(name).unwrap());
        let command = command.args(arguments).stdout(Stdio::null());
        let status = self.join(command).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{name} does not start: {}", self.logs());
    }

    /// Process of `slurmctld` or `slurmd-n1`.
    pub fn pid(&self, daemon: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.root.path().join(format!("{daemon}.pid"))).ok()?;
        text.trim().parse().ok()
    }

    /// The ends of the daemons' logs.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.root.path()).unwrap().flatten() {
            if entry
                .path()
                .extension()
                .is_some_and(|ending| ending == "log")
            {
                let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(25)..];
                text += &format!("\n== {}\n{}\n", entry.path().display(), tail.join("\n"));
            }
        }
        text
    }

    /// Waits until `condition` holds; panics with the logs if it does not.
    pub fn until(&self, what: &str, limit: Duration, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + limit;
        while !condition() {
            if Instant::now() > deadline {
                let queue = self.slurm("squeue", &["-a", "-r", "-o", "%F_%K %T %r %N"]);
                panic!("not within {limit:?}: {what}\n{queue}{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.slurm(
            "scancel",
            &[
                "--state=PENDING",
                "--user",
                &output(Command::new("id").arg("-un")),
            ],
        );
        self.slurm(
            "scancel",
            &["--user", &output(Command::new("id").arg("-un"))],
        );
        std::thread::sleep(Duration::from_millis(500));
        for daemon in ["slurmd-n1", "slurmd-n2", "slurmctld"] {
            if let Some(pid) = self.pid(daemon) {
                signal(pid, "TERM");
                let deadline = Instant::now() + Duration::from_secs(10);
                while Path::new(&format!("/proc/{pid}")).exists() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

/// A program on `PATH` or where distributions put daemons.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').map(str::to_owned);
    let all = folders.chain(["/usr/sbin".to_owned(), "/sbin".to_owned()]);
    all.map(|folder| Path::new(&folder).join(name))
        .find(|path| path.is_file())
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
