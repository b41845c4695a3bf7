//! Tests of the crate's parts together.

mod jobs;
mod planner;
mod schedules;
