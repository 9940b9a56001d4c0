/// How far a long piece of work has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is being done, such as "clean".
    pub label: &'a str,
    pub done: u64,
    /// `None` when the end is not known beforehand.
    pub total: Option<u64>,
    /// What `done` counts: "bytes" (of the file being read) or "documents".
    pub unit: &'static str,
}

/// Told how far the work has come; called every few megabytes, from any thread.
pub type ProgressFn<'a> = dyn Fn(Progress<'_>) + Sync + 'a;
