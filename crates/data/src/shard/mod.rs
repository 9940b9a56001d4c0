//! Token shards: the tokens of one split in one memory-mapped file. docs/formats.md draws it byte by byte.

mod encode;
mod header;
mod read;
mod write;

pub use encode::{ChatConfig, Encoded, Encoder, LossMask, Role};
pub use read::{Shard, ShardDocument, TokenSlice};
pub(crate) use write::ShardWriter;
pub use write::{ShardCount, ShardSummary, join_shards, write_shards};
