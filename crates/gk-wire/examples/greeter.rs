//! The plugin of HashiCorp's `examples/basic` in Rust: its Go host, and the `host` next to this file, can
//! start it and ask for a greeting. Started by hand it says that it is a plugin.

use std::process::ExitCode;
use std::sync::Arc;

use gk_wire::plugin::Server;
use gk_wire::{HandshakeConfig, Request, Responder, Service};

struct Greeter;

impl Service for Greeter {
    fn call(&self, request: Request, responder: Responder) {
        match request.method.as_str() {
            // The argument is a nil interface, and says nothing.
            "Plugin.Greet" => responder.reply(&"Hello!".to_owned()),
            method if method.starts_with("Plugin.") => responder.unknown_method(),
            _ => responder.unknown_service(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let config = HandshakeConfig {
        protocol_version: 1,
        cookie_key: "BASIC_PLUGIN".to_owned(),
        cookie_value: "hello".to_owned(),
    };
    let server = Server::new(config).plugin("greeter", |_| Arc::new(Greeter));
    match server.serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greeter: {error}");
            ExitCode::FAILURE
        }
    }
}
