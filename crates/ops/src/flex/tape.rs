//! A [`Function`] on Burn's autodiff tape.

use super::{CpuFunctions, FlexTensor, Function, Gradient, Tensors};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use std::sync::{Arc, Mutex, PoisonError};

/// One backward step with `N` parents.
#[derive(Debug)]
struct Applied<const N: usize>;

/// Burn wants states that clone; a gradient is taken out once, by the one backward pass.
type Kept = Arc<Mutex<Option<Box<dyn Gradient>>>>;

impl<const N: usize> Backward<Flex, N> for Applied<N> {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = grads.consume::<Flex>(&ops.node);
        let Some(kept) = ops.state.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let results = kept.backward(g, &wanted);
        debug_assert_eq!(results.len(), N);
        for (parent, gradient) in ops.parents.into_iter().zip(results) {
            if let (Some(node), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

fn finish<C: CheckpointStrategy, const N: usize>(
    nodes: Vec<NodeGuard>,
    output: FlexTensor,
    gradient: Box<dyn Gradient>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let Ok(nodes) = <[NodeGuard; N]>::try_from(nodes) else { unreachable!("the caller chose N by their number") };
    match Applied::<N>.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(Arc::new(Mutex::new(Some(gradient))), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

impl<C: CheckpointStrategy> CpuFunctions for Autodiff<Flex, C> {
    fn cpu_apply(Tensors(inputs): Tensors<Self>, function: Box<dyn Function>) -> FloatTensor<Self> {
        let wanted: Vec<bool> = inputs.iter().map(|t| t.is_tracked()).collect();
        let nodes: Vec<NodeGuard> = inputs.iter().map(|t| t.node()).collect();
        let inputs = inputs.into_iter().map(|t| t.into_primitive()).collect();
        let (output, gradient) = function.forward(inputs, &wanted);
        match nodes.len() {
            1 => finish::<C, 1>(nodes, output, gradient),
            2 => finish::<C, 2>(nodes, output, gradient),
            3 => finish::<C, 3>(nodes, output, gradient),
            4 => finish::<C, 4>(nodes, output, gradient),
            5 => finish::<C, 5>(nodes, output, gradient),
            6 => finish::<C, 6>(nodes, output, gradient),
            7 => finish::<C, 7>(nodes, output, gradient),
            8 => finish::<C, 8>(nodes, output, gradient),
            9 => finish::<C, 9>(nodes, output, gradient),
            10 => finish::<C, 10>(nodes, output, gradient),
            n => unreachable!("an operation of {n} inputs"),
        }
    }
}
