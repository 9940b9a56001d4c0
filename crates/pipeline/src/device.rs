//! The names of devices, and which of them this build has.

use burn::prelude::Device;

use crate::PipelineError;

/// The device of a name: `flex` (CPU), or `cuda`, `wgpu`, `vulkan`, `metal` where the cargo feature of that name was on.
///
/// # Errors
/// An unknown name, or a known one that this build lacks.
pub fn select_device(name: &str) -> Result<Device, PipelineError> {
    let error = |message: String, hint: String| PipelineError::Device { name: name.into(), message, hint };
    match name {
        "flex" | "cpu" => Ok(Device::flex()),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
        "wgpu" | "vulkan" | "metal" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        "cuda" | "wgpu" | "vulkan" | "metal" => Err(error(
            "this build of danlu does not have it".into(),
            format!("build with `cargo build --release --features {name}`, or leave out --device to use the CPU"),
        )),
        _ => Err(error("no such device".into(), "known: flex (CPU), cuda, wgpu, vulkan, metal".into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there_and_the_rest_is_explained() {
        assert!(select_device("flex").is_ok());
        let error = select_device("abacus").unwrap_err();
        assert!(error.hint().unwrap().contains("cuda"));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_names_its_feature() {
        let error = select_device("cuda").unwrap_err();
        assert!(error.hint().unwrap().contains("--features cuda"), "{:?}", error.hint());
    }
}
