//! `run.device` and `--device`: which backend computes, and on which of its devices.

use std::fmt;
use std::str::FromStr;

/// A compute backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Burn's flex CPU backend, the default build.
    Flex,
    /// Burn's ndarray CPU backend (cargo feature `ndarray`).
    NdArray,
    /// Vulkan, Metal or DirectX 12 (cargo feature `wgpu`).
    Wgpu,
    /// NVIDIA CUDA (cargo feature `cuda`).
    Cuda,
}

/// A backend and the index of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The backend.
    pub backend: Backend,
    /// Device index; 0 when none was given.
    pub index: usize,
}

/// A device name that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown device `{0}`\n  hint: use flex, ndarray, wgpu or cuda, with an optional index such as cuda:1"
)]
pub struct DeviceParseError(String);

impl FromStr for DeviceSpec {
    type Err = DeviceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || DeviceParseError(text.to_owned());
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, index.parse().map_err(|_| error())?),
            None => (text, 0),
        };
        let backend = match name {
            "flex" => Backend::Flex,
            "ndarray" => Backend::NdArray,
            "wgpu" => Backend::Wgpu,
            "cuda" => Backend::Cuda,
            _ => return Err(error()),
        };
        if index != 0 && matches!(backend, Backend::Flex | Backend::NdArray) {
            return Err(error());
        }
        Ok(Self { backend, index })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Flex => "flex",
            Backend::NdArray => "ndarray",
            Backend::Wgpu => "wgpu",
            Backend::Cuda => "cuda",
        })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => write!(f, "{}", self.backend),
            index => write!(f, "{}:{index}", self.backend),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse_and_print() {
        for text in ["flex", "ndarray", "wgpu", "cuda", "cuda:1", "wgpu:2"] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        for text in ["", "gpu", "cuda:x", "flex:1", "cuda:"] {
            assert!(text.parse::<DeviceSpec>().is_err(), "{text}");
        }
    }
}
