//! The methods of Python's `str` and `dict` that published templates call.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Value as Jinja, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// A method that minijinja does not know.
pub(super) fn method(state: &mut State, value: &Jinja, method: &str, args: &[Jinja]) -> Result<Jinja, Error> {
    if value.kind() == ValueKind::Map {
        return match method {
            "items" => state.apply_filter("items", std::slice::from_ref(value)),
            "keys" => Ok(value.try_iter()?.collect()),
            "values" => {
                value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<Vec<_>, _>>().map(Jinja::from)
            }
            "get" => {
                let (key, default): (Jinja, Option<Jinja>) = from_args(args)?;
                let found = value.get_item(&key)?;
                Ok(if found.is_undefined() { default.unwrap_or(Jinja::from(())) } else { found })
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        };
    }
    match value.as_str() {
        Some(text) => of_string(state, text, method, args),
        None => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_string(state: &State, text: &str, method: &str, args: &[Jinja]) -> Result<Jinja, Error> {
    let one = |args: &[Jinja]| -> Result<String, Error> { Ok(from_args::<(String,)>(args)?.0) };
    let all = |test: fn(char) -> bool| Jinja::from(!text.is_empty() && text.chars().all(test));
    Ok(match method {
        "strip" => text.trim_matches(set(args)?).into(),
        "lstrip" => text.trim_start_matches(set(args)?).into(),
        "rstrip" => text.trim_end_matches(set(args)?).into(),
        "startswith" => any_of(args, |part| text.starts_with(part))?.into(),
        "endswith" => any_of(args, |part| text.ends_with(part))?.into(),
        "removeprefix" => text.strip_prefix(&one(args)?).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(&one(args)?).unwrap_or(text).into(),
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
        "title" => title(text).into(),
        "capitalize" => capitalize(text).into(),
        "replace" => replace(state, text, args)?.into(),
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "splitlines" => lines(text, from_args::<(Option<bool>,)>(args)?.0.unwrap_or(false)).into_iter().collect(),
        "join" => join(state, text, &from_args::<(Jinja,)>(args)?.0)?.into(),
        "find" => place(text, text.find(&one(args)?)).into(),
        "rfind" => place(text, text.rfind(&one(args)?)).into(),
        "count" => text.matches(&one(args)?).count().into(),
        "isspace" => all(is_space),
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isupper" => cased(text, char::is_uppercase, char::is_lowercase).into(),
        "islower" => cased(text, char::is_lowercase, char::is_uppercase).into(),
        "format" => format(FormatStyle::StrFormat, text, args)?.into(),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// What Python takes for white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Whether a strip takes a character away: one of those that are told, else white space.
fn set(args: &[Jinja]) -> Result<impl Fn(char) -> bool, Error> {
    let (told,): (Option<String>,) = from_args(args)?;
    Ok(move |c| told.as_ref().map_or_else(|| is_space(c), |told| told.contains(c)))
}

/// Whether a text begins or ends with the one argument, or with one of several.
fn any_of(args: &[Jinja], test: impl Fn(&str) -> bool) -> Result<bool, Error> {
    let (parts,): (Jinja,) = from_args(args)?;
    match parts.as_str() {
        Some(part) => Ok(test(part)),
        None => Ok(parts.try_iter()?.any(|part| part.as_str().is_some_and(&test))),
    }
}

fn replace(state: &State, text: &str, args: &[Jinja]) -> Result<String, Error> {
    let (from, to, most): (String, String, Option<i64>) = from_args(args)?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    let times = text.matches(&from).count().min(most.unwrap_or(usize::MAX));
    // Paid for before it is made: minijinja counts a method's result afterwards.
    let bytes = text.len().saturating_add(times.saturating_mul(to.len()));
    state.consume_fuel(bytes as u64 / 64)?;
    Ok(text.replacen(&from, &to, times))
}

/// `split` and `rsplit`: by a separator or by white space, at most so many times.
fn split(text: &str, args: &[Jinja], from_end: bool) -> Result<Jinja, Error> {
    let (separator, most, named): (Option<String>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(named.get("sep")?);
    let most = most.or(named.get("maxsplit")?).and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    named.assert_all_used()?;
    let parts: Vec<&str> = match &separator {
        Some(separator) if separator.is_empty() => {
            return Err(Error::new(ErrorKind::InvalidOperation, "split: empty separator"));
        }
        Some(separator) if from_end => {
            let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), separator).collect();
            parts.reverse();
            parts
        }
        Some(separator) => text.splitn(most.saturating_add(1), separator).collect(),
        None if from_end => {
            let mut parts = last_words(text, most);
            parts.reverse();
            parts
        }
        None => first_words(text, most),
    };
    Ok(parts.into_iter().map(Jinja::from).collect())
}

/// So many words from the beginning on, and the rest as it is.
fn first_words(text: &str, most: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
    while let Some(at) = rest.find(is_space).filter(|_| words.len() < most) {
        words.push(&rest[..at]);
        rest = rest[at..].trim_start_matches(is_space);
    }
    words.extend(Some(rest).filter(|rest| !rest.is_empty()));
    words
}

/// So many words from the end on, the last one first, and the rest as it is.
fn last_words(text: &str, most: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_end_matches(is_space));
    while let Some(at) = rest.rfind(is_space).filter(|_| words.len() < most) {
        let begin = at + rest[at..].chars().next().map_or(0, char::len_utf8);
        words.push(&rest[begin..]);
        rest = rest[..at].trim_end_matches(is_space);
    }
    words.extend(Some(rest).filter(|rest| !rest.is_empty()));
    words
}

fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends =
        |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(ends) {
        let length =
            if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        all.push(&rest[..if keep_ends { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    all.extend(Some(rest).filter(|rest| !rest.is_empty()));
    all
}

fn join(state: &State, between: &str, parts: &Jinja) -> Result<String, Error> {
    let mut out = String::new();
    for (at, part) in parts.try_iter()?.enumerate() {
        let part = part
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("join: {} is no string", part.kind())))?;
        let between = if at > 0 { between } else { "" };
        state.consume_fuel((between.len() + part.len()) as u64 / 64)?;
        out.push_str(between);
        out.push_str(&part);
    }
    Ok(out)
}

/// Characters before what was found at a byte; -1 where it was not.
fn place(text: &str, found: Option<usize>) -> i64 {
    found.map_or(-1, |at| text[..at].chars().count() as i64)
}

fn cased(text: &str, is: fn(char) -> bool, is_not: fn(char) -> bool) -> bool {
    text.chars().any(is) && !text.chars().any(is_not)
}

fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters.flat_map(char::to_lowercase)).collect())
}

/// Each word's first letter as a capital, the others small.
fn title(text: &str) -> String {
    let (mut out, mut within) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        within = c.is_alphabetic();
    }
    out
}
