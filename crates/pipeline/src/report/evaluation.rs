//! What the model is worth: scores beside baselines, the compressed form, samples.

use danlu_eval::{Baseline, Baselines, Scores};
use danlu_report::{Bar, BarChart, Block, Column, Sample, Section, T};

use super::format::change;
use super::names::language;
use super::text::{left, right, same, t, table, table_with_total};
use super::{CompressionFacts, EvaluationFacts, SampleFacts};
use danlu_report::number::{bytes, compact, grouped, percent, significant};

pub fn evaluation_section(evaluation: &EvaluationFacts) -> Section {
    let mut blocks = vec![table_with_total(headers(), rows(evaluation))];
    if let Some(baselines) = &evaluation.baselines {
        blocks.push(comparison(evaluation, baselines));
    }
    blocks.push(Block::KeyValues(protocol(evaluation)));
    Section {
        title: t("Evaluation on the test split", "测试集评估"),
        note: Some(t(
            "Bits per byte is the figure to compare: it does not depend on the tokenizer. Lower is better. xz -9e compresses the same documents as one stream; the unigram model knows only how frequent each token is in the training text.",
            "每字节比特数是可比的指标：它与分词器无关，越低越好。xz -9e 把同样的文档作为一个流压缩；一元模型只知道每个词元在训练文本中的频率。",
        )),
        blocks,
    }
}

fn headers() -> [Column; 10] {
    [
        left("Test split", "测试集"),
        right("Bits/byte", "比特/字节"),
        right("xz -9e", "xz -9e"),
        right("Unigram", "一元模型"),
        right("Perplexity", "困惑度"),
        right("Loss", "损失"),
        right("Top-1", "前 1 命中"),
        right("Top-5", "前 5 命中"),
        right("Tokens", "词元"),
        right("Bytes", "字节"),
    ]
}

fn rows(evaluation: &EvaluationFacts) -> Vec<Vec<T>> {
    let scores = &evaluation.scores;
    let baselines = evaluation.baselines.as_ref();
    let mut rows = vec![row(t("All", "全部"), &scores.overall, baselines.map(|b| &b.overall))];
    for (code, scores) in &scores.by_language {
        rows.push(row(language(code), scores, baselines.and_then(|b| b.by_language.get(code))));
    }
    for (name, scores) in &scores.by_source {
        let label = t(format!("source {name}"), format!("来源 {name}"));
        rows.push(row(label, scores, baselines.and_then(|b| b.by_source.get(name))));
    }
    rows
}

fn row(name: T, scores: &Scores, baseline: Option<&Baseline>) -> Vec<T> {
    let figure = |value: Option<f64>| same(&value.map_or_else(|| "–".into(), |x| significant(x, 4)));
    vec![
        name,
        same(&significant(scores.bits_per_byte, 4)),
        figure(baseline.map(|b| b.xz_bits_per_byte)),
        figure(baseline.and_then(|b| b.unigram_bits_per_byte)),
        same(&significant(scores.perplexity, 4)),
        same(&significant(scores.loss, 4)),
        same(&percent(scores.top1)),
        same(&percent(scores.top5)),
        same(&grouped(scores.tokens)),
        same(&grouped(scores.bytes)),
    ]
}

/// Model, xz and unigram side by side: for everything, then for each language.
fn comparison(evaluation: &EvaluationFacts, baselines: &Baselines) -> Block {
    let scores = &evaluation.scores;
    let mut all = bars(&t("all", "全部"), &scores.overall, &baselines.overall);
    if scores.by_language.len() > 1 {
        for (code, scores) in &scores.by_language {
            if let Some(baseline) = baselines.by_language.get(code) {
                all.extend(bars(&language(code), scores, baseline));
            }
        }
    }
    Block::BarChart(BarChart {
        title: t("The model beside the baselines", "模型与基线"),
        x_label: t("bits per byte of unseen text, lower is better", "未见文本的每字节比特数，越低越好"),
        bars: all,
    })
}

fn bars(group: &T, scores: &Scores, baseline: &Baseline) -> Vec<Bar> {
    let label = |en: &str, zh: &str| t(format!("{}: {en}", group.en), format!("{}：{zh}", group.zh));
    let mut bars = vec![
        Bar::strong(label("this model", "本模型"), scores.bits_per_byte),
        Bar::new(label("xz -9e", "xz -9e"), baseline.xz_bits_per_byte),
    ];
    bars.extend(baseline.unigram_bits_per_byte.map(|value| Bar::new(label("unigram", "一元模型"), value)));
    bars
}

fn protocol(evaluation: &EvaluationFacts) -> Vec<(T, T)> {
    let scores = &evaluation.scores;
    let (seq_len, stride) = (scores.window.seq_len, scores.window.stride);
    let coverage = &scores.coverage;
    let mut facts = vec![
        (
            t("Windows", "窗口"),
            t(format!("{seq_len} tokens, stride {stride}"), format!("{seq_len} 词元，步长 {stride}")),
        ),
        (
            t("Documents scored", "已评文档"),
            t(
                format!("{} of {}", grouped(coverage.documents_scored), grouped(coverage.documents_offered)),
                format!("{} / {}", grouped(coverage.documents_scored), grouped(coverage.documents_offered)),
            ),
        ),
        (
            t("Paid for", "计费范围"),
            t(
                "every token of the text, from the first after <|endoftext|>; not the closing one",
                "文本的每个词元，自 <|endoftext|> 之后第一个起；不含结尾的边界词元",
            ),
        ),
    ];
    if let Some(rule) = &coverage.rule {
        facts.push((t("Chosen", "选取规则"), same(rule)));
    }
    if coverage.documents_not_round_trip > 0 {
        facts.push((
            t("Documents the tokenizer alters", "分词器不能还原的文档"),
            same(&grouped(coverage.documents_not_round_trip)),
        ));
    }
    facts
}

pub fn compression_section(compression: &CompressionFacts) -> Section {
    let c = compression;
    let row =
        |name: T, before: String, after: String, change: String| vec![name, same(&before), same(&after), same(&change)];
    let rows = vec![
        row(
            t("Size", "大小"),
            bytes(c.bytes_before),
            bytes(c.bytes_after),
            change(c.bytes_before as f64, c.bytes_after as f64),
        ),
        row(
            t("Bits per byte, test", "测试集每字节比特"),
            significant(c.bits_per_byte_before, 5),
            significant(c.bits_per_byte_after, 5),
            change(c.bits_per_byte_before, c.bits_per_byte_after),
        ),
        row(
            t("Decoding, tokens/s", "解码，词元/秒"),
            compact(c.decode_tokens_per_second_before),
            compact(c.decode_tokens_per_second_after),
            change(c.decode_tokens_per_second_before, c.decode_tokens_per_second_after),
        ),
    ];
    let mut blocks =
        vec![table([left("", ""), right("Before", "压缩前"), right("After", "压缩后"), right("Change", "变化")], rows)];
    if let Some(dir) = &c.model_dir {
        blocks.push(Block::KeyValues(vec![(t("Folder", "目录"), same(dir))]));
    }
    Section { title: t("Compression", "压缩"), note: Some(same(&c.method)), blocks }
}

pub fn samples_section(texts: &[SampleFacts]) -> Section {
    Section {
        title: t("Samples", "样例"),
        note: Some(t(
            "What the model writes after a prompt. Not chosen by hand: the first answers at the recipe's settings.",
            "模型在提示之后续写的文本。未经人工挑选：按配方设置得到的首个结果。",
        )),
        blocks: vec![Block::Samples(texts.iter().map(sample).collect())],
    }
}

fn sample(of: &SampleFacts) -> Sample {
    let note = match (of.model.as_str(), of.settings.as_str()) {
        ("", settings) => settings.to_owned(),
        (model, settings) => format!("{model}, {settings}"),
    };
    Sample { prompt: of.prompt.clone(), text: of.continuation.clone(), note: Some(same(&note)) }
}
