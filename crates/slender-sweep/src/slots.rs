//! Places to run at: each of several jobs on one machine gets a share of its processors, and a GPU.
//!
//! Threads are divided evenly. GPUs are dealt out in turn where a run asks for `cuda` or `wgpu`
//! without an index: a CUDA process is shown its own GPU alone (`CUDA_VISIBLE_DEVICES`), a wgpu
//! process is told an index. Under a scheduler the scheduler has dealt already, and what it shows is
//! what is dealt here.

use slender_config::{Backend, DeviceSpec};
use std::path::Path;

/// Where one of the jobs of a worker process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// CPU threads; `None` leaves it to the configuration.
    pub threads: Option<usize>,
    /// A `run.threads` of the configuration's own goes before `threads`.
    pub yields: bool,
    /// The GPU: its place in the list, and its name in `CUDA_VISIBLE_DEVICES`.
    pub gpu: Option<(usize, String)>,
}

impl Slot {
    /// The slots of `jobs` jobs on this machine. `threads` of them all together are divided;
    /// `gpus` are the names of those to be shared, see [`visible_gpus`].
    pub fn deal(jobs: usize, threads: Option<usize>, gpus: &[String]) -> Vec<Self> {
        let jobs = jobs.max(1);
        (0..jobs)
            .map(|job| Self {
                threads: threads.map(|all| (all / jobs).max(1)),
                yields: true,
                gpu: (!gpus.is_empty()).then(|| (job % gpus.len(), gpus[job % gpus.len()].clone())),
            })
            .collect()
    }

    /// What a run on `device` is given: `--device`, if it is to differ, and an environment variable.
    pub(crate) fn place(&self, device: &str) -> (Option<String>, Option<(&'static str, String)>) {
        let (Some((index, name)), Ok(spec)) = (&self.gpu, device.parse::<DeviceSpec>()) else {
            return (None, None);
        };
        match spec.backend {
            // An index of the user's own is the user's decision.
            _ if device.contains(':') => (None, None),
            Backend::Cuda => (None, Some(("CUDA_VISIBLE_DEVICES", name.clone()))),
            Backend::Wgpu => (Some(format!("wgpu:{index}")), None),
            Backend::Flex | Backend::NdArray => (None, None),
        }
    }
}

/// The GPUs to be shared: `wanted`, which is a number or a list such as `0,2`; else what
/// `CUDA_VISIBLE_DEVICES` names; else all that the NVIDIA driver knows.
///
/// # Errors
/// `wanted` is neither.
pub fn visible_gpus(wanted: Option<&str>) -> Result<Vec<String>, String> {
    let split = |text: &str| -> Vec<String> {
        let parts = text.split(',').map(|part| part.trim().to_owned());
        parts.filter(|part| !part.is_empty()).collect()
    };
    let shown = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    if let Some(wanted) = wanted {
        if let Ok(number) = wanted.trim().parse::<usize>() {
            return Ok(match shown.as_deref().map(split) {
                Some(shown) if shown.len() >= number => shown[..number].to_vec(),
                _ => (0..number).map(|index| index.to_string()).collect(),
            });
        }
        let list = split(wanted);
        if list.len() < 2 && !wanted.contains(',') {
            return Err(format!(
                "`{wanted}` names no GPUs\n  hint: give a number such as 4, or a list such as 0,2"
            ));
        }
        return Ok(list);
    }
    if let Some(shown) = shown {
        return Ok(split(&shown));
    }
    let driver = std::fs::read_dir(Path::new("/proc/driver/nvidia/gpus"));
    let known = driver.map_or(0, |entries| entries.count());
    Ok((0..known).map(|index| index.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_share_threads_and_take_gpus_in_turn() {
        let gpus = ["0".to_owned(), "GPU-8a".to_owned()];
        let slots = Slot::deal(3, Some(8), &gpus);
        assert_eq!(slots[0].threads, Some(2));
        let cuda: Vec<_> = slots.iter().map(|slot| slot.place("cuda").1).collect();
        let shown = |name: &str| Some(("CUDA_VISIBLE_DEVICES", name.to_owned()));
        assert_eq!(cuda, [shown("0"), shown("GPU-8a"), shown("0")]);
        assert_eq!(slots[1].place("wgpu"), (Some("wgpu:1".into()), None));
        for device in ["flex", "cuda:0", "wgpu:1"] {
            assert_eq!(slots[1].place(device), (None, None), "{device}");
        }
        assert_eq!(Slot::deal(2, None, &[])[1].threads, None);
    }

    #[test]
    fn gpus_are_counted_or_named() {
        assert_eq!(visible_gpus(Some("0,2")).unwrap(), ["0", "2"]);
        assert_eq!(visible_gpus(Some("0")).unwrap().len(), 0);
        assert!(visible_gpus(Some("all")).unwrap_err().contains("`all`"));
    }
}
