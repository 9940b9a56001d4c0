//! `danlu transcribe MODEL FILE...`.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use danlu_data::{Document, Progress, SourceConfig};
use danlu_eval::{
    TranscribeOptions, Transcriber, Transcript, TranscriptScores, TranscriptUnit, plain_transcript, score_transcripts,
};
use danlu_formats::sound::{Sound, read_sound};
use danlu_model::SAMPLE_RATE;
use serde_json::{Value, json};

use super::texts::written;
use crate::Usage;
use crate::args::{Global, TranscribeArgs, TranscriptForm};
use crate::output::{count, line, note, table};
use crate::progress::data_progress;
use crate::signals::stop_flag;

/// A sound file, and what is really said in it where that is known.
struct Clip {
    path: PathBuf,
    reference: Option<String>,
}

pub fn transcribe(global: &Global, args: &TranscribeArgs) -> anyhow::Result<()> {
    let clips = clips(args)?;
    if clips.len() > 1 && matches!(args.form, TranscriptForm::Srt | TranscriptForm::Vtt) {
        let found = format!("{} sound files and one file of subtitles", clips.len());
        return Err(Usage::new(found, "give one sound file, or another --form").into());
    }
    let device = danlu_pipeline::select_device(&global.device)?;
    let transcriber = Transcriber::load(&args.model, &device)?;
    let options = TranscribeOptions {
        language: args.language.clone(),
        translate: args.translate,
        timestamps: !args.no_timestamps,
        beams: args.beams,
        ..TranscribeOptions::default()
    };
    let mut run = Run {
        args,
        transcriber,
        options,
        stop: stop_flag("the transcripts so far are given up"),
        done: Done::default(),
    };
    written(args.out.as_deref(), |out| clips.iter().try_for_each(|clip| run.clip(clip, out)))?;
    run.tell()
}

/// The files named, or those of the records.
fn clips(args: &TranscribeArgs) -> anyhow::Result<Vec<Clip>> {
    let Some(data) = &args.data else {
        return Ok(args.files.iter().map(|path| Clip { path: path.clone(), reference: None }).collect());
    };
    let source = SourceConfig {
        name: "data".into(),
        path: data.display().to_string(),
        text_field: args.sound_field.clone(),
        ..SourceConfig::default()
    };
    let folder = data.parent().unwrap_or(Path::new("."));
    let mut clips = Vec::new();
    danlu_data::read_source(&source, Path::new("."), &mut |record| {
        match record {
            Ok(document) => clips.push(clip(&document, args, folder)),
            Err(problem) => note(&format!("skipped: {problem}")),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if clips.is_empty() {
        return Err(Usage::new(format!("{} names no sound file", data.display()), "check --sound-field").into());
    }
    Ok(clips)
}

fn clip(document: &Document, args: &TranscribeArgs, folder: &Path) -> Clip {
    let reference = args.target_field.as_ref().and_then(|field| document.metadata.get(field));
    Clip { path: folder.join(document.text.trim()), reference: reference.and_then(Value::as_str).map(str::to_owned) }
}

struct Run<'a> {
    args: &'a TranscribeArgs,
    transcriber: Transcriber,
    options: TranscribeOptions,
    stop: &'a AtomicBool,
    done: Done,
}

/// What was transcribed so far.
#[derive(Default)]
struct Done {
    files: u64,
    sound_seconds: f64,
    /// Of transcribing alone.
    seconds: f64,
    without_reference: u64,
    transcripts: Vec<String>,
    references: Vec<String>,
}

impl Run<'_> {
    fn clip(&mut self, clip: &Clip, out: &mut dyn Write) -> anyhow::Result<()> {
        let sound = self.read(&clip.path)?;
        let begun = Instant::now();
        let (progress, total) = (data_progress(), sound.samples.len() / SAMPLE_RATE);
        let label = clip.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let seen = &mut |seconds: f64| {
            progress(Progress { label: &label, done: seconds as u64, total: Some(total as u64), unit: "seconds" });
            if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let transcript = self.transcriber.transcribe(&sound.samples, &self.options, seen);
        let transcript = transcript.with_context(|| clip.path.display().to_string())?;
        let transcript = transcript.context("stopped; nothing is written")?;
        let done = &mut self.done;
        done.seconds += begun.elapsed().as_secs_f64();
        done.sound_seconds += transcript.seconds;
        done.files += 1;
        match &clip.reference {
            None => done.without_reference += 1,
            Some(reference) => {
                done.transcripts.push(plain_transcript(&transcript.text));
                done.references.push(plain_transcript(reference));
            }
        }
        if self.args.json && self.args.out.is_none() {
            return Ok(());
        }
        write_transcript(out, self.args.form, &clip.path, &transcript, self.args.files.len() != 1)
    }

    fn read(&self, path: &Path) -> anyhow::Result<Sound> {
        let name = || path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let sound = read_sound(file, SAMPLE_RATE as u32, self.args.max_hours * 3600.0).with_context(name)?;
        if sound.broken_packets > 0 {
            note(&format!("{}: {} broken packets left out", name(), count(sound.broken_packets)));
        }
        if sound.cut {
            note(&format!("{}: cut after {} hours; raise --max-hours", name(), self.args.max_hours));
        }
        Ok(sound)
    }

    /// The figures.
    fn tell(&self) -> anyhow::Result<()> {
        let done = &self.done;
        let scores = [TranscriptUnit::Word, TranscriptUnit::Character]
            .map(|unit| score_transcripts(&done.transcripts, &done.references, unit));
        let asked = self.args.target_field.is_some();
        if asked && done.without_reference > 0 {
            note(&format!("records without a reference, which count in no figure: {}", count(done.without_reference)));
        }
        if self.args.json {
            let [words, characters] = &scores;
            let speed = done.sound_seconds / done.seconds.max(1e-9);
            line(
                &json!({
                    "files": done.files, "sound_seconds": done.sound_seconds, "seconds": done.seconds, "speed": speed,
                    "word_error_rate": words.as_ref().map(|scores| scores.error_rate),
                    "character_error_rate": characters.as_ref().map(|scores| scores.error_rate),
                    "scores": scores,
                })
                .to_string(),
            );
        } else if let [Some(words), Some(characters)] = &scores {
            show(&[("words", words), ("characters", characters)]);
        } else if asked {
            return Err(Usage::new("no record has a reference with a word", "check --target-field").into());
        }
        Ok(())
    }
}

fn show(rows: &[(&str, &TranscriptScores)]) {
    let row = |(what, scores): &(&str, &TranscriptScores)| {
        let rate = format!("{:.2}%", scores.error_rate * 100.0);
        let counts = [scores.reference_units, scores.substitutions, scores.deletions, scores.insertions];
        [(*what).to_owned(), rate].into_iter().chain(counts.map(count)).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    line(table(&["what", "error rate", "of", "substituted", "left out", "added"], &rows).trim_end());
}

/// * `name`: whether to say of which file it is
fn write_transcript(
    out: &mut dyn Write,
    form: TranscriptForm,
    path: &Path,
    transcript: &Transcript,
    name: bool,
) -> anyhow::Result<()> {
    match form {
        TranscriptForm::Jsonl => {
            let mut record = json!({ "file": path.display().to_string() });
            if let (Some(record), Value::Object(said)) = (record.as_object_mut(), json!(transcript)) {
                record.extend(said);
            }
            writeln!(out, "{record}")?;
        }
        TranscriptForm::Text => writeln!(out, "{}", transcript.text)?,
        TranscriptForm::Lines => {
            if name {
                writeln!(out, "{}", path.display())?;
            }
            for segment in &transcript.segments {
                let (start, end) = (clock(segment.start, '.'), clock(segment.end, '.'));
                writeln!(out, "[{start} - {end}] {}", segment.text)?;
            }
        }
        TranscriptForm::Srt | TranscriptForm::Vtt => {
            let (mark, vtt) = if form == TranscriptForm::Vtt { ('.', true) } else { (',', false) };
            if vtt {
                writeln!(out, "WEBVTT\n")?;
            }
            for (number, segment) in transcript.segments.iter().enumerate() {
                if !vtt {
                    writeln!(out, "{}", number + 1)?;
                }
                writeln!(out, "{} --> {}\n{}\n", clock(segment.start, mark), clock(segment.end, mark), segment.text)?;
            }
        }
    }
    Ok(())
}

/// Hours, minutes, seconds and thousandths.
fn clock(seconds: f64, mark: char) -> String {
    let all = (seconds * 1000.0).round() as u64;
    let (hours, minutes, seconds) = (all / 3_600_000, all / 60_000 % 60, all / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{mark}{:03}", all % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_subtitles() {
        assert_eq!(clock(0.0, ','), "00:00:00,000");
        assert_eq!(clock(3723.4567, '.'), "01:02:03.457");
        assert_eq!(clock(59.9996, ','), "00:01:00,000");
    }
}
