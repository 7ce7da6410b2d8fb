//! A sweep as a Kubernetes Indexed Job: the manifest, to be looked at and applied by its user.
//!
//! Each index is a run's place in `sweep.json`, and does what an element of a Slurm array does. The
//! exit codes become a pod failure policy: an interrupted run is started again without counting, a
//! failed one is not started again, and the loss of a node is nobody's fault.

use crate::slurm::SlurmSettings;
use std::fmt::Write;
use std::path::Path;

/// What the manifest needs to know beside the sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesWork<'a> {
    /// Name of the sweep.
    pub name: &'a str,
    /// The sweep directory, as containers see it.
    pub dir: &'a Path,
    /// Image with the program at `slender`.
    pub image: &'a str,
    /// Persistent volume claim that holds the sweep directory, readable and writable by many.
    pub volume: &'a str,
    /// Where it is mounted.
    pub mount: &'a Path,
    /// Runs of the sweep, or workers of a search.
    pub completions: usize,
    /// Whether each index is a run; otherwise indices are workers that take what there is.
    pub indexed: bool,
    /// Device, if it is to differ from the configurations'.
    pub device: Option<&'a str>,
}

/// The manifest as YAML. Of the settings it takes `throttle`, `cpus`, `mem` and the number of GPUs in
/// `gres`.
pub fn indexed_job(work: &KubernetesWork<'_>, settings: &SlurmSettings) -> String {
    let name = dns_name(work.name);
    let parallelism = settings
        .throttle
        .map_or(work.completions, |most| work.completions.min(most as usize));
    let mut command = format!("exec slender sweep work {}", crate::slurm::quoted(work.dir));
    if work.indexed {
        command += " --index \"$JOB_COMPLETION_INDEX\"";
    }
    if let Some(device) = work.device {
        let _ = write!(
            command,
            " --device {}",
            crate::slurm::quoted(Path::new(device))
        );
    }
    let mut limits = String::new();
    if let Some(cpus) = settings.cpus {
        let _ = writeln!(limits, "              cpu: \"{cpus}\"");
    }
    if let Some(memory) = settings.mem.as_deref().and_then(memory) {
        let _ = writeln!(limits, "              memory: {memory}");
    }
    if let Some(gpus) = settings.gres.as_deref().and_then(gpus) {
        let _ = writeln!(limits, "              nvidia.com/gpu: {gpus}");
    }
    let resources = match limits.is_empty() {
        true => String::new(),
        false => format!("          resources:\n            limits:\n{limits}"),
    };
    format!(
        r#"# Indexed Job of a slender sweep; needs Kubernetes 1.29 or newer. Look at image and volume first.
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
spec:
  completionMode: Indexed
  completions: {completions}
  parallelism: {parallelism}
  backoffLimitPerIndex: 20
  maxFailedIndexes: {completions}
  podFailurePolicy:
    rules:
    - action: Ignore            # a node that went away, or made room
      onPodConditions: [{{type: DisruptionTarget}}]
    - action: Ignore            # 75: interrupted after a checkpoint; 73: another worker has the run
      onExitCodes: {{containerName: slender, operator: In, values: [73, 75]}}
    - action: FailIndex         # 70, 2: trying again would not help
      onExitCodes: {{containerName: slender, operator: In, values: [2, 70]}}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 120
      containers:
        - name: slender
          image: {image}
          command: ["/bin/sh", "-c", {command}]
{resources}          volumeMounts:
            - {{name: sweep, mountPath: {mount}}}
      volumes:
        - name: sweep
          persistentVolumeClaim: {{claimName: {volume}}}
"#,
        completions = work.completions,
        image = yaml(work.image),
        command = yaml(&command),
        mount = yaml(&work.mount.to_string_lossy()),
        volume = yaml(work.volume),
    )
}

/// A scalar of YAML: JSON strings are.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name that Kubernetes takes.
fn dns_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = lower.chars().map(fits).take(50).collect();
    format!("slender-{}", name.trim_matches('-'))
}

/// `16G` of Slurm, which counts in powers of two, is `16Gi` here.
fn memory(slurm: &str) -> Option<String> {
    let slurm = slurm.trim();
    let digits = slurm.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match slurm[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "M" | "MB" => "Mi",
        "K" | "KB" => "Ki",
        "G" | "GB" => "Gi",
        "T" | "TB" => "Ti",
        _ => return None,
    };
    digits.parse::<u64>().ok()?;
    Some(format!("{digits}{unit}"))
}

/// GPUs in `gpu:2` or `gpu:a100:2`.
fn gpus(gres: &str) -> Option<u32> {
    let gpu = gres
        .split(',')
        .find(|each| each.trim().starts_with("gpu"))?;
    Some(gpu.rsplit(':').next()?.parse().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_the_runs_and_the_codes() {
        let work = KubernetesWork {
            name: "Smoke_2x",
            dir: Path::new("/sweeps/smoke"),
            image: "registry.example/slender:0.1",
            volume: "sweeps",
            mount: Path::new("/sweeps"),
            completions: 8,
            indexed: true,
            device: Some("cuda"),
        };
        let settings = SlurmSettings {
            throttle: Some(2),
            cpus: Some(4),
            mem: Some("16G".into()),
            gres: Some("gpu:a100:2".into()),
            ..SlurmSettings::default()
        };
        let yaml = indexed_job(&work, &settings);
        for line in [
            "  name: slender-smoke-2x\n",
            "  completions: 8\n  parallelism: 2\n",
            "              cpu: \"4\"\n              memory: 16Gi\n              nvidia.com/gpu: 2\n",
            r#"["/bin/sh", "-c", "exec slender sweep work /sweeps/smoke --index \"$JOB_COMPLETION_INDEX\" --device cuda"]"#,
            "values: [73, 75]",
            "            - {name: sweep, mountPath: \"/sweeps\"}\n",
        ] {
            assert!(yaml.contains(line), "{line}\n{yaml}");
        }
    }
}
