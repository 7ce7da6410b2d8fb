//! Points of a search as axes: values of several keys that go together.

use super::file::SweepFile;
use super::parts::Axis;
use crate::error::ConfigError;
use serde_json::Value as Json;
use std::collections::BTreeMap;

impl SweepFile {
    /// Tries every start and every combination of the axes at each of `points`, which give values to the
    /// same keys; `section` is where they come from in the file. An empty point changes nothing.
    ///
    /// # Errors
    /// A key that an axis varies already.
    pub fn add_points(
        &mut self,
        section: &str,
        points: &[BTreeMap<String, Json>],
    ) -> Result<(), ConfigError> {
        let keys: Vec<String> = points
            .first()
            .map_or_else(Vec::new, |p| p.keys().cloned().collect());
        let mut problems = Vec::new();
        let mut group = Vec::new();
        for key in keys {
            let path = format!("{section}.{key}");
            if self.axes.iter().any(|axis| axis.key == key) {
                let hint = "leave it in one of the two".to_owned();
                problems.push(self.problem(&path, format!("`{key}` is in [axes] too"), Some(hint)));
                continue;
            }
            let value =
                |point: &BTreeMap<String, Json>| toml::Value::try_from(point.get(&key)).ok();
            let origin = self
                .merged()
                .origin(&path)
                .or_else(|| self.merged().origin("search"));
            group.push(self.axes.len());
            self.axes.push(Axis {
                values: points.iter().filter_map(value).collect(),
                key,
                origin,
                path,
            });
        }
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        if !group.is_empty() {
            self.groups.push(group);
        }
        Ok(())
    }
}
