//! Under which licences the documents are.

use danlu_report::{Block, T, number};

use super::names::{left, right, same, t, table};
use crate::Count;
use crate::monitor::licenses::{LicenseCard, StatedBy};

/// A table by source and licence, and before it the documents of which nobody has said.
pub(super) fn blocks(cards: &[LicenseCard]) -> Vec<Block> {
    let unknown: Vec<Block> = cards.iter().filter(|card| card.stated_by == StatedBy::Nobody).map(unknown).collect();
    let columns = [
        left("source", "来源"),
        left("license of its documents", "文档的许可"),
        left("stated by", "出处"),
        right("documents", "文档"),
        right("text", "文本量"),
    ];
    unknown.into_iter().chain([table(columns, cards.iter().map(row).collect())]).collect()
}

fn row(card: &LicenseCard) -> Vec<T> {
    let Count { documents, bytes } = card.count;
    let stated_by = match card.stated_by {
        StatedBy::Documents => t("the documents", "文档自身"),
        StatedBy::Recipe => t("the recipe, for documents that name none", "配方（文档自身未注明）"),
        StatedBy::Nobody => t("nobody", "无"),
    };
    let license = match card.stated_by {
        StatedBy::Nobody => t("unknown", "未知"),
        _ => same(&card.license),
    };
    vec![same(&card.source), license, stated_by, same(&number::grouped(documents)), same(&number::bytes(bytes))]
}

fn unknown(card: &LicenseCard) -> Block {
    let (source, documents) = (&card.source, number::grouped(card.count.documents));
    let ids = card.examples.iter().map(|id| id.get(..12).unwrap_or(id)).collect::<Vec<_>>().join(", ");
    let more = if card.count.documents > card.examples.len() as u64 { ", …" } else { "" };
    Block::Text(t(
        format!("Documents of {source} without a known license: {documents} ({ids}{more})"),
        format!("{source} 中许可不明的文档：{documents}（{ids}{more}）"),
    ))
}
