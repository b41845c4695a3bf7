//! `gk call`: a function of a plugin, called by hand.

use std::io::Read;
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::ArgValueCompleter;
use gk_api::Operation;
use serde_json::Value;

use super::complete_plugins;
use crate::client::{Body, ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::probe::standalone;
use crate::terminal::Terminal;

/// Call a function of a plugin, and print what it answers.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The plugin; with --standalone, its directory or binary.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugin: String,
    /// Function of the plugin, as its code names it.
    #[arg(value_name = "FUNCTION")]
    function: String,
    /// Its arguments: a JSON object, @FILE, or - for stdin.
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// Call it this many times, one after the other, and say how long it took.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Start the plugin here, without a host: what needs one answers an error.
    #[arg(long)]
    standalone: bool,
}

pub(crate) fn run(
    args: &CallArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let input = input(&args.input)?;
    let (answer, mut times) = match args.standalone {
        true => standalone::call(
            args.plugin.as_ref(),
            &args.function,
            &input,
            args.repeat,
            terminal,
        )?,
        false => on_host(args, &input, &Host::new(connect)?)?,
    };
    match serde_json::from_slice::<Value>(&answer) {
        Ok(value) => terminal.document(&value, &args.function, || {
            serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
        })?,
        Err(_) => terminal.line(String::from_utf8_lossy(&answer))?,
    }
    if args.repeat > 1 {
        terminal.say(figures(&mut times));
    }
    Ok(())
}

/// Calls on a host, one after the other.
fn on_host(
    args: &CallArgs,
    input: &Value,
    host: &Host,
) -> Result<(Vec<u8>, Vec<Duration>), Failure> {
    let path = [args.plugin.as_str(), args.function.as_str()];
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    for _ in 0..args.repeat {
        let started = Instant::now();
        answer = host.raw(Operation::Call, &path, &[], Body::Json(input.clone()))?;
        times.push(started.elapsed());
    }
    Ok((answer, times))
}

/// The arguments, as they are given.
pub(crate) fn input(text: &str) -> Result<Value, Failure> {
    let mut read = String::new();
    let text = match text.strip_prefix('@') {
        Some(path) => {
            read = std::fs::read_to_string(path)
                .map_err(|error| Failure::file("read", path.as_ref(), &error))?;
            &read
        }
        None if text == "-" => {
            std::io::stdin()
                .read_to_string(&mut read)
                .map_err(|error| Failure::file("read", "stdin".as_ref(), &error))?;
            &read
        }
        None => text,
    };
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(wrong("it is JSON, but no object")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

fn wrong(why: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("the input cannot be used: {why}"),
        "write a JSON object, such as --input '{\"id\": 5}', or --input @file.json",
    )
}

/// Latency figures of repeated calls.
pub(crate) fn figures(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let of = |share: usize| {
        let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or_default()
    };
    let total: Duration = times.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "for people, to one digit")]
    let rate = times.len() as f64 / total.as_secs_f64().max(f64::MIN_POSITIVE);
    format!(
        "{} calls: p50 {:.2?}, p90 {:.2?}, p99 {:.2?}, max {:.2?}; {rate:.0} calls/s",
        times.len(),
        of(50),
        of(90),
        of(99),
        of(100),
    )
}
