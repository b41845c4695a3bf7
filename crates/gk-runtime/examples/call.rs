//! Starts the plugins of a directory, calls one function of one of them, shows the logs, stops.
//!
//! `cargo run -p gk-runtime --example call -- <plugins dir> <plugin> <function> [json]`

#![allow(clippy::print_stdout, reason = "it is what an example does")]

use gk_runtime::{CallContext, LogQuery, Runtime, RuntimeConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(plugins_dir), Some(plugin), Some(function)) = (args.next(), args.next(), args.next())
    else {
        return Err("usage: call <plugins dir> <plugin> <function> [json]".into());
    };
    let data_dir = tempfile::tempdir()?;
    let config = RuntimeConfig::new(plugins_dir, data_dir.path(), env!("CARGO_PKG_VERSION"))
        .with_environment();
    let runtime = Runtime::start(config)?;
    runtime.settled().await;
    for status in &runtime.snapshot().plugins {
        println!(
            "{} is {}, generation {}",
            status.name, status.state, status.generation
        );
    }
    let json = args.next().unwrap_or_else(|| "{}".into());
    let answer = runtime
        .call(&plugin, &function, json.into(), CallContext::new())
        .await;
    for entry in runtime.logs(&plugin, &LogQuery::all()).unwrap_or_default() {
        println!(
            "{:5} {:8} {} {:?}",
            entry.level.as_str(),
            entry.source.as_str(),
            entry.message,
            entry.fields
        );
    }
    runtime.shutdown().await;
    println!("{}", String::from_utf8_lossy(&answer?));
    Ok(())
}
