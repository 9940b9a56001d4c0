//! What training was to see of each group of documents, and what it saw.

use danlu_data::MixtureRow;
use danlu_report::number::{grouped, percent, significant};
use danlu_report::{Bar, BarChart, Block, Section, T};

use super::MixtureFacts;
use super::text::{left, right, same, t, table};

pub fn mixture_section(mixture: &MixtureFacts) -> Section {
    Section {
        title: t("Mixture", "配比"),
        note: Some(t(
            "Shares of the tokens that training sees. Repeated documents count each time.",
            "训练所见词元的占比；重复的文档每次都计入。",
        )),
        blocks: vec![totals(mixture), shares(&mixture.realised.groups), groups(&mixture.realised.groups)],
    }
}

fn totals(mixture: &MixtureFacts) -> Block {
    let realised = &mixture.realised;
    let mut pairs = vec![
        (t("Grouped by", "分组依据"), same(&mixture.by)),
        (t("Tokens wanted", "目标词元"), same(&grouped(realised.tokens_wanted))),
        (t("Tokens, with repeats", "词元（含重复）"), same(&grouped(realised.tokens))),
        (t("Documents, with repeats", "文档（含重复）"), same(&grouped(realised.documents))),
    ];
    if realised.stages > 1 {
        pairs.push((t("Stages of the curriculum", "课程阶段"), same(&realised.stages.to_string())));
        pairs.push((
            t("Documents without a number to order by", "缺少排序值的文档"),
            same(&grouped(realised.without_key)),
        ));
    }
    Block::KeyValues(pairs)
}

/// For each group the wanted share and, below it, the realised one.
fn shares(groups: &[MixtureRow]) -> Block {
    let bars = |row: &MixtureRow| {
        let name = &row.name;
        let bar = |label: T, value: f64, strong| Bar { label, value, display: Some(percent(value)), strong };
        [
            bar(t(format!("{name}, wanted"), format!("{name}，目标")), row.target, false),
            bar(t(format!("{name}, realised"), format!("{name}，实际")), row.realised, true),
        ]
    };
    Block::BarChart(BarChart {
        title: t("Shares, wanted and realised", "目标占比与实际占比"),
        x_label: t("share of tokens", "词元占比"),
        bars: groups.iter().flat_map(bars).collect(),
    })
}

fn groups(groups: &[MixtureRow]) -> Block {
    let row = |row: &MixtureRow| {
        vec![
            same(&row.name),
            same(&grouped(row.available_documents)),
            same(&grouped(row.available_tokens)),
            same(&percent(row.target)),
            same(&percent(row.realised)),
            same(&grouped(row.tokens)),
            same(&significant(row.epochs, 3)),
            if row.capped { t("max_epochs", "max_epochs 上限") } else { same("") },
        ]
    };
    let columns = [
        left("Group", "分组"),
        right("Documents there are", "已有文档"),
        right("Tokens there are", "已有词元"),
        right("Wanted", "目标"),
        right("Realised", "实际"),
        right("Tokens", "词元"),
        right("Epochs", "轮数"),
        left("Held back by", "受限于"),
    ];
    table(columns, groups.iter().map(row).collect())
}
