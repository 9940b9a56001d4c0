//! From pictures to pixels as numbers: resized, cut to their middle and normalised, as transformers' `CLIPImageProcessor` does
//! it with Pillow; and its preprocessor_config.json.

use super::resample::{Side, resized};
use super::{Pixels, VisionConfig};
use crate::ModelError;
use crate::encoder_decoder::input::{count, wrong};
use crate::folder::{read_json, write_json};
use crate::hf_config::Keys;
use serde_json::{Value, json};
use std::path::Path;

pub(super) const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// Sides beyond this are refused: a picture of so many pixels is no picture.
const LONGEST_SIDE: usize = 1 << 16;

/// To which size a picture is brought before its middle is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSize {
    /// The shorter side to so many pixels, the other in proportion.
    ShortestEdge(usize),
    Exact {
        height: usize,
        width: usize,
    },
}

/// How pictures are prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// By bicubic interpolation.
    pub resize: Option<ImageSize>,
    /// Height and width of the middle that is kept; what a smaller picture lacks is black.
    pub crop: Option<[usize; 2]>,
    /// What bytes are multiplied by.
    pub rescale: Option<f64>,
    /// Mean and standard deviation of red, green and blue.
    pub normalize: Option<[[f64; 3]; 2]>,
}

impl ImageProcessor {
    /// CLIP's, for squares of `size` pixels a side.
    pub fn clip(size: usize) -> Self {
        let mean = [0.481_454_66, 0.457_827_5, 0.408_210_73];
        let deviation = [0.268_629_54, 0.261_302_58, 0.275_777_11];
        ImageProcessor {
            resize: Some(ImageSize::ShortestEdge(size)),
            crop: Some([size, size]),
            rescale: Some(1.0 / 255.0),
            normalize: Some([mean, deviation]),
        }
    }

    /// Pixels of a picture.
    ///
    /// * `rgb`: (height, width, 3)
    ///
    /// # Errors
    /// [`ModelError::WrongInput`] if there are not so many bytes, a side is empty or beyond 65536, or it would become so.
    pub fn pixels(&self, height: usize, width: usize, rgb: &[u8]) -> Result<Pixels, ModelError> {
        sides(height, width)?;
        count("bytes of a picture", rgb.len(), height * width * VisionConfig::CHANNELS)?;
        let [new_height, new_width] = self.size_of(height, width);
        let [crop_height, crop_width] = self.crop.unwrap_or([new_height, new_width]);
        if self.crop.is_none() {
            sides(new_height, new_width)?;
        }
        let (down, across) = (Cut::new(new_height, crop_height), Cut::new(new_width, crop_width));
        let part = resized(rgb, VisionConfig::CHANNELS, down.side(height, new_height), across.side(width, new_width));
        let (mut values, plane) = (Vec::with_capacity(3 * crop_height * crop_width), crop_height * crop_width);
        for channel in 0..VisionConfig::CHANNELS {
            values.extend(std::iter::repeat_n(self.number(0, channel), plane));
            for y in 0..down.count {
                for x in 0..across.count {
                    let byte = part[(y * across.count + x) * VisionConfig::CHANNELS + channel];
                    let at = channel * plane + (down.before + y) * crop_width + across.before + x;
                    values[at] = self.number(byte, channel);
                }
            }
        }
        Ok(Pixels { height: crop_height, width: crop_width, values })
    }

    fn size_of(&self, height: usize, width: usize) -> [usize; 2] {
        match self.resize {
            None => [height, width],
            Some(ImageSize::Exact { height, width }) => [height, width],
            Some(ImageSize::ShortestEdge(size)) => {
                let long = size * height.max(width) / height.min(width);
                if height <= width { [size, long] } else { [long, size] }
            }
        }
    }

    /// In the steps and roundings of transformers.
    fn number(&self, byte: u8, channel: usize) -> f32 {
        let scaled = self.rescale.map_or(f32::from(byte), |scale| (f64::from(byte) * scale) as f32);
        match self.normalize {
            None => scaled,
            Some([mean, deviation]) => (scaled - mean[channel] as f32) / deviation[channel] as f32,
        }
    }

    /// Reads preprocessor_config.json in `dir`; `None` if there is none.
    ///
    /// # Errors
    /// Settings that would change the pixels and that danlu does not have, named with the key.
    pub fn load(dir: &Path) -> Result<Option<Self>, ModelError> {
        let path = dir.join(PREPROCESSOR_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let json = read_json(&path)?;
        let keys = Keys { path: &path, json: &json };
        keys.only("resample", json!(3))?;
        keys.only("do_pad", json!(false))?;
        let size = ImageSize::read(&keys, "size", 224)?;
        let crop = match ImageSize::read(&keys, "crop_size", 224)? {
            ImageSize::ShortestEdge(size) => [size, size],
            ImageSize::Exact { height, width } => [height, width],
        };
        let rescale = keys.number("rescale_factor", 1.0 / 255.0)?;
        let clip = ImageProcessor::clip(224);
        let [mean, deviation] = clip.normalize.unwrap_or_default();
        let normalize = [of_colours(&keys, "image_mean", mean)?, of_colours(&keys, "image_std", deviation)?];
        if normalize[1].contains(&0.0) {
            return Err(keys.wrong("image_std", "numbers other than 0"));
        }
        Ok(Some(ImageProcessor {
            resize: keys.flag("do_resize", true)?.then_some(size),
            crop: keys.flag("do_center_crop", true)?.then_some(crop),
            rescale: keys.flag("do_rescale", true)?.then_some(rescale),
            normalize: keys.flag("do_normalize", true)?.then_some(normalize),
        }))
    }

    /// Writes preprocessor_config.json into `dir`.
    ///
    /// # Errors
    /// [`ModelError::Write`].
    pub(super) fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let mut json = json!({
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": true,
            "do_resize": self.resize.is_some(),
            "do_center_crop": self.crop.is_some(),
            "do_rescale": self.rescale.is_some(),
            "do_normalize": self.normalize.is_some(),
            "resample": 3,
        });
        if let Some(size) = self.resize {
            json["size"] = match size {
                ImageSize::ShortestEdge(size) => json!({ "shortest_edge": size }),
                ImageSize::Exact { height, width } => json!({ "height": height, "width": width }),
            };
        }
        if let Some([height, width]) = self.crop {
            json["crop_size"] = json!({ "height": height, "width": width });
        }
        if let Some(scale) = self.rescale {
            json["rescale_factor"] = json!(scale);
        }
        if let Some([mean, deviation]) = self.normalize {
            json["image_mean"] = json!(mean);
            json["image_std"] = json!(deviation);
        }
        write_json(&dir.join(PREPROCESSOR_FILE), &json)
    }
}

impl ImageSize {
    /// A number, or one of transformers' tables.
    fn read(keys: &Keys<'_>, key: &str, otherwise: usize) -> Result<Self, ModelError> {
        let Some(value) = keys.given(key) else { return Ok(ImageSize::ShortestEdge(otherwise)) };
        let side = |value: &Value| {
            let side = value.as_u64().and_then(|n| usize::try_from(n).ok());
            side.filter(|side| (1..=1 << 12).contains(side))
        };
        let read = match value {
            Value::Object(table) => match (table.get("shortest_edge"), table.get("height"), table.get("width")) {
                (Some(edge), None, None) if table.len() == 1 => side(edge).map(ImageSize::ShortestEdge),
                (None, Some(height), Some(width)) if table.len() == 2 => {
                    side(height).zip(side(width)).map(|(height, width)| ImageSize::Exact { height, width })
                }
                _ => None,
            },
            other => side(other).map(ImageSize::ShortestEdge),
        };
        read.ok_or_else(|| keys.wrong(key, "a number from 1 to 4096, {shortest_edge} or {height, width} of such"))
    }
}

/// Three numbers.
fn of_colours(keys: &Keys<'_>, key: &str, otherwise: [f64; 3]) -> Result<[f64; 3], ModelError> {
    let Some(value) = keys.given(key) else { return Ok(otherwise) };
    let numbers: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| keys.wrong(key, "three numbers"))
}

fn sides(height: usize, width: usize) -> Result<(), ModelError> {
    match [height, width].iter().all(|side| (1..=LONGEST_SIDE).contains(side)) {
        true => Ok(()),
        false => {
            let expected = format!("sides of 1 to {LONGEST_SIDE} pixels");
            Err(wrong("size of a picture", format!("{width} x {height}"), expected))
        }
    }
}

/// What of one side of a resized picture lies where in the middle that is kept.
struct Cut {
    /// Pixels of the picture that are left out before.
    first: usize,
    /// Pixels of the picture that are kept.
    count: usize,
    /// Black pixels before them.
    before: usize,
}

impl Cut {
    fn new(size: usize, crop: usize) -> Self {
        match size >= crop {
            true => Cut { first: (size - crop) / 2, count: crop, before: 0 },
            false => Cut { first: 0, count: size, before: (crop - size).div_ceil(2) },
        }
    }

    fn side(&self, from: usize, to: usize) -> Side {
        Side { from, to, first: self.first, count: self.count }
    }
}
