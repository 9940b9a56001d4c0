//! When what was said was said: Whisper writes it as tokens of its own between the words.

/// What a token of time counts.
pub(super) const SECONDS_PER_STEP: f64 = 0.02;

/// Which ids are tokens of time, and which end a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeTokens {
    /// `<|0.00|>`; all ids from here on count time, each [`SECONDS_PER_STEP`] more.
    pub(super) first: u32,
    /// `<|notimestamps|>`, which may not come where times are asked for.
    pub(super) none: u32,
    /// `<|endoftext|>`: the first special token, all words are before it.
    pub(super) end: u32,
}

impl TimeTokens {
    /// Seconds after the window's beginning.
    pub(super) fn seconds(&self, token: u32) -> Option<f64> {
        token.checked_sub(self.first).map(|steps| f64::from(steps) * SECONDS_PER_STEP)
    }
}

/// A part of a window, in seconds from the window's beginning.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) tokens: Vec<u32>,
}

/// The segments of what was said in a window, and where the next window begins: behind the last segment that is known to
/// be whole.
///
/// * `length`: of the window's sound
pub(super) fn segments(said: &[u32], tokens: TimeTokens, length: f64) -> (Vec<Part>, f64) {
    let (mut parts, mut open): (Vec<Part>, Option<f64>) = (Vec::new(), None);
    let mut words: Vec<u32> = Vec::new();
    let mut whole = None;
    for (at, token) in said.iter().enumerate() {
        let Some(time) = tokens.seconds(*token) else {
            words.push(*token);
            continue;
        };
        if !words.is_empty() {
            parts.push(Part { start: open.unwrap_or(0.0), end: time, tokens: std::mem::take(&mut words) });
            // Two times in a row: the next segment has begun, and this one is whole.
            if said.get(at + 1).is_some_and(|next| tokens.seconds(*next).is_some()) {
                whole = Some((parts.len(), time));
            }
        }
        open = Some(time);
    }
    let single = said.last().is_some_and(|last| tokens.seconds(*last).is_some())
        && !said.iter().rev().nth(1).is_some_and(|token| tokens.seconds(*token).is_some());
    match whole {
        // Nothing was begun behind the last time, or all that was said is whole: the rest of the window is silent.
        _ if single => (parts, length),
        Some((count, time)) => {
            parts.truncate(count);
            (parts, time.min(length))
        }
        None => {
            if !words.is_empty() {
                parts.push(Part { start: open.unwrap_or(0.0), end: length, tokens: words });
            }
            (parts, length)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TOKENS: TimeTokens = TimeTokens { first: 7, none: 6, end: 5 };

    #[test]
    fn segments_lie_between_times() {
        let part = |start: f64, end: f64, tokens: &[u32]| Part { start, end, tokens: tokens.to_vec() };
        // One whole segment and the beginning of another.
        let (parts, next) = segments(&[7, 1, 2, 107, 107, 3], TOKENS, 30.0);
        assert_eq!((parts, next), (vec![part(0.0, 2.0, &[1, 2])], 2.0));
        // A single time at the end: nothing follows.
        let (parts, next) = segments(&[7, 1, 107, 157, 2, 207], TOKENS, 30.0);
        assert_eq!((parts, next), (vec![part(0.0, 2.0, &[1]), part(3.0, 4.0, &[2])], 30.0));
        // No times at all.
        assert_eq!(segments(&[1, 2], TOKENS, 12.0), (vec![part(0.0, 12.0, &[1, 2])], 12.0));
        assert_eq!(segments(&[], TOKENS, 12.0), (vec![], 12.0));
    }
}
