//! A host for the plugin of HashiCorp's `examples/basic`: starts it, and prints its greeting.
//!
//! ```text
//! cargo run -p gk-wire --example host -- PLUGIN [--automtls | --tls=CERT.pem]
//! ```
//!
//! Any program that serves `greeter` over net/rpc will do: go-plugin's own example, or `greeter`
//! next to this file.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod support;

use std::process::ExitCode;

use support::{Error, TIMEOUT, Tls};
use tokio::time::timeout;

async fn greet(program: &str, tls: Tls<'_>) -> Result<String, Error> {
    let (_process, client, _) = support::start(program, &[1], tls).await?;
    let greeter = timeout(TIMEOUT, client.dispense("greeter")).await??;
    let greeting = timeout(TIMEOUT, greeter.call("Plugin.Greet", &())).await??;
    support::quit(&client).await?;
    Ok(greeting)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (options, programs): (Vec<_>, Vec<_>) = arguments
        .into_iter()
        .partition(|argument| argument.starts_with("--"));
    let tls = match options.as_slice() {
        [] => Some(Tls::None),
        ["--automtls"] => Some(Tls::Auto),
        [option] => option.strip_prefix("--tls=").map(Tls::Trusting),
        _ => None,
    };
    let greeting = match (programs.as_slice(), tls) {
        ([program], Some(tls)) => greet(program, tls).await,
        _ => Err("usage: host PLUGIN [--automtls | --tls=CERT.pem]".into()),
    };
    match greeting {
        Ok(greeting) => {
            println!("{greeting}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("host: {error}");
            ExitCode::FAILURE
        }
    }
}
