//! Who a process is, in a way that another process can check: machine, process id, start time.
//!
//! A process id alone says little, because ids are used again; with the time the process was
//! started it names one process of one machine. Machines are told apart by the boot id of their
//! kernel and by the namespace that process ids belong to, so that two containers with the same
//! host name are not taken for one.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One process of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host name, for people.
    pub host: String,
    /// Boot id and process-id namespace of its kernel; empty where the system does not tell.
    pub machine: String,
    /// Process id.
    pub pid: u32,
    /// When the process was started, in clock ticks since the machine's start; 0 if unknown.
    pub started: u64,
}

impl Holder {
    /// This process.
    pub fn me() -> Self {
        let pid = std::process::id();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            host: host(),
            machine: if boot.is_empty() {
                String::new()
            } else {
                format!("{boot} {}", space.display())
            },
            pid,
            started: start_of(pid).unwrap_or(0),
        }
    }

    /// Whether the process is alive; `None` if that cannot be known from here.
    pub fn is_alive(&self) -> Option<bool> {
        let here = Self::me();
        if self.machine.is_empty() || self.machine != here.machine || self.started == 0 {
            return None;
        }
        Some(start_of(self.pid) == Some(self.started))
    }
}

/// This machine's name.
pub(crate) fn host() -> String {
    let name = read("/proc/sys/kernel/hostname");
    if name.is_empty() {
        std::env::var("HOSTNAME").unwrap_or_else(|_| "unknown".into())
    } else {
        name
    }
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

fn read(path: &str) -> String {
    let text = std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    text.trim().to_owned()
}

/// Start time of a process that runs: field 22 of `/proc/PID/stat`, counted behind the command's
/// name, which may hold anything. A zombie runs no more.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_its_machine() {
        let me = Holder::me();
        assert_eq!(me.is_alive(), Some(true));
        let earlier = Holder {
            started: me.started - 1,
            ..me.clone()
        };
        assert_eq!(earlier.is_alive(), Some(false), "the id was used again");
        let elsewhere = Holder {
            machine: "another".into(),
            ..me
        };
        assert_eq!(elsewhere.is_alive(), None);
    }

    #[test]
    fn a_dead_child_is_dead_before_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let holder = Holder {
            pid: child.id(),
            started: start_of(child.id()).unwrap_or(1),
            ..Holder::me()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while holder.is_alive() != Some(false) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
    }
}
