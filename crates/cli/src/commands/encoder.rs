//! `danlu embed MODEL` and `danlu classify MODEL`.

use std::io::{self, Seek, Write};
use std::path::Path;

use danlu_data::Document;
use danlu_eval::{ClassificationScores, EncoderRun, EncoderRunConfig, Prediction, score_classes, score_labels};
use danlu_model::HeadConfig;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Usage;
use crate::args::{ClassifyArgs, EmbedArgs, Global, TextsArgs};
use crate::output::{count, line, note, table};

use super::texts::{Account, each_part, written};

pub fn embed(global: &Global, args: &EmbedArgs) -> anyhow::Result<()> {
    let npy = match args.texts.out.as_deref().map(|path| path.extension().and_then(|end| end.to_str())) {
        None | Some(Some("jsonl")) => false,
        Some(Some("npy")) => true,
        Some(_) => {
            return Err(Usage::new("--out ends neither in .jsonl nor in .npy", "name the file vectors.npy").into());
        }
    };
    let run = load(global, &args.model, &args.texts, |config| {
        config.pooling = args.pooling;
        config.normalize = args.no_normalize.then_some(false);
    })?;
    let mut account = Account::default();
    written(args.texts.out.as_deref(), |out| match npy {
        true => write_matrix(&run, &args.texts, &mut account, out),
        false => write_vectors(&run, &args.texts, &mut account, out),
    })?;
    account.say_losses(run.max_len());
    let dimensions = run.model().config().hidden_size;
    if args.texts.json {
        let mut summary = account.json();
        summary.insert("dimensions".into(), json!(dimensions));
        summary.insert("pooling".into(), json!(run.pooling()));
        summary.insert("normalized".into(), json!(run.normalizes()));
        line(&Value::Object(summary).to_string());
    } else if let Some(out) = &args.texts.out {
        let length = if run.normalizes() { ", of length 1" } else { "" };
        let (pooling, texts, tokens) = (run.pooling().name(), count(account.texts), count(account.tokens));
        line(&format!(
            "{}: {texts} vectors of {dimensions} dimensions{length} from {tokens} tokens, pooling {pooling}",
            out.display()
        ));
    }
    Ok(())
}

/// A line of the vectors' file.
#[derive(Serialize)]
struct Vector<'a> {
    index: u64,
    text: &'a str,
    embedding: &'a [f32],
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_cut: Option<usize>,
}

fn write_vectors(run: &EncoderRun, args: &TextsArgs, account: &mut Account, out: &mut dyn Write) -> anyhow::Result<()> {
    each_part(args, None, account, &mut |documents, account| {
        let texts: Vec<String> = documents.iter().map(|document| document.text.clone()).collect();
        let rows = run.embed(&texts)?;
        for (at, ((text, row), cut)) in texts.iter().zip(&rows.rows).zip(&rows.cut).enumerate() {
            let record = Vector {
                index: account.texts + at as u64,
                text,
                embedding: row,
                tokens_cut: (*cut > 0).then_some(*cut),
            };
            writeln!(out, "{}", serde_json::to_string(&record)?)?;
        }
        account.add(rows.tokens, &rows.cut);
        Ok(())
    })
}

/// A matrix of float32 in NumPy's format, version 1.0. Its head says how many rows there are, which is known at the end.
fn write_matrix(run: &EncoderRun, args: &TextsArgs, account: &mut Account, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut spool = io::BufWriter::new(tempfile::tempfile()?);
    each_part(args, None, account, &mut |documents, account| {
        let texts: Vec<String> = documents.iter().map(|document| document.text.clone()).collect();
        let rows = run.embed(&texts)?;
        for value in rows.rows.iter().flatten() {
            spool.write_all(&value.to_le_bytes())?;
        }
        account.add(rows.tokens, &rows.cut);
        Ok(())
    })?;
    let shape = format!("({}, {})", account.texts, run.model().config().hidden_size);
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let length = (10 + head.len() + 1).next_multiple_of(64) - 10;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(length as u16).to_le_bytes())?;
    out.write_all(format!("{head:<width$}\n", width = length - 1).as_bytes())?;
    let mut file = spool.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    io::copy(&mut file, out)?;
    Ok(())
}

pub fn classify(global: &Global, args: &ClassifyArgs) -> anyhow::Result<()> {
    let run = load(global, &args.model, &args.texts, |_| {})?;
    let labels = run.model().config().head.labels().to_vec();
    if !matches!(run.model().config().head, HeadConfig::SequenceClassification { .. }) {
        let message = format!("{} holds no sequence classifier", args.model.display());
        return Err(Usage::new(message, "for vectors of texts use `danlu embed`").into());
    }
    let (mut account, mut judge) = (Account::default(), Judge::default());
    let label_field = args.label_field.as_deref();
    written(args.texts.out.as_deref(), |out| {
        each_part(&args.texts, label_field, &mut account, &mut |documents, account| {
            let texts: Vec<String> = documents.iter().map(|document| document.text.clone()).collect();
            let (predictions, rows) = run.classify(&texts)?;
            for (at, (document, prediction)) in documents.iter().zip(&predictions).enumerate() {
                let mut record = Map::new();
                record.insert("index".into(), json!(account.texts + at as u64));
                record.insert("text".into(), json!(document.text));
                record.extend(in_words(prediction, &labels));
                if rows.cut[at] > 0 {
                    record.insert("tokens_cut".into(), json!(rows.cut[at]));
                }
                if label_field.is_some() {
                    judge.add(document, prediction, &labels)?;
                }
                // Where the figures are what is asked for, guesses are written only where they were sent.
                if label_field.is_none() || args.texts.out.is_some() {
                    writeln!(out, "{}", Value::Object(record))?;
                }
            }
            account.add(rows.tokens, &rows.cut);
            Ok(())
        })
    })?;
    account.say_losses(run.max_len());
    let scores = judge.scores(&labels);
    if label_field.is_some() && judge.unlabelled > 0 {
        note(&format!("records without a label, which count in no figure: {}", count(judge.unlabelled)));
    }
    if args.texts.json {
        let mut summary = account.json();
        summary.insert("scores".into(), json!(scores));
        summary.insert("records_unlabelled".into(), json!(judge.unlabelled));
        line(&Value::Object(summary).to_string());
    } else if let Some(scores) = scores {
        show(&scores);
    } else if label_field.is_some() {
        return Err(Usage::new("no record has a label that figures could be made of", "check --label-field").into());
    }
    if let (Some(out), false) = (&args.texts.out, args.texts.json) {
        line(&format!("{}: {} texts labelled", out.display(), count(account.texts)));
    }
    Ok(())
}

/// A prediction as the fields of a record.
fn in_words(prediction: &Prediction, labels: &[String]) -> Map<String, Value> {
    // As short as tells the f32 apart.
    let number = |x: &f32| json!(x.to_string().parse::<f64>().unwrap_or(f64::from(*x)));
    let each = |values: &[f32]| labels.iter().cloned().zip(values.iter().map(number)).collect::<Map<_, _>>();
    let (key, said, name, values) = match prediction {
        Prediction::Class { class, probabilities } => {
            ("label", json!(labels.get(*class)), "probabilities", each(probabilities))
        }
        Prediction::Labels { flags, probabilities } => {
            let set = labels.iter().zip(flags).filter(|(_, set)| **set).map(|(label, _)| label);
            ("labels", json!(set.collect::<Vec<_>>()), "probabilities", each(probabilities))
        }
        Prediction::Values(values) => return Map::from_iter([("values".to_owned(), Value::Object(each(values)))]),
    };
    Map::from_iter([(key.to_owned(), said), (name.to_owned(), Value::Object(values))])
}

/// True labels beside the guesses.
#[derive(Default)]
struct Judge {
    classes: (Vec<usize>, Vec<usize>),
    flags: (Vec<Vec<bool>>, Vec<Vec<bool>>),
    unlabelled: u64,
}

impl Judge {
    fn add(&mut self, document: &Document, prediction: &Prediction, labels: &[String]) -> anyhow::Result<()> {
        let Some(told) = document.metadata.get("label").filter(|label| !label.is_null()) else {
            self.unlabelled += 1;
            return Ok(());
        };
        let number = |told: &Value| {
            let found = match told {
                Value::String(name) => labels.iter().position(|label| label == name),
                other => other.as_u64().map(|n| n as usize).filter(|n| *n < labels.len()),
            };
            let place = document.metadata.get("line").map(|line| format!(" of record {line}")).unwrap_or_default();
            let message = format!("the label {told}{place} is none of the model's: {}", labels.join(", "));
            found.ok_or_else(|| anyhow::Error::from(Usage::new(message, "give the field with --label-field")))
        };
        match prediction {
            Prediction::Class { class, .. } => {
                self.classes.0.push(number(told)?);
                self.classes.1.push(*class);
            }
            Prediction::Labels { flags, .. } => {
                let mut truth = vec![false; labels.len()];
                let several = told.as_array().cloned().unwrap_or_else(|| vec![told.clone()]);
                for label in &several {
                    truth[number(label)?] = true;
                }
                self.flags.0.push(truth);
                self.flags.1.push(flags.clone());
            }
            Prediction::Values(_) => self.unlabelled += 1,
        }
        Ok(())
    }

    fn scores(&self, labels: &[String]) -> Option<ClassificationScores> {
        score_classes(labels, &self.classes.0, &self.classes.1)
            .or_else(|| score_labels(labels, &self.flags.0, &self.flags.1))
    }
}

fn show(scores: &ClassificationScores) {
    let percent = |x: f64| format!("{:.2}%", 100.0 * x);
    line(&format!("accuracy {} of {} examples", percent(scores.accuracy), count(scores.examples)));
    let row = |name: &str, q: &danlu_eval::Quality, support: u64| {
        vec![name.to_owned(), percent(q.precision), percent(q.recall), percent(q.f1), count(support)]
    };
    let mut rows: Vec<Vec<String>> =
        scores.classes.iter().map(|class| row(&class.label, &class.quality, class.support)).collect();
    let all: u64 = scores.classes.iter().map(|class| class.support).sum();
    rows.push(row("micro average", &scores.micro, all));
    rows.push(row("macro average", &scores.macro_, all));
    rows.push(row("weighted average", &scores.weighted, all));
    line(table(&["class", "precision", "recall", "F1", "examples"], &rows).trim_end());
    if !scores.confusion.is_empty() {
        let names = scores.classes.iter().map(|class| class.label.as_str());
        let header: Vec<&str> = ["class \\ guess"].into_iter().chain(names).collect();
        let row = |(class, counts): (&danlu_eval::ClassScores, &Vec<u64>)| {
            [class.label.clone()].into_iter().chain(counts.iter().map(|n| count(*n))).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = scores.classes.iter().zip(&scores.confusion).map(row).collect();
        line(&format!("\n{}", table(&header, &rows).trim_end()));
    }
}

fn load(
    global: &Global,
    model: &Path,
    args: &TextsArgs,
    change: impl FnOnce(&mut EncoderRunConfig),
) -> anyhow::Result<EncoderRun> {
    if args.batch == 0 || args.max_tokens == Some(0) {
        let key = if args.batch == 0 { "--batch" } else { "--max-tokens" };
        return Err(Usage::new(format!("{key} 0 leaves nothing to compute"), "leave it out").into());
    }
    let device = danlu_pipeline::select_device(&global.device)?;
    let mut config =
        EncoderRunConfig { batch_size: args.batch, max_len: args.max_tokens, ..EncoderRunConfig::default() };
    change(&mut config);
    Ok(EncoderRun::load(model, &device, &config)?)
}
