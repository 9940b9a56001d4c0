//! Loss and gradient of one step, and loss on text that is not trained on.

use crate::TrainError;
use crate::optimizer::GradientSum;
use burn::prelude::*;
use danlu_data::Batch;
use danlu_model::{CausalLm, DropoutKey, LossOptions, Recompute, SequenceOptions};
use danlu_ops::IGNORED;

/// What a model makes of a group of micro-batches.
#[derive(Debug, Default)]
pub struct GroupResult {
    /// Sum of the gradients of the token losses.
    pub gradients: GradientSum,
    /// Sum of the token losses, nats.
    pub loss_sum: f64,
    /// Tokens that have a loss.
    pub tokens: u64,
}

impl GroupResult {
    /// Mean loss of a token, nats.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.tokens as f64
    }
}

/// One micro-batch on a device.
#[derive(Clone, Debug)]
pub struct MicroBatch {
    /// (batch, seq)
    pub inputs: Tensor<2, Int>,
    /// (batch * seq); [`IGNORED`] where no loss is wanted
    pub targets: Tensor<1, Int>,
    /// (batch * seq), which tokens attend to each other; see [`SequenceOptions::documents`].
    pub documents: Option<Vec<u32>>,
    /// Targets that are not ignored.
    pub tokens: u64,
}

impl MicroBatch {
    /// Copies ids to `device`; `inputs` and `targets` are both (batch * seq_len).
    pub fn new(inputs: &[u32], targets: &[i64], seq_len: usize, device: &Device) -> Self {
        let rows = inputs.len() / seq_len;
        let ids: Vec<i64> = inputs.iter().map(|&id| i64::from(id)).collect();
        let counted = targets.iter().filter(|&&id| id != i64::from(IGNORED)).count();
        Self {
            inputs: Tensor::from_data(TensorData::new(ids, [rows, seq_len]), device),
            targets: Tensor::from_data(TensorData::new(targets.to_vec(), [targets.len()]), device),
            documents: None,
            tokens: counted as u64,
        }
    }

    /// Copies a batch of the text to `device`.
    pub fn from_batch(batch: &Batch, seq_len: usize, device: &Device) -> Self {
        let mut targets: Vec<i64> = batch.targets.iter().map(|&id| i64::from(id)).collect();
        for (target, learnt) in targets.iter_mut().zip(batch.learnt.iter().flatten()) {
            if !learnt {
                *target = i64::from(IGNORED);
            }
        }
        Self { documents: batch.documents.clone(), ..Self::new(&batch.inputs, &targets, seq_len, device) }
    }
}

/// Forward and backward of all micro-batches of a step.
/// `dropout` gives the key of micro-batch `i`; none means no dropout.
pub fn accumulate(
    model: &CausalLm,
    batches: impl IntoIterator<Item = MicroBatch>,
    recompute: Recompute,
    dropout: impl Fn(u64) -> Option<DropoutKey>,
) -> Result<GroupResult, TrainError> {
    let mut result = GroupResult::default();
    for (index, batch) in batches.into_iter().enumerate() {
        if batch.tokens == 0 {
            continue;
        }
        let MicroBatch { inputs, targets, documents, tokens } = batch;
        let mut take = |gradients| result.gradients.add(gradients, model);
        let options = SequenceOptions { dropout: dropout(index as u64), documents };
        let loss = model.loss_and_gradients(inputs, targets, options, recompute, &mut take);
        result.loss_sum += f64::from(scalar(&loss)?);
        result.tokens += tokens;
    }
    Ok(result)
}

/// Mean cross-entropy over micro-batches without gradients, and the count of tokens. Label smoothing and z-loss are left
/// out: a perplexity is that of the text.
pub fn evaluate(model: &CausalLm, batches: impl IntoIterator<Item = MicroBatch>) -> Result<(f64, u64), TrainError> {
    let model = model.valid().with_loss(LossOptions::default());
    let mut result = GroupResult::default();
    for batch in batches.into_iter().filter(|batch| batch.tokens > 0) {
        let options = SequenceOptions { dropout: None, documents: batch.documents };
        let loss = model.loss_sum(batch.inputs, batch.targets, options);
        result.loss_sum += f64::from(scalar(&loss)?);
        result.tokens += batch.tokens;
    }
    Ok((result.loss(), result.tokens))
}

fn scalar(loss: &Tensor<1>) -> Result<f32, TrainError> {
    loss.clone().try_into_scalar::<f32>().map_err(|error| TrainError::Device { reason: error.to_string() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::export::parameters;
    use crate::tensors::{Outgoing, OutgoingTensors};
    use danlu_model::ModelConfig;
    use safetensors::tensor::View;

    const SEQ: usize = 12;
    const ROWS: usize = 6;
    const VOCAB: usize = 40;

    fn model(dropout: f64) -> CausalLm {
        let config = ModelConfig {
            layers: 2,
            hidden_size: 16,
            heads: 2,
            ffn_size: Some(32),
            max_seq_len: SEQ,
            dropout,
            ..ModelConfig::default()
        };
        CausalLm::new(&config, VOCAB, 3, &Device::flex().autodiff()).unwrap()
    }

    /// Rows of which the later ones have ever fewer targets; the last has none.
    fn rows() -> (Vec<u32>, Vec<i64>) {
        let inputs = (0..ROWS * SEQ).map(|i| (i * i % VOCAB) as u32).collect();
        let targets = (0..ROWS * SEQ).map(|i| {
            let kept = i % SEQ < SEQ - 2 * (i / SEQ) - 2;
            if kept { (i * 7 % VOCAB) as i64 } else { i64::from(IGNORED) }
        });
        (inputs, targets.collect())
    }

    fn group(sizes: &[usize]) -> Vec<MicroBatch> {
        let (inputs, targets) = rows();
        let mut first = 0;
        let part = |&size: &usize| {
            let range = first * SEQ..(first + size) * SEQ;
            first += size;
            MicroBatch::new(&inputs[range.clone()], &targets[range], SEQ, &Device::flex())
        };
        sizes.iter().map(part).collect()
    }

    fn run(model: &CausalLm, sizes: &[usize]) -> GroupResult {
        let key = DropoutKey { seed: 1, step: 2, first_sequence: 0 };
        accumulate(model, group(sizes), Recompute::None, |index| {
            let first_sequence = sizes[..index as usize].iter().sum::<usize>() as u64;
            Some(DropoutKey { first_sequence, ..key })
        })
        .unwrap()
    }

    fn gradients(model: &CausalLm, result: &GroupResult) -> OutgoingTensors {
        result.gradients.collect(model, &parameters(model))
    }

    fn values(tensor: &Outgoing) -> Vec<f64> {
        let bytes = tensor.data();
        let read = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        bytes.chunks_exact(4).map(read).collect()
    }

    fn check_equal(dropout: f64, sizes: &[usize]) {
        let model = model(dropout);
        let (large, small) = (run(&model, &[ROWS]), run(&model, sizes));
        assert_eq!(large.tokens, small.tokens);
        let counted = rows().1.iter().filter(|&&t| t >= 0).count() as u64;
        assert_eq!(large.tokens, counted);
        assert!((large.loss() - small.loss()).abs() <= 1e-6 * large.loss());
        let (large, small) = (gradients(&model, &large), gradients(&model, &small));
        assert_eq!(large.len(), parameters(&model).len());
        for (name, tensor) in &large {
            let (a, b) = (values(tensor), values(&small[name]));
            let norm = a.iter().map(|x| x * x).sum::<f64>().sqrt();
            let distance = a.iter().zip(&b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
            assert!(norm > 0.0, "{name} has no gradient");
            assert!(distance <= 1e-6 * norm, "{name} in {sizes:?}: off by {}", distance / norm);
        }
    }

    #[test]
    fn accumulated_loss_and_gradients_are_the_large_batchs_with_uneven_counts() {
        check_equal(0.0, &[3, 3]);
        check_equal(0.0, &[1, 2, 3]);
        check_equal(0.0, &[1; ROWS]); // the last has no target at all
        check_equal(0.2, &[2, 4]);
    }

    #[test]
    fn evaluation_is_the_training_loss_without_dropout() {
        let model = model(0.0);
        let (loss, tokens) = evaluate(&model, group(&[2, 4])).unwrap();
        let trained = run(&model, &[ROWS]);
        assert_eq!(tokens, trained.tokens);
        assert!((loss - trained.loss()).abs() <= 1e-6 * loss);
    }
}
