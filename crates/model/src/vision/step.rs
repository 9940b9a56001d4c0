//! Generation: pictures read once, and the step that continues many texts at once.

use super::{Pixels, VisionLanguage, input};
use crate::encoder_decoder::input::wrong;
use crate::layers::read;
use crate::state::Pictures;
use crate::{ModelError, Precision, State, Stepped, Stepper, Vectors};
use burn::prelude::*;
use std::sync::Arc;

impl VisionLanguage {
    /// The state of a text not yet begun that has these pictures, or none; clones of the state share what was seen. The text,
    /// [`VisionLanguage::expanded`], is what the steps take.
    ///
    /// # Errors
    /// As [`VisionLanguage::features`].
    pub fn start(&self, pictures: &[Pixels]) -> Result<State, ModelError> {
        let rows = match pictures.is_empty() {
            true => Vec::new(),
            false => read(self.exactly(pictures)?)?,
        };
        Ok(self.state(rows))
    }

    /// States of texts not yet begun that have one picture each.
    ///
    /// # Errors
    /// As [`VisionLanguage::features`].
    pub fn start_each(&self, pictures: &[Pixels]) -> Result<Vec<State>, ModelError> {
        let rows = read(self.exactly(pictures)?)?;
        let values = self.config().places() * self.config().text.hidden_size;
        Ok(rows.chunks(values).map(|rows| self.state(rows.to_vec())).collect())
    }

    fn exactly(&self, pictures: &[Pixels]) -> Result<Tensor<3>, ModelError> {
        input::check_pictures(pictures, &self.config().vision)?;
        self.clone().with_precision(Precision::F32).features(pictures, None)
    }

    fn state(&self, rows: Vec<f32>) -> State {
        let pictures = Some(Pictures { rows: Arc::new(rows), taken: Vec::new() });
        State { pictures, ..State::new(&self.language) }
    }

    fn run(
        &self,
        tokens: &[&[u32]],
        states: &mut [&mut State],
        hidden: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let (mut rows, mut places, mut first) = (Vec::new(), Vec::new(), 0);
        let mut taken = Vec::with_capacity(states.len());
        for (sequence, (tokens, state)) in tokens.iter().zip(states.iter()).enumerate() {
            let at = tokens.iter().enumerate().filter(|(_, id)| **id == self.image_token()).map(|(at, _)| at);
            let at: Vec<usize> = at.collect();
            rows.extend_from_slice(self.next_rows(state, at.len(), sequence)?);
            places.extend(at.iter().map(|at| first + at));
            taken.push(at.into_iter().map(|at| state.len + at).collect::<Vec<_>>());
            first += tokens.len();
        }
        let shape = [places.len(), self.config().text.hidden_size];
        let vectors = (!places.is_empty()).then(|| {
            let rows = Tensor::from_data(TensorData::new(rows, shape), &self.device());
            Vectors { rows, places }
        });
        let logits = self.language.run_step(tokens, states, hidden, vectors.as_ref())?;
        for (state, taken) in states.iter_mut().zip(taken) {
            if let Some(pictures) = &mut state.pictures {
                pictures.taken.extend(taken);
            }
        }
        Ok(logits)
    }

    /// The vectors that the next so many places of a text take.
    fn next_rows<'s>(&self, state: &'s State, places: usize, sequence: usize) -> Result<&'s [f32], ModelError> {
        let hidden = self.config().text.hidden_size;
        let Some(Pictures { rows, taken }) = &state.pictures else {
            return Err(ModelError::StateMismatch { sequence });
        };
        let from = taken.len() * hidden;
        rows.get(from..from + places * hidden).ok_or_else(|| {
            let (found, held) = (taken.len() + places, rows.len() / hidden);
            wrong(
                "places of pictures",
                format!("{found} in text {sequence}"),
                format!("at most the {held} of its pictures"),
            )
        })
    }
}

impl Stepper for VisionLanguage {
    fn vocab_size(&self) -> usize {
        VisionLanguage::vocab_size(self)
    }

    fn step(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.run(tokens, states, None)
    }

    fn step_with_hidden(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Stepped>, ModelError> {
        let mut hidden = Vec::new();
        let logits = self.run(tokens, states, Some(&mut hidden))?;
        Ok(logits.into_iter().zip(hidden).map(|(logits, hidden)| Stepped { logits, hidden }).collect())
    }
}
