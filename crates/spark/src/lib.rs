//! A client of Spark Connect: of Apache Spark, or of Sail, which speaks the same protocol.
//!
//! It can do what danlu needs of a cluster and no more: make Parquet files tables, run a query and read its rows. Paths
//! are the cluster's: a file must lie where both sides see it, in a shared folder or an object store. The protocol is gRPC (Spark's `sql/connect/common/src/main/protobuf/spark/connect`); the messages
//! that are used are written out in `messages.rs`, so that no protoc is needed and Arrow is the version of the house.
//!
//! Rows come back in the order that the SQL asks for with ORDER BY. Spark itself runs lost tasks again on other
//! executors; when the connection is lost a query fails, and may simply be run again.
//!
//! Where to begin reading: [`Session`].

mod address;
mod error;
mod messages;
mod session;

pub use address::Address;
pub use error::SparkError;
pub use session::Session;
