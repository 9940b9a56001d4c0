//! Data: from files that somebody has to batches that a model trains on.
//!
//! ```text
//! sources --collect--> documents --clean--> train / valid / test / dropped(reason) --write_shards--> shards --> batches
//! ```
//!
//! This room owns the one record type ([`Document`]), the readers of source files ([`SourceConfig`], [`collect`]), the
//! cleaning steps and their accounts ([`clean`], [`Funnel`]), changed copies of documents ([`augment()`]), the token shard
//! format ([`Shard`]) and the order in which training sees the tokens ([`Batches`]). It never sees a model. Corpora are
//! streamed, never held: what grows with the number of documents is 20 to 39 bytes each for exact deduplication, up to a
//! gibibyte, what a search for duplicates finds, and 24 bytes each for a shard's table.
//!
//! Where to begin reading: `document.rs`, then `collect.rs`, `clean/mod.rs`, `shard/mod.rs`, `batches.rs`: the order in
//! which the data flows. Nothing is dropped silently: every document that does not reach a shard has a counted reason.

mod aside;
mod augment;
mod batches;
mod clean;
mod collect;
mod conversation;
mod decontaminate;
mod dedup;
mod document;
mod error;
mod files;
mod journal;
mod masking;
mod mixture;
mod monitor;
mod ngrams;
mod part;
mod permutation;
mod progress;
mod provenance;
mod shard;
mod show;
mod skipped;
mod source;
mod storage;
mod table;
mod tokenizer;

pub use augment::{
    AUGMENT_KEY, AUGMENTED_FROM_KEY, AugmentConfig, AugmentCount, AugmentSummary, Augmentation, Between, Choose,
    ReverseUnit, RotateUnit, SENTENCE, ToldModel, Translate, TranslatorModel, augment, images_folder,
};
pub use batches::{Batch, BatchConfig, Batches, Packing};
pub use clean::{
    CONTAMINATION_FILE, CleanConfig, Count, DROPPED_FILE, Dedup, DropRow, DroppedDocument, FUNNEL_FILE, Funnel,
    FunnelShare, Missing, ModelsConfig, Outcome, OutlierConfig, OutlierGroup, OutlierHistogram, OutlierMethod,
    OutlierSide, OutlierThresholds, Part, PartSummary, Reason, RuleConfig, SplitConfig, SplitRow, StatisticsKept,
    StepFunnel, clean, clean_part, clean_parts, preset_names, preset_text, split_documents, sql_functions,
};
pub use collect::{COLLECTED_FILE, CollectSummary, SourceSummary, collect, collect_without};
pub use danlu_formats::html::HtmlOptions;
pub use danlu_formats::wikitext::WikiOptions;
pub use decontaminate::{
    Contamination, ContaminationAction, ContaminationHit, DecontaminateConfig, Decontaminator, find_contamination,
};
pub use dedup::{
    ClusterCopy, ClusterSize, Cut, DedupConfig, DedupSummary, Duplicate, DuplicateCluster, DuplicateKind, Duplicates,
    KeepRule, KindCount, NearConfig, RepeatConfig, SIGNATURES_FILE, SimHashConfig, SourcePair, SubstringConfig,
    find_duplicates,
};
pub(crate) use dedup::{SketchWriter, find_duplicates_of};
pub use document::Document;
pub use error::DataError;
pub use masking::{Masked, MaskingConfig, MaskingKey, MaskingTokens, mask_tokens};
pub use mixture::{
    CurriculumConfig, Mixture, MixtureConfig, MixtureItem, MixtureRow, MixtureSummary, mix_shard, mixture_items,
};
pub use monitor::{
    Change, ClusterTexts, ContaminationReport, CopyText, Corpus, DataCard, DataReport, Distribution, Drift,
    DroppedSample, DuplicateReport, Fence, HitSample, KeptDocument, LicenseCard, Licenses, Mark, Outliers, Piece,
    Repeats, SNAPSHOT_VERSION, SampledDocument, SetReport, ShareShift, Snapshot, SnapshotConfig, SnapshotGroup,
    SnapshotInput, SourceCard, SourceLicenses, StatedBy, StatisticDrift, StatisticLimits, TimeRange, TopWords,
    Violation, Vocabulary, VocabularyDrift, WatchConfig, data_page, drift,
};
pub use permutation::Permutation;
pub use progress::{Progress, ProgressFn};
pub use provenance::{
    ArtifactRef, COLLECTED_FROM_KEY, Condition, ForgetPlan, Forgotten, ForgottenFile, ModelRef, Place, PlannedArtifact,
    Selection, ShardPlace, Sought, TOMBSTONES_FILE, Tombstone, Tombstones, Trace, TraceFate, forget, pending_forget,
    plan_forget, trace,
};
pub use shard::{
    ChatConfig, Encoded, Encoder, LossMask, Role, Shard, ShardCount, ShardDocument, ShardSummary, TokenSlice,
    join_shards, write_shards,
};
pub use show::{ShowFilter, Shown, show};
pub use source::{
    ChatFormat, Format, HttpConfig, InvalidBytes, KeptFields, LeftOut, Problem, SourceConfig, TextSplit, TitlePlace,
    read_source, source_files, source_state, stated_licenses, without_licenses,
};
pub use table::{DocumentReader, DocumentWriter, TABLE_VERSION, documents_file, read_documents};
pub use tokenizer::train_tokenizer;
