//! Loss and gradient of one step, and loss on text that is not trained on.

use crate::TrainError;
use crate::task::LossSum;
use burn::prelude::*;
use danlu_data::Batch;
use danlu_model::{CausalLm, DropoutKey, LossOptions, Recompute, SequenceOptions};
use danlu_ops::IGNORED;

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
) -> Result<LossSum, TrainError> {
    let mut sum = LossSum::default();
    for (index, batch) in batches.into_iter().enumerate() {
        learn(model, batch, (recompute, None), dropout(index as u64), &mut sum)?;
    }
    Ok(sum)
}

/// Forward and backward of one micro-batch, added to `sum`.
///
/// * `bptt`: steps through which gradients flow back, of recurrent models
pub(crate) fn learn(
    model: &CausalLm,
    batch: MicroBatch,
    (recompute, bptt): (Recompute, Option<usize>),
    dropout: Option<DropoutKey>,
    sum: &mut LossSum,
) -> Result<(), TrainError> {
    let MicroBatch { inputs, targets, documents, tokens } = batch;
    sum.units += inputs.shape().num_elements() as u64;
    if tokens == 0 {
        return Ok(());
    }
    let mut take = |gradients| sum.add_gradients(model, gradients);
    let options = SequenceOptions { dropout, documents, bptt, ..SequenceOptions::default() };
    let loss = model.loss_and_gradients(inputs, targets, options, recompute, &mut take);
    sum.add(&loss, tokens)
}

/// Mean cross-entropy over micro-batches without gradients, and the count of tokens. Label smoothing and z-loss are left
/// out: a perplexity is that of the text.
pub fn evaluate(model: &CausalLm, batches: impl IntoIterator<Item = MicroBatch>) -> Result<(f64, u64), TrainError> {
    let model = model.valid().with_loss(LossOptions::default());
    let mut sum = LossSum::default();
    for batch in batches {
        judge(&model, batch, &mut sum)?;
    }
    Ok((sum.mean(), sum.counted))
}

/// The loss of one micro-batch, of a model without autodiff, added to `sum`.
pub(crate) fn judge(model: &CausalLm, batch: MicroBatch, sum: &mut LossSum) -> Result<(), TrainError> {
    if batch.tokens == 0 {
        return Ok(());
    }
    let options = SequenceOptions { documents: batch.documents, ..SequenceOptions::default() };
    sum.add(&model.loss_sum(batch.inputs, batch.targets, options), batch.tokens)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tensors::{Outgoing, OutgoingTensors, Parameters};
    use danlu_model::ModelConfig;
    use safetensors::tensor::View;

    const SEQ: usize = 12;
    const ROWS: usize = 6;
    const VOCAB: usize = 40;

    fn parameters(model: &CausalLm) -> Parameters {
        crate::tensors::parameters(model.parameters())
    }

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

    fn run(model: &CausalLm, sizes: &[usize]) -> LossSum {
        let key = DropoutKey { seed: 1, step: 2, first_sequence: 0 };
        accumulate(model, group(sizes), Recompute::None, |index| {
            let first_sequence = sizes[..index as usize].iter().sum::<usize>() as u64;
            Some(DropoutKey { first_sequence, ..key })
        })
        .unwrap()
    }

    fn gradients(model: &CausalLm, result: &LossSum) -> OutgoingTensors {
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
        assert_eq!(large.counted, small.counted);
        let counted = rows().1.iter().filter(|&&t| t >= 0).count() as u64;
        assert_eq!(large.counted, counted);
        assert!((large.mean() - small.mean()).abs() <= 1e-6 * large.mean());
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
        assert_eq!(tokens, trained.counted);
        assert!((loss - trained.mean()).abs() <= 1e-6 * loss);
    }
}
