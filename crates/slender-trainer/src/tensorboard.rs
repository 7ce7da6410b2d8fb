//! TensorBoard event files.
//!
//! The format is a TFRecord stream of `Event` messages; the few fields scalars need are declared
//! here with prost. A resumed run starts a new file whose first record tells TensorBoard to forget
//! later steps of the earlier files.

use crate::error::TrainError;
use crate::rundir::unix_time;
use prost::Message;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<ScalarValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScalarValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.SessionStatus.START`: later steps of earlier files are void.
const SESSION_START: i32 = 1;

/// Writes scalars to one event file.
#[derive(Debug)]
pub(crate) struct EventWriter {
    path: PathBuf,
    file: std::fs::File,
}

impl EventWriter {
    /// Starts a file in `dir` for a run that continues after `step`.
    pub(crate) fn create(dir: &Path, step: u64) -> Result<Self, TrainError> {
        let io = |source| TrainError::Io {
            file: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        let name = format!(
            "events.out.tfevents.{}.{:08}.{}",
            unix_time(),
            step,
            std::process::id()
        );
        let path = dir.join(name);
        let file = std::fs::File::create(&path).map_err(io)?;
        let mut writer = Self { path, file };
        writer.write(&Event {
            file_version: Some("brain.Event:2".into()),
            ..writer.event(0)
        })?;
        // Also at the start: an earlier start may have been killed before its first checkpoint.
        let session_log = Some(SessionLog {
            status: SESSION_START,
        });
        writer.write(&Event {
            session_log,
            ..writer.event(step + 1)
        })?;
        Ok(writer)
    }

    fn event(&self, step: u64) -> Event {
        Event {
            wall_time: unix_time() as f64,
            step: step as i64,
            ..Event::default()
        }
    }

    /// Writes scalars of one step.
    pub(crate) fn scalars(
        &mut self,
        step: u64,
        values: &[(String, f64)],
    ) -> Result<(), TrainError> {
        let value = values
            .iter()
            .map(|(tag, value)| ScalarValue {
                tag: tag.clone(),
                simple_value: Some(*value as f32),
            })
            .collect();
        self.write(&Event {
            summary: Some(Summary { value }),
            ..self.event(step)
        })
    }

    fn write(&mut self, event: &Event) -> Result<(), TrainError> {
        let body = event.encode_to_vec();
        let length = (body.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(body.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked_crc(&length).to_le_bytes());
        record.extend_from_slice(&body);
        record.extend_from_slice(&masked_crc(&body).to_le_bytes());
        self.file
            .write_all(&record)
            .map_err(|source| TrainError::Io {
                file: self.path.clone(),
                source,
            })
    }
}

/// The TFRecord checksum: CRC-32C, rotated right by 15 bits, plus a constant.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}
