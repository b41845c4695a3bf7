//! Schedules of jobs: whether one can ever be due, by the code that runs them.

use gk_manifest::{Diagnostic, Registration};

/// Checks the schedules of a registration, which is well-formed otherwise, and returns the
/// problems.
pub(crate) fn check(registration: &Registration) -> Vec<Diagnostic> {
    let jobs = registration.jobs.iter().enumerate();
    let problems =
        jobs.filter_map(|(number, job)| gk_jobs::check(job, &format!("jobs[{number}].")));
    problems.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_job() {
        let job = |schedule: &str, zone: &str| serde_json::json!({"id": "j", "handler": "h", "schedule": schedule, "time_zone": zone});
        let jobs = [
            job("@daily", "Europe/Berlin"),
            job("0 0 31 2 *", ""),
            job("@daily", "Mars/Olympus"),
        ];
        let registration = serde_json::json!({ "jobs": jobs });
        let problems = check(&serde_json::from_value(registration).unwrap());
        let fields: Vec<_> = problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(fields, ["jobs[1].schedule", "jobs[2].time_zone"]);
    }
}
