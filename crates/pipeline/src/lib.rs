//! One recipe, a whole life: this room turns a recipe into a graph of stages and runs it.
//!
//! It owns the recipe format, the keys that decide when a result may be used again, the order of the stages, and the
//! run report that is made of all their results. It may use every room below the command line; no room below knows
//! of recipes. It holds no algorithm of its own: each file under `stages` reads artifacts, makes one call of a
//! library function, and returns a summary.
//!
//! Begin reading at [`recipe`], then [`graph`], then [`runner`].

pub mod ablation;
mod device;
mod error;
pub mod explain;
mod facts;
pub mod graph;
mod observer;
pub mod plan;
mod recipe;
pub mod report;
mod runner;
mod shared;
mod stages;
mod view;

pub use device::select_device;
pub use error::PipelineError;
pub use facts::report_of;
pub use graph::{Decision, Graph, Selection, Stage};
pub use observer::{Observer, Progress, Silent};
pub use recipe::{
    CompressMethod, CompressSection, DataSection, Recipe, RecipeFile, SamplesSection, nearest, parse_toml,
};
pub use runner::{RunOptions, RunOutcome, run};
pub use shared::{Share, work};
pub use stages::TOKENIZER_FOLDER;
pub use view::RECIPE_PATH_FILE;
