use crate::Problem;

/// So many records of a source are told one by one: enough to see what is wrong with it.
const TOLD: u64 = 5;

/// Tells of records of a source that could not be read: the first few, and how many there were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skipped {
    count: u64,
}

impl Skipped {
    pub(crate) fn tell(&mut self, problem: &Problem) {
        self.count += 1;
        if self.count <= TOLD {
            tracing::warn!("skipped: {problem}");
        }
    }

    /// To be called at the end of the source.
    pub(crate) fn finish(&self, source: &str) {
        if self.count > TOLD {
            tracing::warn!("skipped of the source {source}: {} records in all, {TOLD} of them named above", self.count);
        }
    }
}
