//! Promises of the project, compared with what was measured.

/// Bound of a figure.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    Above(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Above(limit) => value > limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit}"),
            Self::AtLeast(limit) => format!("at least {limit}"),
            Self::Above(limit) => format!("above {limit}"),
        }
    }
}

/// The promises that were looked at, each with whether it is kept.
#[derive(Debug, Default)]
pub(super) struct Promises(Vec<(bool, String)>);

impl Promises {
    /// Looks at one. What was not measured, which is no number, keeps none.
    pub(super) fn look(&mut self, name: impl AsRef<str>, value: f64, limit: Limit) {
        let text = format!("{}: {value:.2} ({})", name.as_ref(), limit.text());
        self.0.push((limit.holds(value), text));
    }

    /// Prints them, and says whether all are kept.
    pub(super) fn print(&self) -> bool {
        println!("\npromised; ratios are medians of those within each round:");
        for (kept, text) in &self.0 {
            println!("  {} {text}", if *kept { "ok  " } else { "FAIL" });
        }
        self.0.iter().all(|(kept, _)| *kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        for (limit, kept, broken) in [
            (Limit::AtMost(1.0), 1.0, 1.1),
            (Limit::AtLeast(1.0), 1.0, 0.9),
            (Limit::Above(1.0), 1.1, 1.0),
        ] {
            assert!(limit.holds(kept), "{limit:?}");
            assert!(!limit.holds(broken), "{limit:?}");
            assert!(!limit.holds(f64::NAN), "{limit:?}");
        }
    }
}
