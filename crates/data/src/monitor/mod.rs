//! Watching the quality of data: what a delivery looks like, how two of them differ, and a page that shows it.
//!
//! [`Snapshot::of`] reads documents once, in bounded memory, and keeps distributions, vocabularies, repeats, dates and a
//! sample. [`drift`] compares two snapshots and gives reasons in plain words; [`WatchConfig`] says how much is too much.
//! [`DataReport`] adds what the artifacts of a run know (funnel, dropped documents, changes, lineage), and
//! [`data_page`] draws it.
//!
//! Begin reading at `snapshot.rs`, then `drift.rs`.

mod compare;
mod contamination;
mod corpus;
mod distribution;
mod drift;
mod duplicates;
mod ids;
mod licenses;
mod page;
mod report;
mod snapshot;
mod statistics;
mod time;
mod vocabulary;
mod watch;

pub use compare::{Mark, Piece};
pub use contamination::{ContaminationReport, HitSample, SetReport};
pub use corpus::Corpus;
pub use distribution::Distribution;
pub use drift::{Drift, ShareShift, StatisticDrift, Violation, VocabularyDrift, drift};
pub use duplicates::{ClusterTexts, CopyText, DuplicateReport, KeptDocument};
pub use ids::Repeats;
pub use licenses::{LicenseCard, Licenses, SourceLicenses, StatedBy};
pub use page::data_page;
pub use report::{Change, DataCard, DataReport, DroppedSample, Fence, Outliers, SourceCard};
pub use snapshot::{
    SNAPSHOT_VERSION, SampledDocument, Snapshot, SnapshotConfig, SnapshotGroup, SnapshotInput, Vocabulary,
};
pub(crate) use statistics::carried;
pub use time::TimeRange;
pub use vocabulary::TopWords;
pub use watch::{StatisticLimits, WatchConfig};
