//! Messages as large plugins have them, with interfaces, times and types by the hundred: a plugin
//! that gives back what it gets, without Rust types for it, and a host that sends a plugin's values
//! back to it.
//!
//! ```text
//! cargo run -p gk-wire --example shapes -- PLUGIN [COUNT]
//! ```
//!
//! Without arguments it is the plugin. The other end in Go is `tests/plugins/shapes`.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use gk_wire::gob::{Interface, Time, Value};
use gk_wire::plugin::Server;
use gk_wire::{Request, Responder, Service};
use serde::{Deserialize, Serialize};
use support::{Error, TIMEOUT, Tls};
use tokio::time::timeout;

/// A step of a workflow, whose parameters and results are of types that the workflow's engine does
/// not know.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Step {
    name: String,
    started_at: Option<Time>,
    /// A nil map and an empty one are two things to Go.
    parameters: Option<BTreeMap<String, Interface>>,
    results: Vec<Interface>,
    then: Vec<Step>,
}

struct Echo;

impl Service for Echo {
    fn call(&self, request: Request, responder: Responder) {
        match request.method.as_str() {
            "Plugin.Run" => match request.body.decode::<Step>() {
                Ok(step) => responder.reply(&step),
                Err(error) => responder.error(&error.to_string()),
            },
            method if method.starts_with("Plugin.") => responder.unknown_method(),
            _ => responder.unknown_service(),
        }
    }
}

async fn ask(program: &str, count: i64) -> Result<String, Error> {
    let (_process, client, _) = support::start(program, &[1], Tls::None).await?;
    let shapes = timeout(TIMEOUT, client.dispense("shapes")).await??;
    let step: Step = timeout(TIMEOUT, shapes.call("Plugin.Make", &count)).await??;
    let types = step.results.iter().filter_map(Interface::name).count();
    let back: Step = timeout(TIMEOUT, shapes.call("Plugin.Run", &step)).await??;
    for (sent, back) in step.results.iter().zip(&back.results) {
        if sent.value()? != back.value()? || matches!(back.value()?, Value::Nil) {
            return Err(format!("{sent:?} came back as {back:?}").into());
        }
    }
    // The plugin compares it with what it has made.
    let same: bool = timeout(TIMEOUT, shapes.call("Plugin.IsWhatWasMade", &back)).await??;
    support::quit(&client).await?;
    match same {
        true => Ok(format!("{types} types came back")),
        false => Err("the plugin got back something else than it has made".into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = |text: &String| text.parse().map_err(|_| "COUNT is no number".into());
    let done = match arguments.as_slice() {
        [] => Server::new(support::config())
            .plugin("shapes", |_| Arc::new(Echo))
            .serve()
            .await
            .map_err(Error::from),
        [program, rest @ ..] => match rest.first().map_or(Ok(300), count) {
            Ok(count) => ask(program, count).await.map(|answer| println!("{answer}")),
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shapes: {error}");
            ExitCode::FAILURE
        }
    }
}
