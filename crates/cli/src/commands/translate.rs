//! `danlu translate MODEL`.

use std::ops::ControlFlow;

use danlu_eval::{BleuTokenizer, Translated, TranslationScores, Translator, score_translations};
use serde_json::{Value, json};

use super::texts::{Account, each_part, written};
use crate::Usage;
use crate::args::{Global, TranslateArgs};
use crate::output::{count, line, note, table};

pub fn translate(global: &Global, args: &TranslateArgs) -> anyhow::Result<()> {
    let beams = args.search.config()?;
    let device = danlu_pipeline::select_device(&global.device)?;
    let mut translator = Translator::load(&args.model, &device)?;
    if let Some(tokens) = args.texts.max_tokens {
        translator = translator.with_longest(tokens);
    }
    let (mut account, mut judge) = (Account::default(), Judge::default());
    written(args.texts.out.as_deref(), |out| {
        each_part(&args.texts, None, &mut account, &mut |documents, account| {
            let texts: Vec<String> = documents.iter().map(|document| document.text.clone()).collect();
            let go_on = &mut |_: usize| ControlFlow::Continue(());
            let translated = translator.translate(&texts, &beams, go_on)?.unwrap_or_default();
            for (document, translated) in documents.iter().zip(&translated) {
                let reference = args.target_field.as_ref().and_then(|field| document.metadata.get(field));
                judge.add(&document.text, translated, reference);
                // Where the figures are what is asked for, translations are written only where they were sent.
                if args.target_field.is_none() || args.texts.out.is_some() {
                    writeln!(out, "{}", record(&document.text, translated))?;
                }
            }
            let cut: Vec<usize> = translated.iter().map(|translated| translated.cut).collect();
            account.add(translated.iter().map(|translated| translated.tokens as u64).sum(), &cut);
            Ok(())
        })
    })?;
    account.say_losses(translator.longest());
    judge.tell(args, &account)
}

/// A line of the output.
fn record(text: &str, translated: &Translated) -> Value {
    let mut record = json!({ "text": text, "translation": translated.text() });
    if translated.results.len() > 1 {
        record["results"] = json!(translated.results);
    }
    if !translated.finished() {
        record["unfinished"] = true.into();
    }
    record
}

/// Translations beside those that people made.
#[derive(Default)]
struct Judge {
    translations: Vec<String>,
    sources: Vec<String>,
    references: Vec<Vec<String>>,
    without_reference: u64,
    unfinished: u64,
}

impl Judge {
    fn add(&mut self, source: &str, translated: &Translated, reference: Option<&Value>) {
        self.unfinished += u64::from(!translated.finished());
        match reference.and_then(Value::as_str) {
            None => self.without_reference += 1,
            Some(reference) => {
                self.translations.push(translated.text().to_owned());
                self.sources.push(source.to_owned());
                self.references.push(vec![reference.to_owned()]);
            }
        }
    }

    fn tell(&self, args: &TranslateArgs, account: &Account) -> anyhow::Result<()> {
        let tokenizer = BleuTokenizer::of(&args.target_language);
        let of = |texts: &[String]| score_translations(texts, &self.references, tokenizer);
        let (scores, copy) = (of(&self.translations), of(&self.sources));
        let asked = args.target_field.is_some();
        if self.unfinished > 0 {
            note(&format!("translations that came to no end: {}", count(self.unfinished)));
        }
        if asked && self.without_reference > 0 {
            note(&format!("records without a reference, which count in no figure: {}", count(self.without_reference)));
        }
        if args.texts.json {
            let mut summary = account.json();
            summary.insert("unfinished".into(), json!(self.unfinished));
            summary.insert("scores".into(), json!(scores));
            summary.insert("copy".into(), json!(copy));
            line(&Value::Object(summary).to_string());
        } else if let (Some(scores), Some(copy)) = (&scores, &copy) {
            show(&[("model", scores), ("copy of the source", copy)]);
        } else if asked {
            return Err(Usage::new("no record has a reference", "check --target-field").into());
        }
        if let (Some(out), false) = (&args.texts.out, args.texts.json) {
            line(&format!("{}: {} texts translated", out.display(), count(account.texts)));
        }
        Ok(())
    }
}

/// BLEU and chrF side by side.
pub(super) fn show(rows: &[(&str, &TranslationScores)]) {
    let row = |(what, scores): &(&str, &TranslationScores)| {
        let bleu = &scores.bleu;
        let precisions = bleu.precisions.map(|share| format!("{share:.1}")).join(" / ");
        vec![
            (*what).to_owned(),
            format!("{:.2}", bleu.score),
            precisions,
            format!("{:.3}", bleu.brevity_penalty),
            format!("{:.2}", scores.chrf),
            format!("{:.2}", scores.chrf_plus_plus),
            count(scores.segments),
        ]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let header = ["what", "BLEU", "1 to 4 words", "brevity", "chrF", "chrF++", "texts"];
    line(table(&header, &rows).trim_end());
}
