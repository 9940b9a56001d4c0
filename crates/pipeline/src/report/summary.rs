//! What the figures mean, in plain words: the first thing a reader sees.

use super::format::change;
use super::text::t;
use super::{CompressionFacts, EvaluationFacts, RunReport, TrainingFacts};
use danlu_report::number::{bytes, compact, duration, percent, significant};
use danlu_report::{Figure, T};

/// How good the news of a sentence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Neutral,
    Bad,
}

/// One sentence of the verdict.
#[derive(Clone, Debug)]
pub struct Finding {
    pub tone: Tone,
    pub text: T,
}

fn finding(tone: Tone, en: String, zh: String) -> Finding {
    Finding { tone, text: t(en, zh) }
}

/// All that can honestly be said of the run, most important first.
pub fn findings(report: &RunReport) -> Vec<Finding> {
    let mut all = Vec::new();
    all.extend(state(report));
    match &report.evaluation {
        Some(evaluation) => all.extend(against_baselines(evaluation)),
        None => all.push(finding(
            Tone::Neutral,
            "The model was not evaluated in this run.".into(),
            "本次运行没有评估模型。".into(),
        )),
    }
    all.extend(report.training.as_ref().and_then(overfitting));
    all.extend(report.training.as_ref().and_then(rollbacks));
    all.extend(report.compression.as_ref().map(compressed));
    all.extend(coverage(report));
    all.extend(tokenizer(report));
    all
}

fn state(report: &RunReport) -> Option<Finding> {
    let (en, zh) = match report.run.state.as_str() {
        "failed" => (
            "The run failed before its end; what follows is what was finished.",
            "本次运行未能完成，以下是已完成的部分。",
        ),
        "interrupted" => (
            "The run was interrupted; the same command goes on from here.",
            "本次运行被中断；再次执行同一命令即可继续。",
        ),
        _ => return None,
    };
    Some(finding(Tone::Bad, en.into(), zh.into()))
}

fn against_baselines(evaluation: &EvaluationFacts) -> Vec<Finding> {
    let own = evaluation.scores.overall.bits_per_byte;
    let Some(baselines) = &evaluation.baselines else {
        let own = significant(own, 4);
        return vec![finding(
            Tone::Neutral,
            format!("The model needs {own} bits per byte of unseen text; no baseline was measured."),
            format!("模型在未见过的文本上需要每字节 {own} 比特；没有测量基线。"),
        )];
    };
    let xz = baselines.overall.xz_bits_per_byte;
    let mut all = vec![against_xz(own, xz)];
    all.extend(baselines.overall.unigram_bits_per_byte.map(|unigram| against_unigram(own, unigram)));
    all
}

fn against_xz(own: f64, xz: f64) -> Finding {
    let (own_text, xz_text) = (significant(own, 4), significant(xz, 4));
    if own < xz {
        let less = percent(1.0 - own / xz);
        return finding(
            Tone::Good,
            format!(
                "The model has learned the language of its corpus: it needs {own_text} bits per byte of text it never saw, {less} less than xz -9e ({xz_text})."
            ),
            format!(
                "模型学到了语料的规律：对未见过的文本，每字节只需 {own_text} 比特，比 xz -9e（{xz_text}）少 {less}。"
            ),
        );
    }
    let more = percent(own / xz - 1.0);
    finding(
        Tone::Bad,
        format!(
            "The model does not beat a general compressor: it needs {own_text} bits per byte of unseen text, {more} more than xz -9e ({xz_text}). Train longer or on more text."
        ),
        format!(
            "模型尚不及通用压缩器：对未见过的文本，每字节需要 {own_text} 比特，比 xz -9e（{xz_text}）多 {more}。请延长训练或增加文本。"
        ),
    )
}

fn against_unigram(own: f64, unigram: f64) -> Finding {
    let text = significant(unigram, 4);
    if own < unigram {
        let part = percent(1.0 - own / unigram);
        return finding(
            Tone::Good,
            format!("Context saves it {part} against a model that knows only how frequent each token is ({text})."),
            format!("与只知道词频的模型（{text}）相比，上下文为它节省了 {part}。"),
        );
    }
    finding(
        Tone::Bad,
        format!(
            "It is no better than a model that knows only how frequent each token is ({text}): it makes no use of context."
        ),
        format!("它不优于只知道词频的模型（{text}）：没有用到上下文。"),
    )
}

/// The last validation against the best one.
fn overfitting(training: &TrainingFacts) -> Option<Finding> {
    let (_, last) = *training.curves.valid_loss.last()?;
    let best = training.best_valid_loss;
    if best.is_nan() || last <= best * 1.01 {
        return None;
    }
    let rise = change(best, last);
    let step = training.best_step;
    Some(finding(
        Tone::Neutral,
        format!(
            "Validation loss rose again after step {step} ({rise} by the end): the model began to learn its training text by heart. The weights of step {step} are the ones kept."
        ),
        format!(
            "验证损失在第 {step} 步之后回升（到结束时 {rise}）：模型开始死记训练文本。保留的是第 {step} 步的权重。"
        ),
    ))
}

fn rollbacks(training: &TrainingFacts) -> Option<Finding> {
    let n = training.events.len();
    (n > 0).then(|| {
        finding(
            Tone::Neutral,
            format!(
                "Training had {n} noteworthy event{}; they are listed below the curves.",
                if n == 1 { "" } else { "s" }
            ),
            format!("训练过程中有 {n} 个值得注意的事件，列在曲线下方。"),
        )
    })
}

fn compressed(compression: &CompressionFacts) -> Finding {
    let delta = change(compression.bits_per_byte_before, compression.bits_per_byte_after);
    let (before, after) = (bytes(compression.bytes_before), bytes(compression.bytes_after));
    let smaller = compression.bytes_after < compression.bytes_before;
    let harmless = compression.bits_per_byte_after <= compression.bits_per_byte_before * 1.01;
    finding(
        if smaller && harmless { Tone::Good } else { Tone::Bad },
        format!("The compressed form takes {after} instead of {before}; its bits per byte change by {delta}."),
        format!("压缩后占 {after}（原为 {before}），每字节比特数变化 {delta}。"),
    )
}

fn coverage(report: &RunReport) -> Option<Finding> {
    let coverage = &report.evaluation.as_ref()?.scores.coverage;
    let rule = coverage.rule.as_ref()?;
    let (scored, offered) = (coverage.documents_scored, coverage.documents_offered);
    Some(finding(
        Tone::Neutral,
        format!("Evaluated on {scored} of {offered} test documents, chosen {rule}."),
        format!("只评估了 {offered} 篇测试文档中的 {scored} 篇（规则：{rule}）。"),
    ))
}

fn tokenizer(report: &RunReport) -> Option<Finding> {
    let tokenizer = report.tokenizer.as_ref()?;
    let (unknown, failures) = (tokenizer.unknown_tokens, tokenizer.round_trip_failures);
    (unknown > 0 || failures > 0).then(|| {
        finding(
            Tone::Bad,
            format!("The tokenizer loses text: {unknown} unknown tokens, {failures} documents that do not come back exactly."),
            format!("分词器有损：{unknown} 个未知词元，{failures} 篇文档不能还原。"),
        )
    })
}

/// The figures of the first screen.
pub fn headline(report: &RunReport) -> Vec<Figure> {
    let figure = |label: T, value: String, note: T| Figure { label, value: T::same(value), note: Some(note) };
    let mut all = Vec::new();
    if let Some(evaluation) = &report.evaluation {
        let scores = &evaluation.scores.overall;
        let value = significant(scores.bits_per_byte, 4);
        all.push(figure(t("Bits per byte, test", "测试集每字节比特"), value, xz_remark(evaluation)));
        let value = significant(scores.perplexity, 4);
        all.push(figure(t("Perplexity, test", "测试集困惑度"), value, t("per token", "每词元")));
    }
    if let Some(model) = &report.model {
        let name = T::same(model.architecture.clone());
        all.push(figure(t("Parameters", "参数"), compact(model.parameters as f64), name));
    }
    if let Some(training) = &report.training {
        let note = match training.mfu.map(percent) {
            Some(mfu) => t(format!("tokens/s, MFU {mfu}"), format!("词元/秒，MFU {mfu}")),
            None => t("tokens/s", "词元/秒"),
        };
        all.push(figure(t("Training speed", "训练速度"), compact(training.tokens_per_second), note));
    }
    if let Some(compression) = &report.compression {
        let before = bytes(compression.bytes_before);
        let note = t(format!("from {before}"), format!("原为 {before}"));
        all.push(figure(t("Compressed size", "压缩后大小"), bytes(compression.bytes_after), note));
    }
    let stages = report.stages.len();
    let note = t(format!("{stages} stages"), format!("{stages} 个阶段"));
    all.push(figure(t("Wall time", "总耗时"), duration(report.run.seconds), note));
    all
}

fn xz_remark(evaluation: &EvaluationFacts) -> T {
    match &evaluation.baselines {
        Some(baselines) => {
            let xz = significant(baselines.overall.xz_bits_per_byte, 4);
            t(format!("xz -9e: {xz}"), format!("xz -9e：{xz}"))
        }
        None => t("lower is better", "越低越好"),
    }
}
