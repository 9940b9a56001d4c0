//! The binary `danlu`: parse, resolve, one library call, render.
//!
//! It owns the command line and how things look on a terminal, and nothing else. Begin reading at `args`, then the
//! file under `commands` that bears the command's name.

mod args;
mod commands;
mod output;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, DataCommand, FeedbackCommand, RecipeCommand};

/// Compared with others in docs/log.md.
#[global_allocator]
static ALLOCATOR: danlu_memory::Allocator = danlu_memory::Allocator;

/// A request that makes no sense, found after parsing. Exit code 2.
#[derive(Debug)]
pub struct Usage {
    message: String,
    hint: String,
}

impl Usage {
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    pub fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.global.verbose);
    match set_threads(cli.global.threads).and_then(|()| dispatch(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(exit_code(&cli.command, &error))
        }
    }
}

fn exit_code(command: &Command, error: &anyhow::Error) -> u8 {
    // Whoever asks whether data has drifted must not read "yes" where nothing could be read.
    let watching = matches!(command, Command::Data(DataCommand::Watch(_)));
    let usage = error.is::<Usage>() || watching && !error.is::<commands::data::watch::Drifted>();
    if usage { 2 } else { 1 }
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    let global = &cli.global;
    match &cli.command {
        Command::Run(args) => commands::run::run(global, args),
        Command::Plan(args) => commands::plan::plan(global, args),
        Command::Tune(args) => commands::tune::tune(global, args),
        Command::Ablate(args) => commands::ablate::ablate(global, args),
        Command::Data(DataCommand::Show(args)) => commands::data::show(global, args),
        Command::Data(DataCommand::Work(args)) => commands::work::work(args),
        Command::Data(DataCommand::Sql(args)) => commands::data::sql::sql(global, args),
        Command::Data(DataCommand::Functions(args)) => commands::data::sql::functions(args.json),
        Command::Data(DataCommand::Preset { name }) => commands::data::sql::preset(name.as_deref()),
        Command::Data(DataCommand::Augment(args)) => commands::data::augment::augment(global, args),
        Command::Data(DataCommand::Train(args)) => commands::data::train::train(args),
        Command::Data(DataCommand::Report(args)) => commands::data::report::report(global, args),
        Command::Data(DataCommand::Watch(args)) => commands::data::watch::watch(global, args),
        Command::Data(DataCommand::Trace(args)) => commands::data::provenance::trace(global, args),
        Command::Data(DataCommand::Forget(args)) => commands::data::provenance::forget(global, args),
        Command::Generate(args) => commands::generate::generate(global, args),
        Command::Serve(args) => commands::serve::serve(global, args),
        Command::Eval(args) => commands::eval::eval(global, args),
        Command::Embed(args) => commands::encoder::embed(global, args),
        Command::Classify(args) => commands::encoder::classify(global, args),
        Command::Translate(args) => commands::translate::translate(global, args),
        Command::Caption(args) => commands::caption::caption(global, args),
        Command::Transcribe(args) => commands::transcribe::transcribe(global, args),
        Command::Import(args) => commands::convert::import(args),
        Command::Export(args) => commands::convert::export(global, args),
        Command::Inspect(args) => commands::convert::inspect(args),
        Command::Feedback(FeedbackCommand::Export(args)) => commands::feedback::export(global, args),
        Command::Runs(args) if args.runs.is_empty() => commands::runs::list(global, args.json),
        Command::Runs(args) => commands::runs::compare(global, args),
        Command::Show(args) => commands::runs::show(global, args),
        Command::Report(args) => commands::report::report(global, args),
        Command::Bench(args) => commands::bench::bench(global, args),
        Command::Recipe(RecipeCommand::Explain { recipe }) => commands::recipe::explain(recipe),
    }
}

fn start_logging(verbose: u8) {
    let level = ["warn", "info", "debug"][usize::from(verbose.min(2))];
    let filter = tracing_subscriber::EnvFilter::try_from_env("DANLU_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(output::fancy()).with_writer(std::io::stderr).init();
}

fn set_threads(threads: Option<usize>) -> anyhow::Result<()> {
    match threads {
        Some(0) => Err(Usage::new("--threads 0 leaves nobody to work", "leave it out to use all cores").into()),
        Some(n) => Ok(rayon::ThreadPoolBuilder::new().num_threads(n).build_global()?),
        None => Ok(()),
    }
}
