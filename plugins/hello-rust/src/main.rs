//! See the library: a `main` of its own keeps the plugin testable without a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    hello_rust::plugin().run()
}
