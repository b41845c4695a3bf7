//! The key-value store of HashiCorp's `examples/grpc` and `examples/negotiated`, over net/rpc: the
//! plugin, in two versions of its protocol, and the host.
//!
//! ```text
//! cargo run -p gk-wire --example kv -- PLUGIN put KEY VALUE
//! cargo run -p gk-wire --example kv -- PLUGIN get KEY
//! ```
//!
//! Without arguments it is the plugin, as which its own binary and go-plugin's hosts can start it.
//! `Put` takes a `map[string]interface{}`, whose values are interfaces with names of their types.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use gk_wire::gob::{Interface, Payload};
use gk_wire::plugin::Server;
use gk_wire::{Request, Responder, Service};
use support::{Error, TIMEOUT, Tls};
use tokio::time::timeout;

/// Keeps each value in a file, as the examples do.
struct Kv {
    version: u32,
}

impl Kv {
    fn put(&self, request: &Request) -> Result<(), Error> {
        let mut arguments: HashMap<String, Interface> = request.body.decode()?;
        let mut argument = |name: &str| arguments.remove(name).unwrap_or_default();
        let (key, value): (String, Payload) =
            (argument("key").decode()?, argument("value").decode()?);
        let note = format!("\n\nWritten from gk-wire, version {}\n", self.version);
        let value = [&value.0[..], note.as_bytes()].concat();
        Ok(std::fs::write(file(&key)?, value)?)
    }

    fn get(&self, request: &Request) -> Result<Payload, Error> {
        let key: String = request.body.decode()?;
        Ok(Payload(std::fs::read(file(&key)?)?.into()))
    }
}

fn file(key: &str) -> Result<PathBuf, Error> {
    match key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(format!("kv_{key}").into()),
        false => Err(format!("{key:?} is no key: use letters and digits").into()),
    }
}

impl Service for Kv {
    fn call(&self, request: Request, responder: Responder) {
        match request.method.as_str() {
            "Plugin.Put" => match self.put(&request) {
                // Go's side expects an interface, and looks at none.
                Ok(()) => responder.reply(&Interface::nil()),
                Err(error) => responder.error(&error.to_string()),
            },
            "Plugin.Get" => match self.get(&request) {
                Ok(value) => responder.reply(&value),
                Err(error) => responder.error(&error.to_string()),
            },
            method if method.starts_with("Plugin.") => responder.unknown_method(),
            _ => responder.unknown_service(),
        }
    }
}

async fn serve() -> Result<(), Error> {
    let server = [1, 2]
        .into_iter()
        .fold(Server::new(support::config()), |server, version| {
            server.versioned_plugin(version, "kv", move |_| Arc::new(Kv { version }))
        });
    Ok(server.serve().await?)
}

async fn ask(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let (_process, client, version) = support::start(program, &[1, 2], Tls::None).await?;
    let kv = timeout(TIMEOUT, client.dispense("kv")).await??;
    let answer = match arguments {
        ["put", key, value] => {
            let value = Payload(value.as_bytes().to_vec().into());
            let arguments: HashMap<String, Interface> = [
                ("key".to_owned(), (*key).into()),
                ("value".to_owned(), value.into()),
            ]
            .into();
            let Interface { .. } = timeout(TIMEOUT, kv.call("Plugin.Put", &arguments)).await??;
            format!("put by version {version}")
        }
        ["get", key] => {
            let value: Payload =
                timeout(TIMEOUT, kv.call("Plugin.Get", &(*key).to_owned())).await??;
            String::from_utf8_lossy(&value.0).into_owned()
        }
        _ => return Err("usage: kv PLUGIN put KEY VALUE, or kv PLUGIN get KEY".into()),
    };
    support::quit(&client).await?;
    Ok(answer)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [] => serve().await,
        [program, rest @ ..] => ask(program, rest).await.map(|answer| println!("{answer}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}
