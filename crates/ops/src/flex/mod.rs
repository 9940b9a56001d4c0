//! The CPU's fast path: `danlu-kernels` put under Burn's `flex` device by a backend extension.
//!
//! An operation is a [`Function`]: how it runs on plain tensors, and what it keeps for its [`Gradient`]. [`apply`] hands
//! one to Burn; [`tape`] puts it on the autodiff tape. No other backend implements the extension: the public functions
//! come here only after [`suits`] has said so. Each concept has its file; [`linear`] is the one to read first.
//!
//! What is never differentiated (an optimiser's update, a sum of squares) goes through [`run`].

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod cross_entropy;
pub(crate) mod dropout;
pub(crate) mod embedding;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod recurrent;
pub(crate) mod residual;
pub(crate) mod rotary;
pub(crate) mod softmax;
mod tape;
mod tensors;
pub(crate) mod view;

pub(crate) use burn::backend::flex::FlexTensor;
pub use tensors::Tensors;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn::tensor::{DType, DispatchTensor};

/// A differentiable operation of the CPU on f32 tensors, some of them perhaps kept in bfloat16. A tensor's gradient has
/// its format.
pub trait Function: std::fmt::Debug + Send {
    /// Runs it. `wanted` says of each input whether a gradient to it will be asked for: what no wanted gradient needs is
    /// neither computed nor kept.
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>);
}

/// What a [`Function`] kept, and its backward pass.
pub trait Gradient: std::fmt::Debug + Send {
    /// From the gradient of the result to those of the inputs, in their order. Only those that are wanted are used; the
    /// others may be `None`.
    fn backward(self: Box<Self>, g: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>>;
}

/// A step on plain tensors, outside the tape.
pub type Step<'a> = &'a mut dyn FnMut(Vec<FlexTensor>) -> Vec<FlexTensor>;

/// Differentiable operations.
#[backend_extension(Flex, Autodiff)]
pub trait CpuFunctions: Backend {
    /// Runs `function` on `inputs`.
    fn cpu_apply(#[extension_type] inputs: Tensors<Self>, function: Box<dyn Function>) -> FloatTensor<Self>;
}

/// What is never differentiated, and so exists for `Flex` alone.
#[backend_extension(Flex)]
pub trait CpuSteps: Backend {
    /// Runs `step` on `tensors`.
    fn cpu_run(#[extension_type] tensors: Tensors<Self>, step: Step<'_>) -> Vec<FloatTensor<Self>>;
}

impl CpuFunctions for Flex {
    fn cpu_apply(inputs: Tensors<Self>, function: Box<dyn Function>) -> FloatTensor<Self> {
        let wanted = vec![false; inputs.0.len()];
        function.forward(inputs.0, &wanted).0
    }
}

impl CpuSteps for Flex {
    fn cpu_run(tensors: Tensors<Self>, step: Step<'_>) -> Vec<FloatTensor<Self>> {
        step(tensors.0)
    }
}

/// Whether the kernels take this tensor: on the CPU, with or without autodiff, in f32.
pub(crate) fn suits<const D: usize>(t: &Tensor<D>) -> bool {
    t.device() == Device::flex() && t.dtype() == DType::F32
}

/// [`suits`], or the same in bfloat16, as [`crate::FusedLinear::kept`] makes it.
pub(crate) fn suits_kept<const D: usize>(t: &Tensor<D>) -> bool {
    t.device() == Device::flex() && matches!(t.dtype(), DType::F32 | DType::BF16)
}

/// Runs a differentiable operation on tensors that [`suits`].
pub(crate) fn apply<const D: usize>(function: impl Function + 'static, inputs: Vec<DispatchTensor>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::cpu_apply(Tensors(inputs), Box::new(function)))
}

/// Runs a step on tensors that [`suits`] and are not tracked by autodiff.
pub(crate) fn run(
    tensors: Vec<DispatchTensor>,
    mut step: impl FnMut(Vec<FlexTensor>) -> Vec<FlexTensor>,
) -> Vec<DispatchTensor> {
    Dispatch::cpu_run(Tensors(tensors), &mut step)
}
