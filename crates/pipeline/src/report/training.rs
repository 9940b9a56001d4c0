//! The model's table and the course of its training.

use danlu_report::{Block, Section};

use super::card::plain;
use super::format::share;
use super::text::{Line, curves, left, right, same, t, table, table_with_total};
use super::{Curves, EventFacts, ModelFacts, TrainingFacts};
use danlu_report::number::{bytes, compact, duration, grouped, percent, significant};

pub fn model_section(model: &ModelFacts) -> Section {
    let mut blocks = vec![Block::KeyValues(vec![
        (t("Architecture", "架构"), same(&model.architecture)),
        (t("Parameters", "参数"), same(&grouped(model.parameters))),
        (
            t("Of them embeddings", "其中嵌入"),
            same(&format!(
                "{} ({})",
                grouped(model.embedding_parameters),
                share(model.embedding_parameters, model.parameters)
            )),
        ),
        (t("Vocabulary", "词表"), same(&grouped(model.vocab_size as u64))),
        (t("Context", "上下文"), t(format!("{} tokens", model.context), format!("{} 词元", model.context))),
        (t("FLOPs per trained token", "每训练词元浮点运算"), same(&compact(model.flops_per_token))),
    ])];
    let rows = model.config.iter().map(|(key, value)| vec![same(key), same(&plain(value))]).collect();
    blocks.push(table([left("[model]", "[model]"), left("Value", "值")], rows));
    if !model.memory.is_empty() {
        let total: u64 = model.memory.iter().map(|(_, bytes)| bytes).sum();
        let row = |name, size| vec![name, same(&bytes(size)), same(&share(size, total))];
        let mut rows = vec![row(t("total", "合计"), total)];
        rows.extend(model.memory.iter().map(|(class, size)| row(memory_class(class), *size)));
        let columns =
            [left("Training memory, planned", "训练内存（计划）"), right("Size", "大小"), right("Share", "占比")];
        blocks.push(table_with_total(columns, rows));
    }
    Section { title: t("Model", "模型"), note: None, blocks }
}

fn memory_class(name: &str) -> danlu_report::T {
    let zh = match name {
        "weights" => "权重",
        "gradients" => "梯度",
        "optimizer" => "优化器",
        "activations" => "激活",
        "workspace" => "运算缓冲",
        "data" => "数据",
        "allocator" => "分配器",
        "program" => "程序",
        _ => return same(name),
    };
    t(name.to_owned(), zh)
}

pub fn training_section(training: &TrainingFacts) -> Section {
    let mut blocks = vec![Block::KeyValues(facts(training))];
    blocks.extend(charts(&training.curves));
    if !training.events.is_empty() {
        blocks.push(events(&training.events));
    }
    Section {
        title: t("Training", "训练"),
        note: Some(t(
            "Loss in nats per token. Long curves are drawn by the least and the greatest value of each stretch, so no spike is lost.",
            "损失单位为每词元奈特。曲线按区间取最小与最大值抽稀，不会丢失尖峰。",
        )),
        blocks,
    }
}

fn facts(training: &TrainingFacts) -> Vec<(danlu_report::T, danlu_report::T)> {
    let mut facts = vec![
        (t("Steps", "步数"), same(&format!("{} / {}", grouped(training.steps), grouped(training.steps_planned)))),
        (t("Ended because", "结束原因"), same(&training.ended_because)),
        (
            t("Tokens seen", "已见词元"),
            t(
                format!("{} ({} epochs)", grouped(training.tokens_seen), significant(training.epochs, 3)),
                format!("{}（{} 轮）", grouped(training.tokens_seen), significant(training.epochs, 3)),
            ),
        ),
        (
            t("Best validation loss", "最佳验证损失"),
            t(
                format!("{} at step {}", significant(training.best_valid_loss, 4), grouped(training.best_step)),
                format!("{}（第 {} 步）", significant(training.best_valid_loss, 4), grouped(training.best_step)),
            ),
        ),
        (t("Final training loss", "最终训练损失"), same(&significant(training.final_train_loss, 4))),
        (t("Wall time", "耗时"), same(&duration(training.seconds))),
        (
            t("Speed", "速度"),
            t(
                format!("{} tokens/s", grouped(training.tokens_per_second.max(0.0).round() as u64)),
                format!("{} 词元/秒", grouped(training.tokens_per_second.max(0.0).round() as u64)),
            ),
        ),
    ];
    if let Some(mfu) = training.mfu {
        facts.push((t("MFU (of the measured peak)", "MFU（相对实测峰值）"), same(&percent(mfu))));
    }
    facts.push((
        t("Device", "设备"),
        t(
            format!("{}, {} threads", training.device, training.threads),
            format!("{}，{} 线程", training.device, training.threads),
        ),
    ));
    facts
}

fn charts(of: &Curves) -> Vec<Block> {
    let mut blocks = Vec::new();
    let losses: Vec<Line> = [(t("training", "训练"), &of.train_loss), (t("validation", "验证"), &of.valid_loss)]
        .into_iter()
        .filter(|(_, points)| !points.is_empty())
        .map(|(name, points)| (name, points.clone()))
        .collect();
    if !losses.is_empty() {
        blocks.push(curves(t("Loss", "损失"), t("nats per token", "奈特/词元"), losses));
    }
    for (title, unit, points) in [
        (t("Learning rate", "学习率"), t("step size of AdamW", "AdamW 步长"), &of.learning_rate),
        (t("Gradient norm", "梯度范数"), t("before clipping", "裁剪前"), &of.gradient_norm),
        (t("Training speed", "训练速度"), t("tokens/s", "词元/秒"), &of.tokens_per_second),
    ] {
        if !points.is_empty() {
            blocks.push(curves(title, t("", ""), vec![(unit, points.clone())]));
        }
    }
    blocks
}

fn events(events: &[EventFacts]) -> Block {
    let rows = events.iter().map(|event| vec![same(&grouped(event.step)), same(&event.message)]).collect();
    table([right("Step", "步"), left("Event", "事件")], rows)
}
