//! One sequence in the batch: its cache, its sampler, its text.

use std::{ops::Range, sync::Arc, time::Instant};

use danlu_model::{
    BeamSearch, CausalLm, Choice, Chooser, Hypothesis, ModelError, Sampler, State, log_softmax, top_log_probabilities,
};

use super::{EngineError, Event, FinishReason, Piece, TokenScore, Work, assemble::Assembler};
use crate::{language::LanguageModel, metrics::Metrics};

/// What a sequence wants of the next step.
pub(super) enum Progress {
    Running,
    Ended,
}

pub(super) struct Sequence<'m> {
    pub work: Work,
    pub state: State,
    language: &'m LanguageModel,
    metrics: &'m Metrics,
    /// The prompt and everything generated.
    tokens: Vec<u32>,
    chooser: Chooser,
    /// Beam search, once the prompt is read, where it is asked for.
    search: Option<BeamSearch>,
    assembler: Assembler<'m>,
    /// Prompt scores that wait for the prompt to be read.
    prompt_scores: Vec<TokenScore>,
    last_token: Option<Instant>,
}

impl<'m> Sequence<'m> {
    pub fn new(work: Work, model: &CausalLm, language: &'m LanguageModel, metrics: &'m Metrics) -> Self {
        let mut sampling = work.settings.sampling.clone();
        sampling.seed = work.seed;
        metrics.queue_time.observe(work.arrived.elapsed().as_secs_f64());
        let chooser = Chooser {
            sampler: Sampler::new(sampling),
            rules: work.settings.rules.clone(),
            constraint: work.settings.guide.as_ref().map(|guide| guide.constraint()),
            stop_tokens: if work.settings.ignore_eos { Vec::new() } else { language.end_ids().to_vec() },
            prompt: work.prompt.len(),
        };
        Self {
            state: State::new(model),
            language,
            metrics,
            tokens: work.prompt.to_vec(),
            chooser,
            search: None,
            assembler: Assembler::new(language.tokenizer.stream(), work.settings.stops.clone()),
            prompt_scores: Vec::new(),
            last_token: None,
            work,
        }
    }

    /// Tokens generated so far.
    fn generated(&self) -> usize {
        self.tokens.len() - self.work.prompt.len()
    }

    /// Whether part of the prompt is still to be read.
    pub fn in_prefill(&self) -> bool {
        self.search.is_none() && self.state.len() < self.work.prompt.len()
    }

    /// Tokens that are remembered.
    pub fn cached(&self) -> usize {
        match &self.search {
            None => self.state.len(),
            Some(search) => search.width() * self.work.prompt.len(),
        }
    }

    /// The prompt tokens to be read next. Where they end depends on the request alone, never on
    /// the load, so that a reply is the same in any company.
    pub fn next_chunk(&self, chunk: usize) -> Range<usize> {
        let start = self.state.len();
        // Scores of the prompt need the logits behind each of its tokens.
        let chunk = if self.scores_prompt() { 1 } else { chunk };
        start..self.work.prompt.len().min(start + chunk)
    }

    fn scores_prompt(&self) -> bool {
        self.work.settings.echo && self.work.settings.logprobs.is_some()
    }

    /// Rows of the next decode step.
    pub fn width(&self) -> usize {
        self.search.as_ref().map_or(1, BeamSearch::width)
    }

    /// The tokens to be fed in a decode step, and the states that take them.
    pub fn pending(&mut self) -> Vec<(&[u32], &mut State)> {
        match &mut self.search {
            None => vec![(&self.tokens[self.tokens.len() - 1..], &mut self.state)],
            Some(search) => search.pending().collect(),
        }
    }

    pub fn send(&self, event: Event) {
        // The scheduler notices a receiver that is gone.
        drop(self.work.events.send(event));
    }

    pub fn fail(&self, error: EngineError) {
        self.send(Event::Failed { error });
    }

    /// Takes the logits behind a chunk of the prompt.
    pub fn after_chunk(&mut self, chunk: &Range<usize>, logits: &[f32]) {
        self.metrics.prompt_tokens.add(chunk.len() as u64);
        if self.scores_prompt() {
            self.score_prompt(chunk.start, logits);
        }
    }

    /// Whether this sequence continues the very prompt that `other` has just read, and has not begun.
    pub fn can_adopt(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.work.prompt, &other.work.prompt);
        same && Arc::ptr_eq(&self.work.settings, &other.work.settings) && self.state.is_empty()
    }

    /// Takes over what another sequence has read of the same prompt.
    pub fn adopt(&mut self, state: State, prompt_scores: Vec<TokenScore>) {
        self.state = state;
        self.prompt_scores = prompt_scores;
    }

    /// What a sequence of the same prompt can adopt.
    pub fn prompt_read(&self) -> (State, Vec<TokenScore>) {
        (self.state.clone(), self.prompt_scores.clone())
    }

    /// The prompt is read: takes the logits behind it, which give the first new token.
    pub fn begin(&mut self, logits: Vec<f32>) -> Progress {
        if self.work.settings.echo {
            self.echo();
        }
        if self.work.settings.max_tokens == 0 {
            return self.finish(FinishReason::Length);
        }
        if let Some(config) = &self.work.settings.beams {
            let (state, prompt) = (self.state.clone(), self.tokens.clone());
            match BeamSearch::after(state, prompt, &self.chooser.stop_tokens, config) {
                Ok(search) => {
                    let constraint = self.chooser.constraint.as_ref().map(|constraint| constraint.fork());
                    self.search = Some(search.with_constraint(constraint));
                }
                Err(error) => return self.fail_with(&error),
            }
        }
        self.after_decode(vec![logits])
    }

    fn score_prompt(&mut self, at: usize, logits: &[f32]) {
        if at == 0 {
            let bytes = self.language.tokenizer.token_bytes(self.tokens[0]).to_vec();
            self.prompt_scores.push(TokenScore { bytes, logprob: None, top: Vec::new(), offset: 0 });
        }
        if let Some(&next) = self.work.prompt.get(at + 1) {
            let score = self.score(next, logits);
            self.prompt_scores.push(score);
        }
    }

    fn echo(&mut self) {
        let mut scores = std::mem::take(&mut self.prompt_scores);
        let mut stream = self.language.tokenizer.stream();
        let (mut text, mut offset) = (String::new(), 0);
        for (position, token) in self.work.prompt.iter().enumerate() {
            if let Some(score) = scores.get_mut(position) {
                score.offset = offset;
            }
            if let Some(part) = stream.push(*token) {
                offset += part.chars().count();
                text.push_str(&part);
            }
        }
        text.push_str(&stream.finish().unwrap_or_default());
        self.assembler.skip(text.chars().count());
        self.show(Piece { text, scores });
    }

    /// Takes the logits of the step's rows, goes on by a token and shows what becomes safe to show.
    pub fn after_decode(&mut self, logits: Vec<Vec<f32>>) -> Progress {
        let Some(search) = &mut self.search else {
            return self.take(logits.into_iter().next().unwrap_or_default());
        };
        if let Err(error) = search.advance(logits) {
            return self.fail_with(&error);
        }
        if !search.is_done() {
            return Progress::Running;
        }
        let found = self.search.take().map(BeamSearch::into_hypotheses).unwrap_or_default();
        self.finish_search(found)
    }

    /// Takes the logits behind the last token and chooses the next one.
    fn take(&mut self, mut logits: Vec<f32>) -> Progress {
        let raw = self.work.settings.logprobs.map(|_| logits.clone());
        let choice = match self.chooser.choose(&mut logits, &self.tokens) {
            Ok(choice) => choice,
            Err(error) => return self.fail_with(&error),
        };
        self.observe_latency();
        let Choice::Token(token) = choice else { return self.finish(FinishReason::Stop) };
        self.tokens.push(token);
        self.metrics.generation_tokens.add(1);
        let score = raw.map(|raw| self.score(token, &raw));
        // Special tokens are marks for programs, not text.
        let text = (!self.language.tokenizer.is_special(token)).then_some(token);
        let (piece, stopped) = self.assembler.push(text, score);
        self.show(piece);
        if stopped || self.chooser.is_complete() {
            return self.finish(FinishReason::Stop);
        }
        if self.generated() >= self.work.settings.max_tokens {
            return self.finish(FinishReason::Length);
        }
        Progress::Running
    }

    /// Shows what beam search has found, all at once.
    fn finish_search(&mut self, found: Vec<Hypothesis>) -> Progress {
        let results = self.work.settings.beams.as_ref().map_or(1, |config| config.results);
        let mut found = found.into_iter();
        for index in (self.work.index..).take(results) {
            let (piece, reason, tokens) = found.next().map_or((Piece::default(), FinishReason::Stop, 0), |one| {
                let (piece, stopped) = self.text_of(&one.tokens);
                let stop = stopped || one.finish == danlu_model::FinishReason::Stop;
                (piece, if stop { FinishReason::Stop } else { FinishReason::Length }, one.tokens.len())
            });
            self.metrics.generation_tokens.add(tokens as u64);
            self.send(Event::Piece { index, piece });
            self.send(Event::Finished { index, reason, tokens });
            self.metrics.finished(reason, self.work.arrived.elapsed().as_secs_f64());
        }
        Progress::Ended
    }

    /// The text of whole replies, and whether a stop string cut it.
    fn text_of(&self, tokens: &[u32]) -> (Piece, bool) {
        let tokenizer = &self.language.tokenizer;
        let mut assembler = Assembler::new(tokenizer.stream(), self.work.settings.stops.clone());
        let mut text = String::new();
        for token in tokens.iter().filter(|token| !tokenizer.is_special(**token)) {
            let (piece, stopped) = assembler.push(Some(*token), None);
            text.push_str(&piece.text);
            if stopped {
                return (Piece { text, scores: Vec::new() }, true);
            }
        }
        text.push_str(&assembler.finish().text);
        (Piece { text, scores: Vec::new() }, false)
    }

    fn fail_with(&self, error: &ModelError) -> Progress {
        self.metrics.failed.add(1);
        let message = error.to_string();
        self.fail(match &self.work.settings.guide {
            Some(guide) => EngineError::Guide { param: guide.param, message },
            None => EngineError::Model(message),
        });
        Progress::Ended
    }

    fn score(&self, token: u32, logits: &[f32]) -> TokenScore {
        let logprobs = log_softmax(logits);
        let bytes_of = |id: u32| self.language.tokenizer.token_bytes(id).to_vec();
        let top = top_log_probabilities(&logprobs, self.work.settings.logprobs.unwrap_or(0));
        TokenScore {
            bytes: bytes_of(token),
            logprob: logprobs.get(token as usize).copied(),
            top: top.into_iter().map(|(id, logprob)| (bytes_of(id), logprob)).collect(),
            offset: 0,
        }
    }

    fn observe_latency(&mut self) {
        let now = Instant::now();
        match self.last_token.replace(now) {
            None => self.metrics.time_to_first_token.observe((now - self.work.arrived).as_secs_f64()),
            Some(before) => self.metrics.inter_token_latency.observe((now - before).as_secs_f64()),
        }
    }

    fn show(&self, piece: Piece) {
        if !piece.is_empty() {
            self.send(Event::Piece { index: self.work.index, piece });
        }
    }

    fn finish(&mut self, reason: FinishReason) -> Progress {
        let rest = self.assembler.finish();
        self.show(rest);
        self.send(Event::Finished { index: self.work.index, reason, tokens: self.generated() });
        self.metrics.finished(reason, self.work.arrived.elapsed().as_secs_f64());
        Progress::Ended
    }
}
