//! The plugin is in lib.rs: there it can be tested without a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    {{lib}}::plugin().run()
}
