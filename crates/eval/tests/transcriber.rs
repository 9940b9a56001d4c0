//! Whisper's way from sound to segments, with random weights: what does not depend on what they say. Real weights are held
//! to faster-whisper by scripts/check_whisper.py.
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_eval::{EvalError, TranscribeOptions, Transcriber, Transcript};
use danlu_model::{
    EncoderDecoder, EncoderDecoderConfig, EncoderDecoderKind, LogMel, SAMPLE_RATE, SaveOptions, SpecialTokens, Stepper,
};
use serde_json::{Value, json};
use tempfile::tempdir;

const MARKS: [&str; 9] = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|zh|>",
    "<|transcribe|>",
    "<|translate|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
];
const FIRST_MARK: u32 = 20;
/// A window of one second: times from 0 to 1.
const TIMES: u32 = 51;

fn folder(dir: &Path, multilingual: bool) {
    let config = EncoderDecoderConfig {
        architecture: EncoderDecoderKind::Whisper,
        encoder_layers: 1,
        decoder_layers: 2,
        hidden_size: 16,
        heads: 2,
        max_seq_len: 40,
        mel_bands: Some(8),
        source_places: Some(50),
        ..EncoderDecoderConfig::default()
    };
    let vocabulary = (FIRST_MARK + 9 + TIMES) as usize;
    let model = EncoderDecoder::new(&config, vocabulary, 3, &Device::flex()).unwrap();
    let special =
        SpecialTokens { eos: vec![FIRST_MARK], decoder_start: Some(FIRST_MARK + 1), ..SpecialTokens::default() };
    model.save(dir, &SaveOptions { special_tokens: Some(special) }).unwrap();
    let added: Vec<Value> = MARKS
        .iter()
        .zip(FIRST_MARK..)
        .map(|(mark, id)| {
            json!({"id": id, "content": mark, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let letters: serde_json::Map<String, Value> =
        ('a'..='t').enumerate().map(|(id, letter)| (letter.to_string(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added,
        "model": {"type": "BPE", "vocab": letters, "merges": []},
    });
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let path = dir.join("generation_config.json");
    let mut settings: Value = fs::read(&path).map_or(json!({}), |bytes| serde_json::from_slice(&bytes).unwrap());
    settings["is_multilingual"] = multilingual.into();
    settings["suppress_tokens"] = json!([0, 1]);
    fs::write(&path, settings.to_string()).unwrap();
}

fn tone(seconds: f64, hertz: f64) -> Vec<f32> {
    let count = (seconds * SAMPLE_RATE as f64) as usize;
    (0..count).map(|i| (0.3 * (TAU * hertz * i as f64 / SAMPLE_RATE as f64).sin()) as f32).collect()
}

fn transcribe(transcriber: &Transcriber, samples: &[f32], options: &TranscribeOptions) -> Transcript {
    transcriber.transcribe(samples, options, &mut |_| ControlFlow::Continue(())).unwrap().unwrap()
}

/// Random weights are unsure of everything: nothing is left out for that.
fn trusting() -> TranscribeOptions {
    TranscribeOptions { no_speech: 2.0, beams: 3, ..TranscribeOptions::default() }
}

#[test]
fn segments_lie_in_order_within_the_sound() {
    let dir = tempdir().unwrap();
    folder(dir.path(), false);
    let transcriber = Transcriber::load(dir.path(), &Device::flex()).unwrap();
    let sound = [tone(2.3, 440.0), vec![0.0; 4 * SAMPLE_RATE], tone(1.1, 900.0)].concat();
    for timestamps in [true, false] {
        let options = TranscribeOptions { timestamps, ..trusting() };
        let mut told = Vec::new();
        let seen = &mut |seconds: f64| {
            told.push(seconds);
            ControlFlow::Continue(())
        };
        let transcript = transcriber.transcribe(&sound, &options, seen).unwrap().unwrap();
        assert_eq!((transcript.seconds, transcript.language.as_deref()), (7.4, Some("en")));
        assert!(told.is_sorted() && told.last() == Some(&7.4), "{told:?}");
        let mut before = 0.0;
        for segment in &transcript.segments {
            assert!(
                before <= segment.start && segment.start <= segment.end && segment.end <= 7.4 + 1e-9,
                "{segment:?}"
            );
            assert!(!segment.text.contains(['a', 'b', '<']), "{segment:?}");
            assert!(segment.log_probability < 0.0 && (0.0..=1.0).contains(&segment.no_speech), "{segment:?}");
            before = segment.start;
        }
        if !timestamps {
            // Windows of a second, those of silence left out.
            assert!(transcript.segments.iter().all(|segment| segment.start < 2.5 || segment.start >= 6.0));
            assert!(!transcript.text.is_empty());
        }
        assert_eq!(transcript, transcribe(&transcriber, &sound, &options));
    }
}

#[test]
fn silence_says_nothing_and_a_stop_ends() {
    let dir = tempdir().unwrap();
    folder(dir.path(), true);
    let transcriber = Transcriber::load(dir.path(), &Device::flex()).unwrap();
    let silent = transcribe(&transcriber, &vec![1e-5; 3 * SAMPLE_RATE], &trusting());
    assert_eq!((silent.text.as_str(), silent.segments.len(), silent.language), ("", 0, None));
    assert_eq!(transcribe(&transcriber, &[], &trusting()).seconds, 0.0);
    let stopped = transcriber.transcribe(&tone(3.0, 440.0), &trusting(), &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!(stopped, None);
    let broken = transcriber.transcribe(&[f32::NAN; 100], &trusting(), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(broken, Err(EvalError::Model(_))), "{broken:?}");
}

#[test]
fn the_language_is_given_or_heard() {
    let dir = tempdir().unwrap();
    folder(dir.path(), true);
    let transcriber = Transcriber::load(dir.path(), &Device::flex()).unwrap();
    assert_eq!(transcriber.languages().collect::<Vec<_>>(), ["en", "zh"]);
    let sound = tone(1.0, 440.0);
    let heard = transcribe(&transcriber, &sound, &trusting());
    let model = transcriber.model();
    let mut state = model.start_speech(&[LogMel::of(&sound, 8, 100).unwrap()]).unwrap().remove(0);
    let logits = model.step(&[&[FIRST_MARK + 1]], &mut [&mut state]).unwrap().remove(0);
    let likelier = if logits[FIRST_MARK as usize + 2] > logits[FIRST_MARK as usize + 3] { "en" } else { "zh" };
    assert_eq!(heard.language.as_deref(), Some(likelier));
    let given = |code: &str| TranscribeOptions { language: Some(code.into()), ..trusting() };
    assert_eq!(transcribe(&transcriber, &sound, &given(likelier)), heard);
    assert_eq!(transcribe(&transcriber, &sound, &given("zh")).language.as_deref(), Some("zh"));
    let unknown = transcriber.transcribe(&sound, &given("xx"), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(unknown.to_string(), "language = xx: expected one of en, zh");
}

#[test]
fn what_a_model_cannot_do_is_refused() {
    let dir = tempdir().unwrap();
    folder(dir.path(), false);
    let transcriber = Transcriber::load(dir.path(), &Device::flex()).unwrap();
    let sound = tone(0.5, 440.0);
    for options in [
        TranscribeOptions { translate: true, ..trusting() },
        TranscribeOptions { language: Some("zh".into()), ..trusting() },
        TranscribeOptions { beams: 0, ..trusting() },
    ] {
        assert!(transcriber.transcribe(&sound, &options, &mut |_| ControlFlow::Continue(())).is_err(), "{options:?}");
    }
    // A tokenizer without the marks, and a model that reads text.
    let plain = json!({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}});
    fs::write(dir.path().join("tokenizer.json"), plain.to_string()).unwrap();
    let error = Transcriber::load(dir.path(), &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("<|startoftranscript|>"), "{error}");
    let text = tempdir().unwrap();
    let config = EncoderDecoderConfig {
        hidden_size: 16,
        heads: 2,
        encoder_layers: 1,
        decoder_layers: 1,
        ..EncoderDecoderConfig::default()
    };
    let model = EncoderDecoder::new(&config, 20, 1, &Device::flex()).unwrap();
    model.save(text.path(), &SaveOptions::default()).unwrap();
    let error = Transcriber::load(text.path(), &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("reads no sound"), "{error}");
}
