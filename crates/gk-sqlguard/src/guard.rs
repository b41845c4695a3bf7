//! A guard that remembers the statements it has seen.

use std::sync::Arc;

use moka::sync::Cache;

use crate::analyse::analyse;
use crate::analysis::Analysis;
use crate::dialect::Dialect;
use crate::limits::STATEMENT_BYTES_MAX;
use crate::refusal::Refusal;

/// The most bytes of memory that the statements and analyses of one [`Guard`] take, roughly.
pub const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The guard of one engine. It remembers the verdicts on the statements it has seen, up to
/// [`CACHE_BYTES_MAX`], and is shared between threads.
#[derive(Debug)]
pub struct Guard {
    dialect: Dialect,
    seen: Cache<Arc<str>, Result<Arc<Analysis>, Refusal>>,
}

impl Guard {
    /// A guard that has seen nothing yet.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        type Verdict = Result<Arc<Analysis>, Refusal>;
        let weigh = |text: &Arc<str>, verdict: &Verdict| {
            let verdict = verdict.as_ref().map_or(200, |analysis| analysis.weight());
            u32::try_from(text.len() + verdict + 150).unwrap_or(u32::MAX)
        };
        let seen = Cache::builder()
            .weigher(weigh)
            .max_capacity(CACHE_BYTES_MAX);
        Self {
            dialect,
            seen: seen.build(),
        }
    }

    /// Analyses a statement as [`analyse()`] does, or gives the verdict of the last time.
    ///
    /// # Errors
    ///
    /// The statement is refused, whatever is granted.
    pub fn analyse(&self, statement: &str) -> Result<Arc<Analysis>, Refusal> {
        if statement.len() > STATEMENT_BYTES_MAX {
            return Err(Refusal::large(format!(
                "it has {} bytes, {STATEMENT_BYTES_MAX} are the most",
                statement.len()
            )));
        }
        if let Some(verdict) = self.seen.get(statement) {
            return verdict;
        }
        let verdict = analyse(self.dialect, statement).map(Arc::new);
        self.seen.insert(Arc::from(statement), verdict.clone());
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_analysed_once() {
        let guard = Guard::new(Dialect::Sqlite);
        let first = guard.analyse("SELECT 1 FROM a").unwrap();
        let again = guard.analyse("SELECT 1 FROM a").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(guard.analyse("SELECT"), guard.analyse("SELECT"));
    }

    /// However many statements there are, what is remembered of them is bounded.
    #[test]
    fn memory_is_bounded() {
        let guard = Guard::new(Dialect::Sqlite);
        for index in 0..700 {
            let _ = guard.analyse(&format!(
                "SELECT '{}{index}",
                "x".repeat(STATEMENT_BYTES_MAX - 20)
            ));
        }
        guard.seen.run_pending_tasks();
        assert!(guard.seen.weighted_size() <= CACHE_BYTES_MAX);
        assert!(guard.seen.entry_count() > 100);
    }
}
