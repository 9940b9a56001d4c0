//! A short look at everything: what `danlu bench` shows without further words.

use crate::attention::AttentionCase;
use crate::decode::{DecodeCase, DecodeSettings};
use crate::gemm::{ProductFigures, linear_shapes};
use crate::machine::peak_gflops;
use crate::workload::precision_name;
use crate::{
    BenchError, Budget, Machine, Precision, Recompute, TrainFigures, TrainSettings, Workload, attention, decode,
    gemm_shape, peak_rss_bytes, train,
};
use burn::prelude::*;
use serde::Serialize;

/// A precision with the arithmetic peak for it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Peak {
    #[serde(serialize_with = "precision_name")]
    pub precision: Precision,
    /// 10^9 operations per second.
    pub gflops: f64,
}

/// Figures of one short run over everything.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    #[serde(flatten)]
    pub machine: Machine,
    pub model: Workload,
    pub peaks: Vec<Peak>,
    pub gemm: Vec<ProductFigures>,
    pub attention: Vec<AttentionCase>,
    pub decode: Vec<DecodeCase>,
    pub train: Vec<TrainFigures>,
    /// Of the whole look: the largest of all its parts.
    pub peak_rss_bytes: Option<u64>,
}

/// Measures peaks, the largest linear layer's products, attention and decoding of `workload`, and training steps in
/// each precision for `budget`. `on_part` is told what begins.
///
/// # Errors
/// What the device reports.
pub fn overview(
    workload: Workload,
    precisions: &[Precision],
    budget: Budget,
    device: &Device,
    on_part: &mut dyn FnMut(&str),
) -> Result<Overview, BenchError> {
    let short = budget.at_most_millis(200);
    on_part("arithmetic and matrix products");
    let peaks = precisions.iter().map(|p| Peak { precision: *p, gflops: peak_gflops(*p) }).collect();
    let largest = linear_shapes(workload).into_iter().max_by_key(|shape| shape.iter().product::<usize>());
    let products = precisions.iter().flat_map(|p| largest.into_iter().flat_map(|s| gemm_shape(s, *p, short)));
    let gemm = products.collect();
    on_part("attention");
    let attention = attention(&[workload], precisions, device, short)?.cases;
    on_part("decoding");
    let decode = decode(DecodeSettings::of(workload), device)?.cases;
    let mut steps = Vec::new();
    for precision in precisions {
        on_part(&format!("training in {}", precision.name()));
        steps.push(train(
            &TrainSettings { workload, precision: *precision, recompute: Recompute::None, budget },
            device,
        )?);
    }
    Ok(Overview {
        machine: Machine::here(),
        model: workload,
        peaks,
        gemm,
        attention,
        decode,
        train: steps,
        peak_rss_bytes: peak_rss_bytes(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_a_small_model_has_every_part() {
        let mut parts = 0;
        let look =
            overview(Workload::Xs, &[Precision::F32, Precision::Bf16], Budget::Runs(2), &Device::flex(), &mut |_| {
                parts += 1
            })
            .unwrap();
        assert_eq!((look.peaks.len(), look.gemm.len(), look.attention.len()), (2, 6, 4));
        assert_eq!((look.decode.len(), look.train.len(), parts), (4, 2, 5));
    }
}
