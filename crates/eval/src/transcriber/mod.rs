//! What is said in a sound, by Whisper (Radford et al. 2023).

mod rules;
mod timestamps;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use danlu_model::{
    BeamConfig, EncoderDecoder, HOP, Hypothesis, LogMel, LogitsRules, SAMPLE_RATE, State, Stepper, beam_search,
    describe_encoder_decoder,
};
use danlu_text::EncoderTokenizer;
use serde::Serialize;
use serde_json::Value;

use crate::EvalError;
use rules::Rules;
use timestamps::{Part, TimeTokens, segments};

/// The longest text of one window, in tokens: half of Whisper's context, as its own program has it.
const MOST_TOKENS: usize = 224;
/// Runs of so many tokens tell that a text goes round in circles, where so much of it has come before.
const RUN: usize = 4;
const CIRCLING: f64 = 0.4;
/// A window is silent if none of its hundredths of a second is louder: -60 decibels of full scale.
const SILENCE: f32 = 1e-3;

/// How to transcribe.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscribeOptions {
    /// The code of the language that is spoken, as `en`; left out: it is heard from the first window with speech.
    pub language: Option<String>,
    /// Write English, whatever is spoken. Only models of many languages can.
    pub translate: bool,
    /// Tell when each segment is said. Without it, long sounds are cut every 30 seconds, within words.
    pub timestamps: bool,
    /// Texts kept at every step of the search; 1 takes the likeliest token each time.
    pub beams: usize,
    /// A window is taken for silent if the model says so with at least this probability ...
    pub no_speech: f64,
    /// ... and its text has a lower mean log-probability of a token than this.
    pub least_log_probability: f64,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        TranscribeOptions {
            language: None,
            translate: false,
            timestamps: true,
            beams: 5,
            no_speech: 0.6,
            least_log_probability: -1.0,
        }
    }
}

/// What is said in a sound.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transcript {
    pub text: String,
    /// Length of the sound.
    pub seconds: f64,
    /// Given or heard; `None` where nothing was said.
    pub language: Option<String>,
    pub segments: Vec<TranscriptSegment>,
}

/// A part of what is said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TranscriptSegment {
    /// Seconds from the sound's beginning.
    pub start: f64,
    pub end: f64,
    pub text: String,
    /// Mean of a token in the segment's window, in nats.
    pub log_probability: f64,
    /// Probability that nothing is said in the segment's window.
    pub no_speech: f64,
}

/// A Whisper model with its tokenizer, ready for sounds.
#[derive(Debug)]
pub struct Transcriber {
    model: EncoderDecoder,
    tokenizer: EncoderTokenizer,
    marks: Marks,
    never: Arc<[u32]>,
    not_first: Arc<[u32]>,
    bands: usize,
    frames: usize,
}

/// Whisper's tokens that are no words.
#[derive(Clone, Debug)]
struct Marks {
    start: u32,
    times: TimeTokens,
    no_speech: u32,
    /// Of a model of many languages.
    tasks: Option<Tasks>,
}

#[derive(Clone, Debug)]
struct Tasks {
    transcribe: u32,
    translate: u32,
    /// Codes and tokens.
    languages: Vec<(String, u32)>,
}

impl Transcriber {
    /// Reads model, tokenizer and settings of a folder.
    ///
    /// # Errors
    /// A folder that is not Whisper's, or broken, or whose tokenizer lacks Whisper's marks.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, EvalError> {
        let wrong = |found: &str, expected| EvalError::WrongModel { path: dir.into(), found: found.into(), expected };
        let described = describe_encoder_decoder(dir)?;
        let sound = described.and_then(|(config, _)| config.sound());
        let (bands, places) = sound.ok_or_else(|| wrong("a model that reads no sound", "Whisper"))?;
        let model = EncoderDecoder::load(dir, device)?;
        let tokenizer = EncoderTokenizer::from_dir(dir)?;
        let settings = settings(dir);
        let marks = Marks::of(&tokenizer, &settings, model.vocab_size())
            .ok_or_else(|| wrong("a tokenizer without <|startoftranscript|> and the like", "Whisper's tokenizer"))?;
        let ids = |key: &str| -> Arc<[u32]> {
            let ids = settings.iter().find_map(|settings| settings.get(key)?.as_array()).into_iter().flatten();
            ids.filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
        };
        let (never, not_first) = (ids("suppress_tokens"), ids("begin_suppress_tokens"));
        Ok(Self { model, tokenizer, marks, never, not_first, bands, frames: 2 * places })
    }

    pub fn model(&self) -> &EncoderDecoder {
        &self.model
    }

    /// Codes of the languages that can be asked for; none of a model of one language.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.marks.tasks.iter().flat_map(|tasks| &tasks.languages).map(|(code, _)| code.as_str())
    }

    /// Samples of one window.
    fn window(&self) -> usize {
        self.frames * HOP
    }

    /// Transcribes a sound of one channel at [`SAMPLE_RATE`], window by window; none if `seen`, which is told how many
    /// seconds are done, broke off. Nothing that was said in one window bears on the next, so that a mistake ends where it
    /// began; windows without a sound are left out.
    ///
    /// # Errors
    /// Settings that cannot be; samples that are not finite; what tokenizer, model and device report.
    pub fn transcribe(
        &self,
        samples: &[f32],
        options: &TranscribeOptions,
        seen: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> Result<Option<Transcript>, EvalError> {
        let mut language = options.language.as_deref().map(|code| self.language(code)).transpose()?.flatten();
        self.check_task(options)?;
        let mut transcript = Transcript { seconds: seconds(samples.len()), ..Transcript::default() };
        let mut at = 0;
        while at < samples.len() {
            let window = &samples[at..samples.len().min(at + self.window())];
            let step = match is_silent(window) {
                true => window.len(),
                false => self.take_window(window, at, options, &mut language, &mut transcript)?,
            };
            at += step.max(HOP);
            if seen(seconds(at.min(samples.len()))).is_break() {
                return Ok(None);
            }
        }
        let texts = transcript.segments.iter().map(|segment| segment.text.as_str());
        transcript.text = texts.collect::<Vec<_>>().concat().trim().to_owned();
        transcript.segments.iter_mut().for_each(|segment| segment.text = segment.text.trim().to_owned());
        let heard = language.and_then(|token| self.code(token));
        transcript.language = heard.or_else(|| self.marks.tasks.is_none().then(|| "en".to_owned()));
        Ok(Some(transcript))
    }

    /// Adds what is said in a window, and returns how many samples it has dealt with.
    fn take_window(
        &self,
        window: &[f32],
        at: usize,
        options: &TranscribeOptions,
        language: &mut Option<u32>,
        transcript: &mut Transcript,
    ) -> Result<usize, EvalError> {
        let mel = LogMel::of(window, self.bands, self.frames)?;
        let mut states = self.model.start_speech(&[mel])?;
        let Some(state) = states.pop() else { return Ok(window.len()) };
        let first = self.first_logits(&state)?;
        let no_speech = probability(&first, self.marks.no_speech);
        if language.is_none() {
            *language = self.heard(&first);
        }
        let best = self.search(state, *language, options)?;
        let log_probability = best.log_probability / (best.tokens.len() + 1) as f64;
        if no_speech >= options.no_speech && log_probability < options.least_log_probability {
            return Ok(window.len());
        }
        let length = seconds(window.len());
        let (parts, next) = segments(&best.tokens, self.marks.times, length);
        for Part { start, end, tokens } in parts {
            let text = self.tokenizer.decode(&tokens)?;
            // Times count to the end of a whole window; what begins behind the sound's end is made up.
            if !text.trim().is_empty() && start < length {
                let (start, end) = (seconds(at) + start, seconds(at) + end.clamp(start, length));
                transcript.segments.push(TranscriptSegment { start, end, text, log_probability, no_speech });
            }
        }
        Ok((next * SAMPLE_RATE as f64).round() as usize)
    }

    /// The likeliest text of a window; one that goes round in circles is sought again where no run of tokens comes twice.
    fn search(
        &self,
        state: State,
        language: Option<u32>,
        options: &TranscribeOptions,
    ) -> Result<Hypothesis, EvalError> {
        let prompt = self.prompt(language, options);
        let rules = Rules {
            never: self.never.clone(),
            not_first: self.not_first.clone(),
            times: self.marks.times,
            timestamps: options.timestamps,
            latest_start: 50,
            said: Vec::new(),
        };
        let room = self.model.config().max_seq_len.saturating_sub(prompt.len());
        let mut config =
            BeamConfig { beams: options.beams, max_tokens: room.min(MOST_TOKENS), ..BeamConfig::default() };
        loop {
            let sources = vec![(state.clone(), prompt.clone())];
            let found = beam_search(&self.model, sources, &[self.marks.times.end], &config, Some(&rules))?;
            let best = found.into_iter().flatten().next();
            let best = best.unwrap_or_else(|| unreachable!("a search has at least one result"));
            if config.rules.no_repeat_ngram_size > 0 || !circles(&best.tokens) {
                return Ok(best);
            }
            config.rules = LogitsRules { no_repeat_ngram_size: RUN, ..LogitsRules::default() };
        }
    }

    fn prompt(&self, language: Option<u32>, options: &TranscribeOptions) -> Vec<u32> {
        let mut prompt = vec![self.marks.start];
        if let Some(tasks) = &self.marks.tasks {
            prompt.extend(language);
            prompt.push(if options.translate { tasks.translate } else { tasks.transcribe });
        }
        if !options.timestamps {
            prompt.push(self.marks.times.none);
        }
        prompt
    }

    /// Logits behind the start token.
    fn first_logits(&self, state: &State) -> Result<Vec<f32>, EvalError> {
        let mut state = state.clone();
        let mut logits = self.model.step(&[&[self.marks.start]], &mut [&mut state])?;
        Ok(logits.pop().unwrap_or_default())
    }

    /// The likeliest language.
    fn heard(&self, first: &[f32]) -> Option<u32> {
        let logit = |token: &u32| first.get(*token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let tokens = self.marks.tasks.iter().flat_map(|tasks| &tasks.languages).map(|(_, token)| *token);
        tokens.max_by(|a, b| logit(a).total_cmp(&logit(b)))
    }

    fn code(&self, token: u32) -> Option<String> {
        let languages = self.marks.tasks.iter().flat_map(|tasks| &tasks.languages);
        languages.into_iter().find(|(_, of)| *of == token).map(|(code, _)| code.clone())
    }

    /// The token of a language; none in a model that knows English alone.
    fn language(&self, code: &str) -> Result<Option<u32>, EvalError> {
        let wrong = |expected: String| EvalError::Setting { key: "language", value: code.to_owned(), need: expected };
        let Some(tasks) = &self.marks.tasks else {
            return if code == "en" { Ok(None) } else { Err(wrong("en: this model knows English alone".to_owned())) };
        };
        let found = tasks.languages.iter().find(|(of, _)| of == code);
        let known = || tasks.languages.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>().join(", ");
        found.map(|(_, token)| Some(*token)).ok_or_else(|| wrong(format!("one of {}", known())))
    }

    fn check_task(&self, options: &TranscribeOptions) -> Result<(), EvalError> {
        if options.translate && self.marks.tasks.is_none() {
            let need = "false: this model knows English alone".to_owned();
            return Err(EvalError::Setting { key: "translate", value: "true".to_owned(), need });
        }
        Ok(())
    }
}

impl Marks {
    fn of(tokenizer: &EncoderTokenizer, settings: &[Value], vocab_size: usize) -> Option<Self> {
        let id = |token: &str| tokenizer.token_id(token).filter(|id| (*id as usize) < vocab_size);
        let (none, end) = (id("<|notimestamps|>")?, id("<|endoftext|>")?);
        // The times need not be in a tokenizer's file: they follow.
        let times = TimeTokens { first: none + 1, none, end };
        // OpenAI's models of English alone have one token less, and the marks of languages all the same.
        let told = settings.iter().find_map(|settings| settings.get("is_multilingual")?.as_bool());
        let multilingual = told.unwrap_or(vocab_size >= 51_865);
        let languages = || {
            let special = tokenizer.special_ids().iter().filter_map(|id| Some((tokenizer.token(*id)?, *id)));
            let code = |token: String| Some(token.strip_prefix("<|")?.strip_suffix("|>")?.to_owned());
            let mut languages: Vec<(String, u32)> = special
                .filter_map(|(token, id)| Some((code(token)?, id)))
                .filter(|(code, _)| (2..=3).contains(&code.len()) && code.chars().all(|c| c.is_ascii_lowercase()))
                .collect();
            languages.sort_by_key(|(_, id)| *id);
            languages
        };
        let tasks = match multilingual {
            true => Some(Tasks {
                transcribe: id("<|transcribe|>")?,
                translate: id("<|translate|>")?,
                languages: languages(),
            }),
            false => None,
        };
        let no_speech = id("<|nospeech|>").or_else(|| id("<|nocaptions|>")).unwrap_or(none - 1);
        Some(Marks { start: id("<|startoftranscript|>")?, times, no_speech, tasks })
    }
}

/// generation_config.json, then config.json.
fn settings(dir: &Path) -> Vec<Value> {
    let read = |name: &str| serde_json::from_slice(&std::fs::read(dir.join(name)).ok()?).ok();
    [danlu_model::GENERATION_CONFIG_FILE, danlu_model::CONFIG_FILE].into_iter().filter_map(read).collect()
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / SAMPLE_RATE as f64
}

fn is_silent(window: &[f32]) -> bool {
    let loud = |part: &[f32]| part.iter().map(|x| x * x).sum::<f32>() / part.len() as f32 > SILENCE * SILENCE;
    // What is not finite is no silence, and is refused where it is read.
    !window.chunks(HOP).any(|part| loud(part) || part.iter().any(|x| !x.is_finite()))
}

fn probability(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    logits.get(token as usize).map_or(0.0, |x| f64::from(x - most).exp() / sum)
}

/// Whether much of a text repeats what came before in it.
fn circles(tokens: &[u32]) -> bool {
    let runs: Vec<&[u32]> = tokens.windows(RUN).collect();
    let seen: std::collections::HashSet<&[u32]> = runs.iter().copied().collect();
    runs.len() >= 2 * RUN && (runs.len() - seen.len()) as f64 > CIRCLING * runs.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_circles_are_told() {
        assert!(is_silent(&[0.0; 1000]) && is_silent(&[]) && is_silent(&[5e-4; 1000]));
        let mut click = vec![0.0; 1000];
        click[500] = 0.5;
        assert!(!is_silent(&click));
        click[500] = f32::NAN;
        assert!(!is_silent(&click));
        let round: Vec<u32> = (0..40).map(|i| i % 5).collect();
        let straight: Vec<u32> = (0..40).collect();
        assert!(circles(&round) && !circles(&straight) && !circles(&[1; 7]) && circles(&[1; 20]));
    }

    #[test]
    fn probabilities_sum_to_one() {
        let logits = [1.0, 2.0, f32::NEG_INFINITY, -1.0];
        let sum: f64 = (0..4).map(|token| probability(&logits, token)).sum();
        assert!((sum - 1.0).abs() < 1e-12 && probability(&logits, 2) == 0.0 && probability(&logits, 9) == 0.0);
    }
}
