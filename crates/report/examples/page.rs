//! A page with every kind of block, to look at while working on the style:
//! `cargo run --release -p danlu-report --example page -- /tmp/page.html`. The figures in it are made up.

use danlu_report::{
    Bar, BarChart, Bin, Block, Column, Figure, Funnel, FunnelStep, Histogram, LineChart, Page, Row, Sample, Section,
    Series, T, Table, number,
};

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "page.html".to_owned());
    let page = Page::new(T::new("An example of a report", "报告示例"))
        .lead(T::new(
            "Every kind of block that a report may use, with made-up figures.",
            "报告可用的各种图表与版块，数字均为虚构。",
        ))
        .fact(T::new("Run", "运行"), "20260131-120000-example-1a2b".into())
        .fact(T::new("Machine", "机器"), T::new("2 cores, 8 GiB", "2 核，8 GiB"))
        .section(overview())
        .section(data())
        .section(training())
        .section(evaluation())
        .section(samples());
    std::fs::write(path, page.html())
}

fn overview() -> Section {
    let figure = |en: &'static str, zh: &'static str, value: String, note: Option<T>| Figure {
        label: T::new(en, zh),
        value: value.into(),
        note,
    };
    Section::new(T::new("Overview", "概览")).block(Block::Figures(vec![
        figure("bits per byte", "每字节比特", "2.134".into(), Some(T::new("xz: 2.410", "xz：2.410"))),
        figure("perplexity", "困惑度", "31.7".into(), None),
        figure(
            "parameters",
            "参数量",
            number::compact(3_412_000.0),
            Some(T::new("13.0 MiB in f32", "f32 下 13.0 MiB")),
        ),
        figure("wall time", "总用时", number::duration(487.0), None),
    ]))
}

fn data() -> Section {
    let step = |en: &'static str, zh: &'static str, kept, dropped: Vec<(T, u64)>| FunnelStep {
        name: T::new(en, zh),
        kept,
        dropped,
    };
    let lengths: Vec<f64> = (1..4000u32).map(|i| f64::from(i % 97 + i % 61 + i % 23) * 14.0).collect();
    Section::new(T::new("Data", "数据"))
        .note(T::new("Nothing is dropped without a counted reason.", "每一条被丢弃的文档都有原因，且计入统计。"))
        .block(Block::Funnel(Funnel {
            title: T::new("Documents left after each step", "各步骤后剩余的文档"),
            unit: T::new("documents", "文档"),
            steps: vec![
                step("collected", "收集", 61_204, vec![]),
                step(
                    "length",
                    "长度",
                    58_911,
                    vec![(T::new("too short", "过短"), 2290), (T::new("too long", "过长"), 3)],
                ),
                step(
                    "symbols and repeated lines",
                    "符号与重复行",
                    58_640,
                    vec![(T::new("repeated lines", "重复行"), 271)],
                ),
                step("exact duplicates", "完全重复", 49_023, vec![(T::new("duplicate", "重复"), 9617)]),
            ],
        }))
        .block(Block::Histogram(Histogram {
            title: T::new("Length of documents", "文档长度"),
            x_label: T::new("characters", "字符"),
            y_label: T::new("documents", "文档数"),
            bins: Bin::of(&lengths, 40),
        }))
}

fn training() -> Section {
    let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0 - 0.5;
    let loss = |step: f64| 2.3 + 6.0 * (-step / 160.0).exp() + 0.9 * (-step / 900.0).exp();
    let train = (1..=2400).map(|i| (f64::from(i), loss(f64::from(i)) + 0.22 * noise(i))).collect();
    let valid = (1..=24).map(|i| (f64::from(i * 100), loss(f64::from(i * 100)) + 0.08)).collect();
    let chart = |title: T, log_y| LineChart {
        title,
        x_label: T::new("step", "步"),
        y_label: T::new("nats per token", "奈特/词元"),
        series: vec![
            Series { name: T::new("train", "训练"), points: Vec::clone(&train) },
            Series { name: T::new("validation", "验证"), points: Vec::clone(&valid) },
        ],
        log_y,
    };
    let rate = (0..=240).map(|i| {
        let step = f64::from(i) * 10.0;
        (step, 3e-4 * (step / 200.0).min(0.55 + 0.45 * (std::f64::consts::PI * step / 2400.0).cos()))
    });
    Section::new(T::new("Training", "训练"))
        .block(Block::LineChart(chart(T::new("Loss", "损失"), false)))
        .block(Block::LineChart(chart(T::new("Loss, logarithmic", "损失（对数轴）"), true)))
        .block(Block::LineChart(LineChart {
            title: T::new("Learning rate", "学习率"),
            x_label: T::new("step", "步"),
            series: vec![Series { name: T::new("learning rate", "学习率"), points: rate.collect() }],
            ..LineChart::default()
        }))
        .block(Block::KeyValues(vec![
            (T::new("Optimizer", "优化器"), "AdamW (0.9, 0.95)".into()),
            (T::new("Batch", "批大小"), T::new("32 sequences of 256 tokens", "32 条 × 256 词元")),
            (T::new("Throughput", "吞吐"), T::new("11,200 tokens/s", "每秒 11,200 词元")),
        ]))
}

fn evaluation() -> Section {
    let row = |label: T, bits: &'static str, ppl: &'static str, top1: &'static str| {
        vec![label, bits.into(), ppl.into(), top1.into(), "72.0%".into(), "412,338".into()]
    };
    Section::new(T::new("Evaluation", "评测"))
        .note(T::new("On the test split, never seen in training.", "在训练中从未见过的测试集上。"))
        .block(Block::BarChart(BarChart {
            title: T::new("Bits per byte of the test text", "测试文本的每字节比特数"),
            x_label: T::new("bits per byte, lower is better", "每字节比特，越低越好"),
            bars: vec![
                Bar::strong(T::new("this model", "本模型"), 2.134),
                Bar::strong(T::new("this model, int8", "本模型（int8）"), 2.136),
                Bar::new(T::new("xz -9e", "xz -9e"), 2.41),
                Bar::new(T::new("unigram", "一元模型"), 4.87),
            ],
        }))
        .block(Block::Table(Table {
            caption: Some(T::new("Scores by language", "按语言")),
            columns: [
                ("", ""),
                ("bits per byte", "每字节比特"),
                ("perplexity", "困惑度"),
                ("top-1", "首选准确率"),
                ("top-5", "前五准确率"),
                ("tokens", "词元"),
            ]
            .into_iter()
            .enumerate()
            .map(|(i, (en, zh))| if i == 0 { Column::left(T::new(en, zh)) } else { Column::right(T::new(en, zh)) })
            .collect(),
            rows: vec![
                Row::strong(row(T::new("all", "全部"), "2.134", "31.7", "38.2%")),
                Row::new(row(T::new("English", "英文"), "1.702", "24.9", "41.0%")),
                Row::new(row(T::new("Chinese", "中文"), "3.018", "96.3", "27.5%")),
            ],
        }))
}

fn samples() -> Section {
    let sample = |prompt: &str, text: &str| Sample {
        prompt: prompt.into(),
        text: text.into(),
        note: Some(T::new("temperature 0.8, seed 1", "温度 0.8，种子 1")),
    };
    Section::new(T::new("Samples", "样例"))
        .block(Block::Samples(vec![
            sample("Fellow citizens, ", "the state of this example is strong, and its figures are invented."),
            sample("床前明月光，", "疑是地上霜。\n举头望明月，低头思故乡。"),
        ]))
        .block(Block::Details {
            summary: T::new("The resolved recipe", "完整配方"),
            blocks: vec![Block::Code("[train]\nsteps = 2400\nlearning_rate = 3e-4\nschedule = \"cosine\"\n".into())],
        })
        .block(Block::Details {
            summary: T::new("Lineage", "来历"),
            blocks: vec![Block::Text(T::new("collect → clean → tokenizer → train", "收集 → 清洗 → 分词 → 训练"))],
        })
}
