//! From a device name to a Burn device, with a clear error where the build lacks the backend.

use burn::tensor::Device;
use slender_config::{Backend, DeviceSpec};

/// Errors of opening a device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program was built without the backend.
    #[error(
        "this build has no `{0}` backend\n  hint: build with `cargo build --release --package slender --features {0}`"
    )]
    NotBuilt(Backend),
    /// The environment asks for an instruction set that cannot be had.
    #[error("{0}")]
    Environment(String),
    /// The backend found no usable device.
    #[error(
        "device `{device}` cannot be opened: {reason}\n  hint: check the driver, or use --device flex"
    )]
    Unavailable {
        /// The device asked for.
        device: DeviceSpec,
        /// The backend's message.
        reason: String,
    },
}

/// Whether this program is built with the backend of `spec`. Opens nothing.
///
/// # Errors
/// [`DeviceError::NotBuilt`].
pub fn check_built(spec: &DeviceSpec) -> Result<(), DeviceError> {
    let built = match spec.backend {
        Backend::Flex => true,
        Backend::NdArray => cfg!(feature = "ndarray"),
        Backend::Wgpu => cfg!(feature = "wgpu"),
        Backend::Cuda => cfg!(feature = "cuda"),
    };
    match built {
        true => Ok(()),
        false => Err(DeviceError::NotBuilt(spec.backend)),
    }
}

/// Opens the device `spec` names and computes something small on it.
///
/// # Errors
/// A backend this build lacks, or a device that does not exist or does not work.
pub fn open_device(spec: &DeviceSpec) -> Result<Device, DeviceError> {
    crate::fused::check_environment().map_err(DeviceError::Environment)?;
    let open = || -> Result<Device, DeviceError> {
        let device = construct(spec)?;
        let two = burn::tensor::Tensor::<1>::ones([1], &device) + 1.0;
        let value = two.into_data().iter::<f32>().next();
        if value != Some(2.0) {
            return Err(DeviceError::Unavailable {
                device: *spec,
                reason: format!("1 + 1 gave {value:?}"),
            });
        }
        Ok(device)
    };
    if matches!(spec.backend, Backend::Flex | Backend::NdArray) {
        return open();
    }
    // GPU backends report a missing device or driver by panicking inside Burn.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(open);
    std::panic::set_hook(hook);
    result.unwrap_or_else(|payload| {
        let reason = payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| {
                payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
            })
            .unwrap_or_else(|| "the backend gave no reason".into());
        Err(DeviceError::Unavailable {
            device: *spec,
            reason,
        })
    })
}

fn construct(spec: &DeviceSpec) -> Result<Device, DeviceError> {
    match spec.backend {
        Backend::Flex => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        Backend::NdArray => Ok(ndarray_device()),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => Ok(Device::wgpu(match spec.index {
            0 => burn::tensor::DeviceKind::DefaultDevice,
            index => burn::tensor::DeviceKind::DiscreteGpu(index),
        })),
        #[cfg(feature = "cuda")]
        Backend::Cuda => Ok(Device::cuda(spec.index)),
        #[cfg(not(all(feature = "ndarray", feature = "wgpu", feature = "cuda")))]
        backend => Err(DeviceError::NotBuilt(backend)),
    }
}

#[cfg(feature = "ndarray")]
#[expect(
    deprecated,
    reason = "Burn 0.22 deprecates ndarray; it stays as a second CPU opinion until 0.23 drops it"
)]
fn ndarray_device() -> Device {
    Device::ndarray()
}
