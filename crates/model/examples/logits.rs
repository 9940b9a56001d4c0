//! Logits of a language model's folder at every position, for checks against other programs:
//!
//!     logits FOLDER < ids.jsonl > logits.f32
//!
//! Each line of the input is a list of token ids; of each the logits (tokens, vocabulary) follow as f32, little-endian.

use std::error::Error;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

use burn::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: logits FOLDER < ids.jsonl > logits.f32")?;
    let device = Device::flex();
    let model = danlu_model::load(Path::new(&folder), &device)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let ids: Vec<i32> = serde_json::from_str(&line?)?;
        let count = ids.len();
        let logits = model.logits(Tensor::from_data(TensorData::new(ids, [1, count]), &device));
        out.write_all(logits.into_data().convert::<f32>().as_bytes())?;
    }
    Ok(out.flush()?)
}
