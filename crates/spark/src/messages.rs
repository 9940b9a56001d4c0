//! The messages of the protocol that danlu sends and reads, with Spark's names and numbers (base.proto, commands.proto,
//! relations.proto of Spark 4). What an answer has besides is skipped when it is read, as protocol buffers do.

#[derive(Clone, PartialEq, prost::Message)]
pub struct UserContext {
    #[prost(string, tag = "1")]
    pub user_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutePlanRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(message, optional, tag = "2")]
    pub user_context: Option<UserContext>,
    #[prost(message, optional, tag = "3")]
    pub plan: Option<Plan>,
    #[prost(string, optional, tag = "4")]
    pub client_type: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Plan {
    #[prost(oneof = "OpType", tags = "1, 2")]
    pub op_type: Option<OpType>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OpType {
    #[prost(message, tag = "1")]
    Root(Relation),
    #[prost(message, tag = "2")]
    Command(Command),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Relation {
    #[prost(message, optional, tag = "1")]
    pub common: Option<RelationCommon>,
    #[prost(oneof = "RelType", tags = "2, 10")]
    pub rel_type: Option<RelType>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RelationCommon {
    #[prost(int64, optional, tag = "2")]
    pub plan_id: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum RelType {
    #[prost(message, tag = "2")]
    Read(Read),
    #[prost(message, tag = "10")]
    Sql(Sql),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Sql {
    #[prost(string, tag = "1")]
    pub query: String,
}

/// Its one kind that is used: files.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Read {
    #[prost(message, optional, tag = "2")]
    pub data_source: Option<DataSource>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DataSource {
    #[prost(string, optional, tag = "1")]
    pub format: Option<String>,
    #[prost(string, repeated, tag = "4")]
    pub paths: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    #[prost(oneof = "CommandType", tags = "3")]
    pub command_type: Option<CommandType>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum CommandType {
    #[prost(message, tag = "3")]
    CreateDataframeView(CreateDataFrameView),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateDataFrameView {
    #[prost(message, optional, tag = "1")]
    pub input: Option<Relation>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(bool, tag = "4")]
    pub replace: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutePlanResponse {
    /// One of many kinds of answers; the others are progress and metrics.
    #[prost(message, optional, tag = "2")]
    pub arrow_batch: Option<ArrowBatch>,
    #[prost(message, optional, tag = "14")]
    pub result_complete: Option<Nothing>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ArrowBatch {
    #[prost(int64, tag = "1")]
    pub row_count: i64,
    /// An Arrow IPC stream of its own, with its schema.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReleaseSessionRequest {
    #[prost(string, tag = "1")]
    pub session_id: String,
    #[prost(message, optional, tag = "2")]
    pub user_context: Option<UserContext>,
    #[prost(string, optional, tag = "3")]
    pub client_type: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReleaseSessionResponse {}
