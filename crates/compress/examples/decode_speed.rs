//! Decoding speed of a model folder, or of a random model of the given size, in f32 and in int8:
//! `decode_speed FOLDER` or `decode_speed LAYERS HIDDEN HEADS VOCABULARY`.
#![allow(clippy::print_stdout)]

use burn::prelude::Device;
use danlu_compress::decode_tokens_per_second;
use danlu_model::{CausalLm, ModelConfig, State, load};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn model(arguments: &[String]) -> Result<CausalLm, Box<dyn Error>> {
    let device = Device::flex();
    match arguments {
        [folder] => Ok(load(Path::new(folder), &device)?),
        [layers, hidden, heads, vocabulary] => {
            let (layers, hidden_size, heads) = (layers.parse()?, hidden.parse()?, heads.parse()?);
            let config = ModelConfig { layers, hidden_size, heads, ..ModelConfig::default() };
            Ok(CausalLm::new(&config, vocabulary.parse()?, 0, &device)?)
        }
        _ => Err("usage: decode_speed FOLDER | decode_speed LAYERS HIDDEN HEADS VOCABULARY".into()),
    }
}

/// Tokens per second of decoding `count` sequences together.
fn batched(model: &CausalLm, count: usize, steps: usize) -> Result<f64, Box<dyn Error>> {
    let mut states: Vec<State> = (0..count).map(|_| State::new(model)).collect();
    let token = [1u32];
    let tokens: Vec<&[u32]> = vec![&token; count];
    let mut borrowed: Vec<&mut State> = states.iter_mut().collect();
    model.step(&tokens, &mut borrowed)?;
    let start = Instant::now();
    for _ in 0..steps {
        model.step(&tokens, &mut borrowed)?;
    }
    Ok((steps * count) as f64 / start.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dense = model(&arguments)?;
    println!("{} parameters", dense.num_params());
    let int8 = dense.clone().quantized()?;
    let prompt: Vec<u32> = (0..64).map(|i| i % dense.vocab_size() as u32).collect();
    for (name, model) in [("f32", &dense), ("int8", &int8)] {
        let start = Instant::now();
        model.step(&[&prompt], &mut [&mut State::new(model)])?;
        let prefill = prompt.len() as f64 / start.elapsed().as_secs_f64();
        let one = decode_tokens_per_second(model, &prompt, 300)?;
        let eight = batched(model, 8, 100)?;
        println!(
            "{name}: prefill {prefill:.0} tokens/s, decode {one:.0} tokens/s, 8 sequences together {eight:.0} tokens/s"
        );
    }
    Ok(())
}
