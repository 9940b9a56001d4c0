//! Writes small models with their logits for scripts/check_transformers.py: `export_for_check FOLDER`.
//!
//! Each is trained for a few steps of plain gradient descent, so that what is checked is a model that danlu has trained
//! and not only one that it has initialised.

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_model::{
    Activation, Architecture, CausalLm, Encoder, EncoderConfig, EncoderDecoder, EncoderDecoderConfig,
    EncoderDecoderKind, EncoderInput, EncoderKind, EncoderTargets, FeatureSelection, HeadConfig, LayerType, LogMel,
    ModelConfig, Pixels, Problem, RopeScaling, SaveOptions, Seq2SeqInput, SpecialTokens, SpeechInput, VisionConfig,
    VisionInput, VisionLanguage, VisionLanguageConfig, Yarn, save,
};
use std::error::Error;
use std::path::Path;

const VOCAB: usize = 101;

struct Descent<'a>(&'a Gradients);

impl ModuleMapper for Descent<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = param.val().grad(self.0) else { return param };
        param.map(|value| Tensor::from_inner(value.inner() - gradient.mul_scalar(0.002)).require_grad())
    }
}

fn tokens(batch: usize, time: usize, seed: usize, device: &Device) -> (Vec<i32>, Tensor<2, Int>) {
    let ids: Vec<i32> = (0..batch * time).map(|i| ((i * i * 3 + i * 17 + seed * 41) % VOCAB) as i32).collect();
    (ids.clone(), Tensor::from_data(TensorData::new(ids, [batch, time]), device))
}

fn trained(config: &ModelConfig) -> Result<CausalLm, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let mut model = CausalLm::new(config, VOCAB, 1, &device)?;
    for step in 0..20 {
        let (_, inputs) = tokens(2, 16, step, &device);
        let (targets, _) = tokens(2, 16, step + 1, &device);
        let targets = Tensor::from_data(TensorData::new(targets, [32]), &device);
        let gradients = model.loss_sum(inputs, targets, Default::default()).backward();
        model = model.map(&mut Descent(&gradients));
    }
    Ok(model.valid())
}

fn export(root: &Path, name: &str, model: &CausalLm) -> Result<(), Box<dyn Error>> {
    let dir = root.join(name);
    let special = SpecialTokens { bos: Some(0), eos: vec![0], ..SpecialTokens::default() };
    save(model, &dir, &SaveOptions { special_tokens: Some(special) })?;
    let (ids, input) = tokens(2, 16, 7, &Device::flex());
    let logits: Vec<f32> = model.logits(input).into_data().try_into_vec()?;
    let rows: Vec<&[f32]> = logits.chunks(VOCAB).collect();
    let record = serde_json::json!({
        "tokens": ids.chunks(16).collect::<Vec<_>>(),
        "logits": rows.chunks(16).collect::<Vec<_>>(),
    });
    std::fs::write(dir.join("logits.json"), serde_json::to_vec(&record)?)?;
    Ok(())
}

/// The families beside Llama and GPT-2, each with what it has of its own; windows are shorter than the sequences.
fn families(llama: &ModelConfig) -> Vec<(&'static str, ModelConfig)> {
    let of = |architecture| ModelConfig { architecture, ..llama.clone() };
    let sliding = |window, config| ModelConfig { sliding_window: Some(window), ..config };
    let types = [LayerType::FullAttention, LayerType::SlidingAttention, LayerType::SlidingAttention];
    let (softcap, scalar) = (Some(2.0), Some(20.0));
    let gemma2 = ModelConfig { attention_softcap: softcap, query_pre_attn_scalar: scalar, ..of(Architecture::Gemma2) };
    let linear = Some(RopeScaling::Linear { factor: 3.0 });
    let gemma3 = ModelConfig { rope_theta: 1e5, rope_scaling: linear, head_dim: Some(12), ..of(Architecture::Gemma3) };
    let llama3 = RopeScaling::Llama3 {
        factor: 4.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: Some(12),
    };
    let yarn = Yarn { original_max_position_embeddings: Some(12), beta_fast: Some(4.0), ..Yarn::by(4.0) };
    vec![
        ("qwen2", of(Architecture::Qwen2)),
        ("qwen2_sliding", sliding(6, ModelConfig { layer_types: Some(types.into()), ..of(Architecture::Qwen2) })),
        ("qwen3", ModelConfig { head_dim: Some(12), ..of(Architecture::Qwen3) }),
        ("mistral", sliding(6, of(Architecture::Mistral))),
        ("mixtral", ModelConfig { ffn_size: Some(32), ..of(Architecture::Mixtral) }),
        ("gemma", of(Architecture::Gemma)),
        ("gemma2", sliding(5, gemma2)),
        ("gemma3", sliding(5, gemma3)),
        ("llama_llama3", ModelConfig { rope_scaling: Some(llama3), ..llama.clone() }),
        ("llama_yarn", ModelConfig { rope_scaling: Some(RopeScaling::Yarn(yarn)), ..llama.clone() }),
    ]
}

/// Three sequences of unequal lengths; ids from 3 on, as transformers takes some of those below for padding.
fn texts(seed: usize) -> EncoderInput {
    let row =
        |length: usize| (0..length).map(|i| (3 + (i * i * 3 + i * 17 + seed * 41) % (VOCAB - 3)) as u32).collect();
    EncoderInput::of(vec![row(16), row(5), row(11)])
}

/// An encoder after a few steps of plain gradient descent; one without a loss as it is.
fn encoder(config: &EncoderConfig) -> Result<Encoder, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let mut model = Encoder::new(config, VOCAB, 1, &device)?;
    for step in 0..20 {
        let input = texts(step);
        let targets = match &config.head {
            // transformers has no encoder with a CTC head of these.
            HeadConfig::None | HeadConfig::Pooler | HeadConfig::Ctc { .. } => break,
            HeadConfig::MaskedLm | HeadConfig::TokenClassification { .. } => {
                let classes = if config.head == HeadConfig::MaskedLm { VOCAB } else { 3 };
                let row = |ids: &Vec<u32>| ids.iter().map(|id| (*id as usize * 5 % classes) as i32).collect();
                EncoderTargets::Tokens(input.ids.iter().map(row).collect())
            }
            HeadConfig::SequenceClassification { problem: Problem::SingleLabel, .. } => {
                EncoderTargets::Classes((0..3).map(|i| ((i + step) % 3) as i32).collect())
            }
            HeadConfig::SequenceClassification { .. } => {
                EncoderTargets::Values((0..3).map(|i| (0..3).map(|j| ((i + j) % 2) as f32).collect()).collect())
            }
        };
        let gradients = model.loss_sum(&input, &targets, None)?.backward();
        model = model.map(&mut Descent(&gradients));
    }
    Ok(model.valid())
}

fn export_encoder(root: &Path, name: &str, config: &EncoderConfig) -> Result<(), Box<dyn Error>> {
    let (dir, model, input) = (root.join(name), encoder(config)?, texts(7));
    model.save(&dir, None)?;
    let hidden: Vec<f32> = model.hidden(&input, None)?.into_data().try_into_vec()?;
    let logits = match config.head {
        HeadConfig::None => None,
        _ => Some(model.logits(&input, None)?),
    };
    let width = logits.as_ref().map_or(0, |logits| logits.dims()[1]);
    let logits: Vec<f32> = logits.map_or(Ok(Vec::new()), |logits| logits.into_data().try_into_vec())?;
    let record = serde_json::json!({
        "ids": input.ids,
        "hidden": hidden.chunks(config.hidden_size).collect::<Vec<_>>().chunks(16).collect::<Vec<_>>(),
        "logits": logits.chunks(width.max(1)).collect::<Vec<_>>(),
    });
    std::fs::write(dir.join("logits.json"), serde_json::to_vec(&record)?)?;
    Ok(())
}

fn encoders(root: &Path) -> Result<(), Box<dyn Error>> {
    let labels: Vec<String> = ["bad", "fair", "good"].map(String::from).to_vec();
    let sequence = |problem| HeadConfig::SequenceClassification { labels: labels.clone(), problem };
    let tokens = HeadConfig::TokenClassification { labels: labels.clone() };
    let bert = EncoderConfig { layers: 3, hidden_size: 48, heads: 6, max_seq_len: 64, ..Default::default() };
    let kind = |architecture| EncoderConfig {
        architecture,
        position_offset: if architecture == EncoderKind::Roberta { 2 } else { 0 },
        token_types: match architecture {
            EncoderKind::Roberta => 1,
            EncoderKind::DistilBert => 0,
            _ => 2,
        },
        ..bert.clone()
    };
    for architecture in [EncoderKind::Bert, EncoderKind::Roberta, EncoderKind::DistilBert] {
        let heads = [
            ("bare", HeadConfig::None),
            ("pooler", HeadConfig::Pooler),
            ("masked", HeadConfig::MaskedLm),
            ("classes", sequence(Problem::SingleLabel)),
            ("labels", sequence(Problem::MultiLabel)),
            ("regression", sequence(Problem::Regression)),
            ("tokens", tokens.clone()),
        ];
        for (name, head) in heads {
            let distil = architecture == EncoderKind::DistilBert;
            let without_pooler = !distil && head == HeadConfig::None;
            if without_pooler || (distil && head == HeadConfig::Pooler) {
                continue;
            }
            let name = format!("{architecture:?}_{name}").to_lowercase();
            export_encoder(root, &name, &EncoderConfig { head, ..kind(architecture) })?;
        }
    }
    Ok(())
}

/// Pairs of unequal lengths on both sides, and what is to be learnt of them. Token 0 is padding and start.
fn pairs(seed: usize) -> (Seq2SeqInput, Vec<Vec<i32>>) {
    let (mut sources, mut targets) = (texts(seed).ids, texts(seed + 1).ids);
    sources[0].truncate(7);
    targets.iter_mut().for_each(|target| target.push(2));
    Seq2SeqInput::teacher_forcing(sources, &targets, 0)
}

/// Sounds of a model's shape, and what is to be learnt of them.
fn sounds(config: &EncoderDecoderConfig, seed: usize) -> (SpeechInput, Vec<Vec<i32>>) {
    let (bands, places) = config.sound().unwrap_or_default();
    let value = |i: usize| ((i * i * 3 + i * 17 + seed * 41) % 101) as f32 / 50.0 - 1.0;
    let sound = |at: usize| LogMel { bands, values: (0..2 * places * bands).map(|i| value(i + at * 7)).collect() };
    let (Seq2SeqInput { decoder_input_ids, .. }, labels) = pairs(seed);
    (SpeechInput { sounds: (0..decoder_input_ids.len()).map(sound).collect(), decoder_input_ids }, labels)
}

/// As [`export_encoder_decoder`], of one that reads sound.
fn export_whisper(root: &Path, name: &str, config: &EncoderDecoderConfig) -> Result<(), Box<dyn Error>> {
    let mut model = EncoderDecoder::new(config, VOCAB, 1, &Device::flex().autodiff())?;
    for step in 0..20 {
        let (input, labels) = sounds(config, step);
        let gradients = model.speech_loss_sum(&input, &labels, None)?.backward();
        model = model.map(&mut Descent(&gradients));
    }
    let (model, (input, _)) = (model.valid(), sounds(config, 30));
    let sources: Vec<_> =
        input.sounds.iter().map(|sound| sound.values.chunks(sound.bands).collect::<Vec<_>>()).collect();
    let logits = model.speech_logits(&input, None)?;
    write_encoder_decoder(&root.join(name), &model, serde_json::json!(sources), &input.decoder_input_ids, logits)
}

/// An encoder-decoder after a few steps of plain gradient descent, with its logits.
fn export_encoder_decoder(root: &Path, name: &str, config: &EncoderDecoderConfig) -> Result<(), Box<dyn Error>> {
    let mut model = EncoderDecoder::new(config, VOCAB, 1, &Device::flex().autodiff())?;
    for step in 0..20 {
        let (input, labels) = pairs(step);
        let gradients = model.loss_sum(&input, &labels, None)?.backward();
        model = model.map(&mut Descent(&gradients));
    }
    let (model, (input, _)) = (model.valid(), pairs(30));
    let logits = model.logits(&input, None)?;
    let sources = serde_json::json!(input.input_ids);
    write_encoder_decoder(&root.join(name), &model, sources, &input.decoder_input_ids, logits)
}

fn write_encoder_decoder(
    dir: &Path,
    model: &EncoderDecoder,
    sources: serde_json::Value,
    targets: &[Vec<u32>],
    logits: Tensor<3>,
) -> Result<(), Box<dyn Error>> {
    let special = SpecialTokens { bos: None, eos: vec![2], pad: Some(0), decoder_start: Some(0) };
    model.save(dir, &SaveOptions { special_tokens: Some(special) })?;
    let [_, longest, width] = logits.dims();
    let logits: Vec<f32> = logits.into_data().try_into_vec()?;
    let record = serde_json::json!({
        "sources": sources,
        "targets": targets,
        "logits": logits.chunks(width).collect::<Vec<_>>().chunks(longest).collect::<Vec<_>>(),
    });
    std::fs::write(dir.join("logits.json"), serde_json::to_vec(&record)?)?;
    Ok(())
}

fn encoder_decoders(root: &Path) -> Result<(), Box<dyn Error>> {
    let small = EncoderDecoderConfig {
        encoder_layers: 3,
        decoder_layers: 2,
        hidden_size: 48,
        heads: 6,
        max_seq_len: 64,
        ..Default::default()
    };
    let kind = |architecture| EncoderDecoderConfig { architecture, ..small.clone() };
    let gated = EncoderDecoderConfig { activation: Some(Activation::Geglu), tied: Some(false), ..small.clone() };
    let all = [
        ("marian_original", small.clone()),
        (
            "marian_silu_bias",
            EncoderDecoderConfig { activation: Some(Activation::Silu), logits_bias: true, ..small.clone() },
        ),
        ("bart", kind(EncoderDecoderKind::Bart)),
        ("mbart", kind(EncoderDecoderKind::Mbart)),
        ("t5_tied", EncoderDecoderConfig { head_dim: Some(12), ..kind(EncoderDecoderKind::T5) }),
        ("t5_gated", EncoderDecoderConfig { architecture: EncoderDecoderKind::T5, ..gated.clone() }),
        ("mt5", EncoderDecoderConfig { architecture: EncoderDecoderKind::Mt5, ..gated }),
    ];
    for (name, config) in all {
        export_encoder_decoder(root, name, &config)?;
    }
    let (mel_bands, source_places) = (Some(20), Some(30));
    let whisper = EncoderDecoderConfig { mel_bands, source_places, ..kind(EncoderDecoderKind::Whisper) };
    export_whisper(root, "whisper", &whisper)
}

/// The token that stands for pictures.
const IMAGE: u32 = 100;

/// Texts of unequal lengths with one picture, two and none, and what is to be learnt of them.
fn seen(model: &VisionLanguage, seed: usize) -> (VisionInput, Vec<Vec<i32>>) {
    let size = model.config().vision.image_size;
    let value = |i: usize| ((i * i * 3 + i * 17 + seed * 41) % 101) as f32 / 50.0 - 1.0;
    let picture = |at: usize| Pixels {
        height: size,
        width: size,
        values: (0..3 * size * size).map(|i| value(i + at * 7)).collect(),
    };
    let mut ids = texts(seed).ids;
    ids.iter_mut().flatten().for_each(|id| *id %= IMAGE);
    ids[0].insert(2, IMAGE);
    drop(ids[1].splice(1..1, [IMAGE, 7, IMAGE]));
    let ids: Vec<Vec<u32>> = ids.iter().map(|ids| model.expanded(ids)).collect();
    let label = |id: &u32| if *id == IMAGE { -100 } else { *id as i32 };
    let labels = ids.iter().map(|ids| ids[1..].iter().map(label).chain([2]).collect()).collect();
    (VisionInput { pictures: (0..3).map(picture).collect(), ids }, labels)
}

/// A model that sees after a few steps of plain gradient descent, with its logits.
fn export_vision(root: &Path, name: &str, config: &VisionLanguageConfig) -> Result<(), Box<dyn Error>> {
    let mut model = VisionLanguage::new(config, VOCAB, IMAGE, 1, &Device::flex().autodiff())?;
    for step in 0..20 {
        let (input, labels) = seen(&model, step);
        let gradients = model.loss_sum(&input, &labels, None)?.backward();
        model = model.map(&mut Descent(&gradients));
    }
    let (model, dir) = (model.valid(), root.join(name));
    let special = SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(0), ..SpecialTokens::default() };
    model.save(&dir, &SaveOptions { special_tokens: Some(special) })?;
    let (input, _) = seen(&model, 30);
    let logits = model.logits(&input, None)?;
    let [_, longest, width] = logits.dims();
    let logits: Vec<f32> = logits.into_data().try_into_vec()?;
    // A picture of which the processor, too, is checked.
    let rgb: Vec<u8> = (0..31 * 17 * 3).map(|i| (i * i % 251) as u8).collect();
    let record = serde_json::json!({
        "pictures": input.pictures.iter().map(|picture| &picture.values).collect::<Vec<_>>(),
        "texts": input.ids,
        "logits": logits.chunks(width).collect::<Vec<_>>().chunks(longest).collect::<Vec<_>>(),
        "processed": { "height": 31, "width": 17, "pixels": model.processor().pixels(31, 17, &rgb)?.values },
    });
    std::fs::write(dir.join("logits.json"), serde_json::to_vec(&record)?)?;
    Ok(())
}

fn visions(root: &Path) -> Result<(), Box<dyn Error>> {
    let vision = VisionConfig {
        layers: 3,
        hidden_size: 40,
        heads: 4,
        image_size: 12,
        patch_size: 4,
        dropout: 0.1,
        ..VisionConfig::default()
    };
    let text =
        ModelConfig { layers: 2, hidden_size: 48, heads: 6, kv_heads: Some(2), max_seq_len: 64, ..Default::default() };
    let llava = VisionLanguageConfig { vision, text: text.clone(), ..Default::default() };
    export_vision(root, "llava_llama", &llava)?;
    for (name, architecture) in [
        ("llava_qwen2", Architecture::Qwen2),
        ("llava_qwen3", Architecture::Qwen3),
        ("llava_mistral", Architecture::Mistral),
    ] {
        let text = ModelConfig { architecture, tied: false, ..text.clone() };
        let vision = VisionConfig { activation: Activation::GeluErf, ..llava.vision.clone() };
        let features = FeatureSelection::Full;
        let config =
            VisionLanguageConfig { text, vision, features, feature_layer: -1, projector_bias: false, ..llava.clone() };
        export_vision(root, name, &config)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("usage: export_for_check FOLDER")?;
    let root = Path::new(&root);
    let llama =
        ModelConfig { layers: 3, hidden_size: 48, heads: 6, kv_heads: Some(2), max_seq_len: 64, ..Default::default() };
    let gpt2 = ModelConfig { architecture: Architecture::Gpt2, kv_heads: None, ..llama.clone() };
    let wide = ModelConfig { tied: false, bias: Some(true), head_dim: Some(12), rope_theta: 5e5, ..llama.clone() };
    export(root, "llama_tied", &trained(&llama)?)?;
    export(root, "llama_untied_biases", &trained(&wide)?)?;
    export(root, "gpt2_tied", &trained(&gpt2)?)?;
    let erf = ModelConfig { tied: false, activation: Some(Activation::GeluErf), ..gpt2 };
    export(root, "gpt2_untied_erf", &trained(&erf)?)?;
    for (name, config) in families(&llama) {
        export(root, name, &trained(&config)?)?;
    }
    export(root, "llama_int8", &trained(&llama)?.quantized()?)?;
    export(root, "llama_untied_int8", &trained(&wide)?.quantized()?)?;
    encoders(root)?;
    encoder_decoders(root)?;
    visions(root)
}
