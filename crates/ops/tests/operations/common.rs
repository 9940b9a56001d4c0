//! What the tests of several files use: values, comparisons, and gradients of a function on a device.
#![allow(dead_code, clippy::unwrap_used)]

use burn::prelude::*;

/// The device under test: the CPU, or with the cargo feature `wgpu` the first wgpu device.
pub fn device() -> Device {
    #[cfg(feature = "wgpu")]
    return Device::wgpu(burn::tensor::DeviceKind::Cpu);
    #[cfg(not(feature = "wgpu"))]
    Device::flex()
}

/// How many random cases a property is tried with: on wgpu every new shape is a new set of shaders to compile, which
/// takes a second or more on a software device.
pub const fn cases(on_the_cpu: u32) -> u32 {
    if cfg!(feature = "wgpu") { 1 } else { on_the_cpu }
}

pub fn data(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            2.0 * (((state >> 40) as f32) / (1u64 << 24) as f32) - 1.0
        })
        .collect()
}

pub fn read(t: Tensor<1>) -> Vec<f32> {
    t.into_data().iter::<f32>().collect()
}

#[track_caller]
pub fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}[{i}]: {g}, want {w}");
    }
}

pub type Function<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

/// Value of `f` and the gradients of `sum(f * upstream)` to each input.
pub fn differentiate(device: &Device, inputs: &[Vec<f32>], f: Function) -> (Vec<f32>, Vec<Vec<f32>>) {
    let device = device.clone().autodiff();
    let leaves: Vec<Tensor<1>> = inputs
        .iter()
        .map(|x| Tensor::from_data(TensorData::new(x.clone(), [x.len()]), &device).require_grad())
        .collect();
    let y = f(&leaves);
    let upstream = Tensor::from_data(TensorData::new(data(y.dims()[0], 99), y.dims()), &device);
    let grads = (y.clone() * upstream).sum().backward();
    let grads = leaves.iter().map(|leaf| leaf.grad(&grads).map(read).unwrap_or_default()).collect();
    (read(y.inner()), grads)
}

/// `fast` on the device under test agrees with `slow` on the CPU.
#[track_caller]
pub fn check(inputs: &[Vec<f32>], fast: Function, slow: Function) {
    let (y, grads) = differentiate(&device(), inputs, fast);
    let (want, want_grads) = differentiate(&Device::flex(), inputs, slow);
    close("value", &y, &want, 2e-5);
    for (i, (g, w)) in grads.iter().zip(&want_grads).enumerate() {
        close(&format!("gradient {i}"), g, w, 5e-5);
    }
    let plain: Vec<Tensor<1>> =
        inputs.iter().map(|x| Tensor::from_data(TensorData::new(x.clone(), [x.len()]), &device())).collect();
    // Elsewhere than on the CPU, kernels are fused from what happens to be asked for together.
    let tolerance = if cfg!(feature = "wgpu") { 2e-5 } else { 1e-6 };
    close("without autodiff", &read(fast(&plain)), &y, tolerance);
}

pub fn flat<const D: usize>(t: Tensor<D>) -> Tensor<1> {
    t.flatten(0, D - 1)
}
