//! What of evaluation sets was found in the documents.

use danlu_report::{Block, Compared, Mark, Marked, Section, number};

use super::names::{left, right, same, t, table};
use crate::monitor::compare;
use crate::monitor::contamination::{ContaminationReport, HitSample, SetReport};

pub(super) fn section(report: &ContaminationReport) -> Section {
    let (hit, all) = (number::grouped(report.contaminated), number::grouped(report.documents));
    let note = t(
        format!("{hit} of {all} documents had a piece of an evaluation set before it was dropped or cut."),
        format!("{all} 篇文档中有 {hit} 篇含评测集片段，已丢弃或剪除。"),
    );
    let columns = [
        left("evaluation set", "评测集"),
        right("documents", "文档"),
        right("items found", "找到的条目"),
        right("items too short", "过短的条目"),
    ];
    let row = |set: &SetReport| {
        let counts = [set.documents, set.items, set.too_short];
        let counts = counts.into_iter().map(|count| same(&number::grouped(count)));
        std::iter::once(same(&set.name)).chain(counts).collect()
    };
    let mut section = Section::new(t("Evaluation sets", "评测集")).note(note);
    section = section.block(table(columns, report.sets.iter().map(row).collect()));
    for set in report.sets.iter().filter(|set| !set.samples.is_empty()) {
        let count = set.samples.len();
        let summary = t(
            format!(
                "{count} documents with pieces of {}, drawn at random; the first that both have is underlined",
                set.name
            ),
            format!("随机抽取的 {count} 篇含 {} 片段的文档；下划线为首个相同片段", set.name),
        );
        let blocks = vec![Block::Compared(set.samples.iter().map(sample).collect())];
        section = section.block(Block::Details { summary, blocks });
    }
    section
}

/// The piece, and below it the document with the piece marked.
fn sample(HitSample { hit, pieces }: &HitSample) -> Compared {
    let mark = |mark| if mark == compare::Mark::Both { Mark::Added } else { Mark::Same };
    let share = number::percent(hit.share);
    Compared {
        title: same(&hit.item),
        text: same(&hit.ngram),
        note: t(format!("{share} of the item is in the document"), format!("该条目的 {share} 见于文档")),
        others: vec![Marked {
            pieces: pieces.iter().map(|piece| (mark(piece.mark), piece.text.clone())).collect(),
            note: same(&format!("{} · {}", hit.source, hit.document)),
        }],
    }
}
