//! Beam search: the likeliest continuations, by keeping the best few of every length.

use crate::generate::check_room;
use crate::sampler::{check_repetition_penalty, check_setting, log_softmax, penalize, top_log_probabilities};
use crate::{FinishReason, LogitsConstraint, LogitsRules, ModelError, State, Stepper};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;

/// When a search ends before `max_tokens`. The names are those of transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EarlyStopping {
    /// As soon as there are as many finished continuations as beams.
    #[serde(rename = "true")]
    True,
    /// When the best running one, were it to end now, would not be among the finished ones.
    #[default]
    #[serde(rename = "false")]
    False,
    /// When no running one can still come to be among the finished ones: with a positive length penalty, were it to reach
    /// `max_tokens` at no further cost.
    #[serde(rename = "never")]
    Never,
}

/// How to search. Results are those of transformers' `generate` with the same settings and `do_sample=False`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BeamConfig {
    /// Continuations kept at every step; memory for as many states is needed. transformers' `num_beams`.
    pub beams: usize,
    /// Continuations returned, best first, up to `beams`. transformers' `num_return_sequences`.
    pub results: usize,
    /// A finished continuation's score is its log-probability divided by its length, stop token included, to this power:
    /// above 0 favours long ones, below 0 short ones.
    pub length_penalty: f32,
    pub early_stopping: EarlyStopping,
    /// New tokens at most.
    pub max_tokens: usize,
    /// As in [`crate::SamplingConfig`], but of log-probabilities.
    pub repetition_penalty: f32,
    /// Applied to log-probabilities.
    pub rules: LogitsRules,
}

impl Default for BeamConfig {
    fn default() -> Self {
        BeamConfig {
            beams: 4,
            results: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::False,
            max_tokens: 200,
            repetition_penalty: 1.0,
            rules: LogitsRules::default(),
        }
    }
}

impl BeamConfig {
    /// Beyond this many, what is kept grows and results do not.
    pub const MOST_BEAMS: usize = 256;

    /// # Errors
    /// [`ModelError::InvalidSampling`] names the first setting out of its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let (beams, results) = (self.beams, self.results);
        check_setting((1..=Self::MOST_BEAMS).contains(&beams), "beams", beams, "a whole number from 1 to 256")?;
        check_setting((1..=beams).contains(&results), "results", results, "a whole number from 1 to `beams`")?;
        check_setting(self.length_penalty.is_finite(), "length_penalty", self.length_penalty, "a finite number")?;
        check_setting(self.max_tokens > 0, "max_tokens", self.max_tokens, "a whole number of at least 1")?;
        check_repetition_penalty(self.repetition_penalty)?;
        self.rules.validate()
    }
}

/// A finished continuation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hypothesis {
    /// New tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// `log_probability / length ^ length_penalty`, the stop token counted.
    pub score: f64,
    /// Sum over the new tokens, the stop token included, in nats.
    pub log_probability: f64,
    pub finish: FinishReason,
}

/// Continues each source, a state and the tokens that begin its continuation (a prompt; the decoder's start token), and
/// returns its best continuations, best first. All beams of all sources go through the model together; each source's
/// result is the one it would have alone.
///
/// * `constraint`: what each continuation may be
///
/// # Errors
/// [`ModelError::InvalidSampling`], [`ModelError::ContextFull`] if a prompt leaves no room for a token, and those of the
/// constraint and of [`Stepper::step`].
pub fn beam_search<M: Stepper + ?Sized>(
    model: &M,
    sources: Vec<(State, Vec<u32>)>,
    stop_tokens: &[u32],
    config: &BeamConfig,
    constraint: Option<&dyn LogitsConstraint>,
) -> Result<Vec<Vec<Hypothesis>>, ModelError> {
    let begin = |(state, prompt)| -> Result<BeamSearch, ModelError> {
        let search = BeamSearch::new(state, prompt, stop_tokens, config)?;
        Ok(search.with_constraint(constraint.map(|constraint| constraint.fork())))
    };
    let mut searches: Vec<BeamSearch> = sources.into_iter().map(begin).collect::<Result<_, _>>()?;
    loop {
        let mut open: Vec<&mut BeamSearch> = searches.iter_mut().filter(|search| !search.is_done()).collect();
        if open.is_empty() {
            return Ok(searches.into_iter().map(BeamSearch::into_hypotheses).collect());
        }
        let (tokens, mut states): (Vec<_>, Vec<_>) = open.iter_mut().flat_map(|search| search.pending()).unzip();
        let mut logits = model.step(&tokens, &mut states)?.into_iter();
        let mut parts: Vec<Vec<Vec<f32>>> = Vec::with_capacity(open.len());
        for search in &open {
            parts.push(logits.by_ref().take(search.width()).collect());
        }
        open.into_par_iter().zip(parts).try_for_each(|(search, logits)| search.advance(logits))?;
    }
}

/// One source's search, step by step: run the model over what [`BeamSearch::pending`] gives and hand the logits to
/// [`BeamSearch::advance`], until it [is done](BeamSearch::is_done).
#[derive(Debug)]
pub struct BeamSearch {
    config: BeamConfig,
    stop_tokens: Vec<u32>,
    prompt: usize,
    /// `config.max_tokens`, or fewer where the context ends before.
    max_tokens: usize,
    /// Best first.
    running: Vec<Beam>,
    /// Best first, at most `config.beams`.
    finished: Vec<Hypothesis>,
    done: bool,
}

#[derive(Debug)]
struct Beam {
    /// The prompt and what was added.
    tokens: Vec<u32>,
    /// How many of the last tokens the state has not read.
    unread: usize,
    log_probability: f64,
    state: State,
    constraint: Constraint,
}

/// What may come next in a beam.
struct Constraint(Option<Box<dyn LogitsConstraint>>);

impl Constraint {
    fn fork(&self) -> Self {
        Constraint(self.0.as_ref().map(|constraint| constraint.fork()))
    }

    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ModelError> {
        self.0.as_mut().map_or(Ok(()), |constraint| constraint.mask(logits))
    }

    fn commit(&mut self, token: u32) -> Result<(), ModelError> {
        self.0.as_mut().map_or(Ok(()), |constraint| constraint.commit(token))
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Constraint" } else { "none" })
    }
}

/// A running beam and the token that would continue it.
struct Candidate {
    log_probability: f64,
    beam: usize,
    token: u32,
}

impl BeamSearch {
    /// A search from a state and the tokens that it is to read first.
    ///
    /// # Errors
    /// [`ModelError::InvalidSampling`], [`ModelError::ContextFull`] if the prompt leaves no room for a token.
    pub fn new(state: State, prompt: Vec<u32>, stop_tokens: &[u32], config: &BeamConfig) -> Result<Self, ModelError> {
        let unread = prompt.len();
        Self::build(state, prompt, unread, stop_tokens, config)
    }

    /// A search from a state that has read the prompt: the first [`BeamSearch::advance`] takes the logits that it gave.
    ///
    /// # Errors
    /// As [`BeamSearch::new`].
    pub fn after(state: State, prompt: Vec<u32>, stop_tokens: &[u32], config: &BeamConfig) -> Result<Self, ModelError> {
        Self::build(state, prompt, 0, stop_tokens, config)
    }

    fn build(
        state: State,
        tokens: Vec<u32>,
        unread: usize,
        stop_tokens: &[u32],
        config: &BeamConfig,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let room = check_room(&state, unread)?;
        Ok(BeamSearch {
            max_tokens: config.max_tokens.min(room.saturating_add(1)),
            config: config.clone(),
            stop_tokens: stop_tokens.to_vec(),
            prompt: tokens.len(),
            running: vec![Beam { tokens, unread, log_probability: 0.0, state, constraint: Constraint(None) }],
            finished: Vec::new(),
            done: false,
        })
    }

    /// This search, not yet begun, for what a constraint allows.
    pub fn with_constraint(mut self, constraint: Option<Box<dyn LogitsConstraint>>) -> Self {
        if let Some(beam) = self.running.first_mut() {
            beam.constraint = Constraint(constraint);
        }
        self
    }

    /// Whether nothing is left to be done.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Beams that wait for the model.
    pub fn width(&self) -> usize {
        if self.done { 0 } else { self.running.len() }
    }

    /// Of each running beam the tokens that it has to read, and its state.
    pub fn pending(&mut self) -> impl Iterator<Item = (&[u32], &mut State)> {
        let running = if self.done { &mut [][..] } else { &mut self.running[..] };
        running.iter_mut().map(|beam| (&beam.tokens[beam.tokens.len() - beam.unread..], &mut beam.state))
    }

    /// Takes the logits after each running beam, in the order of [`BeamSearch::pending`], and chooses the beams of the
    /// next step. Nothing happens once the search is done.
    ///
    /// # Errors
    /// Those of the constraint.
    pub fn advance(&mut self, logits: Vec<Vec<f32>>) -> Result<(), ModelError> {
        if self.done {
            return Ok(());
        }
        let beams = self.config.beams;
        let length = self.generated() + 1;
        let last = length >= self.max_tokens;
        let candidates = self.candidates(logits)?;
        let (mut next, mut ended) = (Vec::with_capacity(beams), Vec::new());
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let stop = self.stop_tokens.contains(&candidate.token);
            if !stop && !last {
                next.push(candidate);
            } else if rank < beams {
                // Those of lower rank are there only so that enough beams run on.
                ended.push(self.hypothesis(&candidate, stop, length));
            }
        }
        next.truncate(beams);
        if next.is_empty() && ended.is_empty() {
            // Rules forbid every token.
            ended = self.running.iter().map(|beam| self.cut_short(beam)).collect();
        }
        self.finish(ended);
        self.done = next.is_empty() || !self.can_improve(next[0].log_probability, length);
        self.run_on(&next)
    }

    /// The continuations found, best first; where the search is not done, those finished so far.
    pub fn into_hypotheses(mut self) -> Vec<Hypothesis> {
        self.finished.truncate(self.config.results);
        self.finished
    }

    /// Tokens added so far to each running beam.
    fn generated(&self) -> usize {
        self.running.first().map_or(0, |beam| beam.tokens.len() - self.prompt)
    }

    /// The best continuations of all beams by one token, best first: so many that `beams` remain if every stop token of
    /// every beam is among them.
    fn candidates(&mut self, logits: Vec<Vec<f32>>) -> Result<Vec<Candidate>, ModelError> {
        let BeamSearch { config, stop_tokens, prompt, running, .. } = self;
        let wanted = (1 + stop_tokens.len()).max(2) * config.beams;
        let of_beam = |(index, (beam, logits)): (usize, (&mut Beam, Vec<f32>))| {
            let mut log_probabilities = log_softmax(&logits);
            penalize(&mut log_probabilities, &beam.tokens, config.repetition_penalty);
            config.rules.apply(&mut log_probabilities, &beam.tokens, *prompt, stop_tokens);
            beam.constraint.mask(&mut log_probabilities)?;
            let best = top_log_probabilities(&log_probabilities, wanted).into_iter();
            let candidate = |(token, x)| {
                let log_probability = beam.log_probability + f64::from(x);
                Candidate { log_probability, beam: index, token }
            };
            Ok(best.filter(|(_, x)| x.is_finite()).map(candidate).collect())
        };
        let found = running.par_iter_mut().zip(logits).enumerate().map(of_beam);
        let mut all: Vec<Candidate> =
            found.collect::<Result<Vec<Vec<Candidate>>, ModelError>>()?.into_iter().flatten().collect();
        let key = |candidate: &Candidate| (candidate.beam, candidate.token);
        all.sort_unstable_by(|a, b| b.log_probability.total_cmp(&a.log_probability).then(key(a).cmp(&key(b))));
        all.truncate(wanted);
        Ok(all)
    }

    fn hypothesis(&self, candidate: &Candidate, stop: bool, length: usize) -> Hypothesis {
        let mut tokens = self.running[candidate.beam].tokens[self.prompt..].to_vec();
        let finish = match stop {
            true => FinishReason::Stop,
            false if self.max_tokens < self.config.max_tokens => FinishReason::ContextFull,
            false => FinishReason::Length,
        };
        if !stop {
            tokens.push(candidate.token);
        }
        let log_probability = candidate.log_probability;
        Hypothesis { tokens, score: self.score(log_probability, length), log_probability, finish }
    }

    fn cut_short(&self, beam: &Beam) -> Hypothesis {
        let tokens = beam.tokens[self.prompt..].to_vec();
        let score = self.score(beam.log_probability, tokens.len().max(1));
        Hypothesis { tokens, score, log_probability: beam.log_probability, finish: FinishReason::Stop }
    }

    fn score(&self, log_probability: f64, length: usize) -> f64 {
        log_probability / (length as f64).powf(f64::from(self.config.length_penalty))
    }

    fn is_full(&self) -> bool {
        self.finished.len() >= self.config.beams
    }

    /// Takes in what ended in this step, of which the best remain.
    fn finish(&mut self, ended: Vec<Hypothesis>) {
        self.finished.extend(ended);
        // Stable: of equals the earlier one remains.
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(self.config.beams);
    }

    /// Whether a running beam, the best of which has this log-probability at this length, may still come among the
    /// finished ones.
    fn can_improve(&self, best: f64, length: usize) -> bool {
        let Some(worst) = self.finished.last().filter(|_| self.is_full()) else { return true };
        let best = match self.config.early_stopping {
            EarlyStopping::True => return false,
            EarlyStopping::Never if self.config.length_penalty > 0.0 => self.score(best, self.max_tokens),
            EarlyStopping::Never | EarlyStopping::False => self.score(best, length),
        };
        best > worst.score
    }

    /// The running beams become the candidates; a state is copied only where its beam goes on in several ways.
    fn run_on(&mut self, next: &[Candidate]) -> Result<(), ModelError> {
        let mut uses = vec![0usize; self.running.len()];
        next.iter().for_each(|candidate| uses[candidate.beam] += 1);
        let mut parents: Vec<Option<Beam>> = self.running.drain(..).map(Some).collect();
        for candidate in next {
            uses[candidate.beam] -= 1;
            let parent = &mut parents[candidate.beam];
            let beam = match (uses[candidate.beam], &*parent) {
                (0, _) => parent.take(),
                (_, Some(beam)) => Some(Beam {
                    tokens: beam.tokens.clone(),
                    state: beam.state.clone(),
                    constraint: beam.constraint.fork(),
                    ..*beam
                }),
                (_, None) => None,
            };
            let Some(mut beam) = beam else { unreachable!("a parent is taken by its last child") };
            beam.constraint.commit(candidate.token)?;
            beam.tokens.push(candidate.token);
            (beam.unread, beam.log_probability) = (1, candidate.log_probability);
            self.running.push(beam);
        }
        Ok(())
    }
}
