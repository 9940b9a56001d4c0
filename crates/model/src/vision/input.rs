//! What a language model that sees reads.

use super::{VisionConfig, VisionLanguage};
use crate::ModelError;
use crate::encoder_decoder::input::{check_sequences, count, wrong};

/// A picture as numbers, resized and normalised; see [`super::ImageProcessor`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    pub height: usize,
    pub width: usize,
    /// (red, green and blue, height, width)
    pub values: Vec<f32>,
}

impl Pixels {
    /// Patch after patch, row by row, each (channels, size, size). The size divides height and width.
    pub(super) fn patches(&self, size: usize) -> impl Iterator<Item = f32> + '_ {
        let (height, width) = (self.height, self.width);
        let corners = (0..height).step_by(size).flat_map(move |y| (0..width).step_by(size).map(move |x| (y, x)));
        corners.flat_map(move |(y, x)| {
            let rows = (0..VisionConfig::CHANNELS)
                .flat_map(move |c| (0..size).map(move |dy| (c * height + y + dy) * width + x));
            rows.flat_map(move |first| self.values[first..first + size].iter().copied())
        })
    }
}

/// Texts of any lengths with their pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VisionInput {
    /// In the order of their places in the texts.
    pub pictures: Vec<Pixels>,
    /// Token ids of each text. Where a picture is, its token stands as often as the picture has vectors
    /// ([`VisionLanguage::expanded`]).
    pub ids: Vec<Vec<u32>>,
}

impl VisionInput {
    /// A text and its labels for learning an answer: nothing is to be learnt of the prompt, in which the picture is.
    ///
    /// * `prompt`: [`VisionLanguage::expanded`]
    /// * `answer`: with its end token
    pub fn teacher_forcing(prompt: &[u32], answer: &[u32]) -> (Vec<u32>, Vec<i32>) {
        let read = answer.len().saturating_sub(1);
        let unlearnt = std::iter::repeat_n(danlu_ops::IGNORED, prompt.len().saturating_sub(1));
        // Ids beyond i32 become negative, which `loss_sum` refuses.
        let labels = unlearnt.chain(answer.iter().map(|id| *id as i32)).collect();
        (prompt.iter().chain(&answer[..read]).copied().collect(), labels)
    }

    /// Tokens of the longest text.
    pub fn longest(&self) -> usize {
        self.ids.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Tokens, padding left out.
    pub fn tokens(&self) -> usize {
        self.ids.iter().map(Vec::len).sum()
    }

    /// Places of pictures among all tokens of texts filled up to `time`.
    pub(super) fn places(&self, image_token: u32, time: usize) -> Vec<usize> {
        let of = |(text, ids): (usize, &Vec<u32>)| {
            let places = ids.iter().enumerate().filter(|(_, id)| **id == image_token);
            places.map(|(at, _)| text * time + at).collect::<Vec<_>>()
        };
        self.ids.iter().enumerate().flat_map(of).collect()
    }

    /// Refuses what the model cannot read.
    pub(super) fn check(&self, model: &VisionLanguage) -> Result<(), ModelError> {
        let config = model.config();
        check_sequences(&self.ids, config.text.max_seq_len, model.vocab_size())?;
        if !self.pictures.is_empty() {
            check_pictures(&self.pictures, &config.vision)?;
        }
        let per_picture = config.places();
        let mut all = 0;
        for (text, ids) in self.ids.iter().enumerate() {
            let places = ids.iter().filter(|id| **id == model.image_token()).count();
            if !places.is_multiple_of(per_picture) {
                let found = format!("{places} in text {text}");
                return Err(wrong("places of pictures", found, format!("a multiple of {per_picture}, one picture's")));
            }
            all += places;
        }
        count("places of pictures", all, self.pictures.len() * per_picture)
    }
}

/// Refuses no pictures, and those of another size than the model's.
pub(super) fn check_pictures(pictures: &[Pixels], config: &VisionConfig) -> Result<(), ModelError> {
    if pictures.is_empty() {
        return Err(wrong("pictures", "none".to_string(), "at least one".to_string()));
    }
    let size = config.image_size;
    for Pixels { height, width, values } in pictures {
        if [*height, *width] != [size, size] {
            let (found, expected) = (format!("{width} x {height}"), format!("{size} x {size}, as the model has them"));
            return Err(wrong("pixels of a picture", found, expected));
        }
        count("values of a picture", values.len(), VisionConfig::CHANNELS * size * size)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_alone_are_learnt() {
        let (ids, labels) = VisionInput::teacher_forcing(&[9, 9, 1], &[5, 6, 2]);
        assert_eq!((ids, labels), (vec![9, 9, 1, 5, 6], vec![-100, -100, 5, 6, 2]));
        assert_eq!(VisionInput::teacher_forcing(&[9], &[2]), (vec![9], vec![2]));
    }

    #[test]
    fn patches_are_those_of_a_convolution() {
        let pixels = Pixels { height: 4, width: 6, values: (0..72u8).map(f32::from).collect() };
        let patches: Vec<f32> = pixels.patches(2).collect();
        // The second patch of the first row, and the first of the second.
        assert_eq!(patches[12..24], [2., 3., 8., 9., 26., 27., 32., 33., 50., 51., 56., 57.]);
        assert_eq!(patches[36..40], [12., 13., 18., 19.]);
        assert_eq!(patches.len(), 72);
    }
}
