//! A mixture of experts in the place of the feed-forward layer: of many feed-forward layers a router chooses a few for
//! each token (Shazeer et al. 2017, "Outrageously Large Neural Networks").

use crate::ModelError;
use crate::layers::{FeedForward, Linear, read};
use burn::module::Module;
use burn::prelude::*;
use danlu_ops::Precision;

/// `sum_e weight_e * expert_e(x)` over the experts with the highest probabilities; the weights are these probabilities.
#[derive(Module, Debug)]
pub struct MixtureOfExperts {
    /// The router, (experts, hidden): probabilities are the softmax of its result.
    pub gate: Linear,
    pub experts: Vec<FeedForward>,
    /// Experts that each token goes through.
    #[module(skip)]
    pub per_token: usize,
    /// Whether a token's weights are divided by their sum.
    #[module(skip)]
    pub normalized: bool,
}

/// Which token goes where.
struct Routes {
    /// Of each token its experts, best first, (rows * per_token).
    experts: Vec<usize>,
    /// Tokens of each expert as places in `experts`.
    places: Vec<Vec<usize>>,
}

impl Routes {
    /// From probabilities (rows, count) in row-major order; of equal ones the first expert wins.
    fn new(probabilities: &[f32], count: usize, per_token: usize) -> Self {
        let mut routes = Routes { experts: Vec::new(), places: vec![Vec::new(); count] };
        let mut order: Vec<usize> = Vec::with_capacity(count);
        for row in probabilities.chunks_exact(count) {
            order.clear();
            order.extend(0..count);
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            for expert in &order[..per_token] {
                routes.places[*expert].push(routes.experts.len());
                routes.experts.push(*expert);
            }
        }
        routes
    }
}

impl MixtureOfExperts {
    /// * `x`: (rows, hidden), normalised
    /// * `precision`: of the experts; the router is f32, so that rounding does not send tokens elsewhere
    ///
    /// Returns (rows, hidden), and how unevenly the tokens are spread: [`Self::imbalance`].
    ///
    /// # Errors
    /// [`ModelError::Device`] if the probabilities cannot be read back.
    pub(crate) fn forward(&self, x: Tensor<2>, precision: Precision) -> Result<(Tensor<2>, Tensor<1>), ModelError> {
        let (count, device) = (self.experts.len(), x.device());
        let [rows, hidden] = x.dims();
        let probabilities = danlu_ops::softmax(self.gate.forward(x.clone(), Precision::F32));
        let routes = Routes::new(&read(probabilities.clone())?, count, self.per_token);
        let indices = |of: Vec<usize>| {
            let (ids, n): (Vec<i32>, usize) = (of.iter().map(|i| *i as i32).collect(), of.len());
            Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), &device)
        };
        let mut results = Vec::with_capacity(count);
        let mut found = vec![0; routes.experts.len()];
        let mut first = 0;
        for (expert, places) in self.experts.iter().zip(&routes.places).filter(|(_, places)| !places.is_empty()) {
            let tokens = indices(places.iter().map(|place| place / self.per_token).collect());
            results.push(expert.forward(x.clone().select(0, tokens), precision));
            places.iter().enumerate().for_each(|(i, place)| found[*place] = first + i);
            first += places.len();
        }
        let chosen = routes.experts.iter().enumerate().map(|(place, expert)| place / self.per_token * count + expert);
        let weights = probabilities.clone().reshape([rows * count]).select(0, indices(chosen.collect()));
        let mut weights = weights.reshape([rows, self.per_token, 1]);
        if self.normalized {
            weights = weights.clone() / weights.sum_dim(1);
        }
        let results = Tensor::cat(results, 0).select(0, indices(found)).reshape([rows, self.per_token, hidden]);
        let y = (results * weights).sum_dim(1).reshape([rows, hidden]);
        Ok((y, Self::imbalance(probabilities, &routes.places)))
    }

    /// `experts * sum_e f_e P_e` for the share of tokens `f_e` that go to an expert and its mean probability `P_e` (Fedus
    /// et al. 2022, "Switch Transformers", equations 4 to 6): `per_token` where all are chosen alike, more where not. No
    /// gradient flows through `f_e`.
    fn imbalance(probabilities: Tensor<2>, places: &[Vec<usize>]) -> Tensor<1> {
        let [rows, count] = probabilities.dims();
        let shares: Vec<f32> = places.iter().map(|places| places.len() as f32 / rows as f32).collect();
        let shares = Tensor::<2>::from_data(TensorData::new(shares, [1, count]), &probabilities.device());
        (probabilities.mean_dim(0) * shares).sum().mul_scalar(count as f64)
    }

    /// This layer with its experts' weights in int8; the router stays as it is.
    pub(crate) fn quantized(mut self) -> Result<Self, ModelError> {
        self.experts = self.experts.into_iter().map(FeedForward::quantized).collect::<Result<_, _>>()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_their_most_probable_experts() {
        let routes = Routes::new(&[0.1, 0.6, 0.3, 0.4, 0.2, 0.4], 3, 2);
        assert_eq!(routes.experts, [1, 2, 0, 2]);
        assert_eq!(routes.places, [vec![2], vec![0], vec![1, 3]]);
    }

    #[test]
    fn imbalance_is_least_where_all_experts_are_chosen_alike() {
        let imbalance = |p: Vec<f32>| {
            let routes = Routes::new(&p, 2, 1);
            let p = Tensor::from_data(TensorData::new(p, [2, 2]), &Device::flex());
            MixtureOfExperts::imbalance(p, &routes.places).into_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(imbalance(vec![1.0, 0.0, 0.0, 1.0]), [1.0]);
        assert_eq!(imbalance(vec![1.0, 0.0, 1.0, 0.0]), [2.0]);
        // All tokens to the first expert, whose mean probability is 0.75.
        assert_eq!(imbalance(vec![0.75, 0.25, 0.75, 0.25]), [1.5]);
    }
}
