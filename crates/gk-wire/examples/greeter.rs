//! The plugin of HashiCorp's `examples/basic` in Rust: its Go host, and the `host` next to this
//! file, can start it and ask for a greeting. Started by hand it says that it is a plugin.
//!
//! With `GREETER_TLS=CERT.pem:KEY.pem` it serves under that certificate, which its host must
//! expect.

use std::process::ExitCode;
use std::sync::Arc;

use gk_wire::plugin::Server;
use gk_wire::{HandshakeConfig, Request, Responder, Service};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

fn tls(files: &str) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
    let (cert, key) = files.split_once(':').ok_or("no CERT.pem:KEY.pem")?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(cert)?],
            PrivateKeyDer::from_pem_file(key)?,
        )?;
    Ok(Arc::new(config))
}

#[tokio::main]
async fn main() -> ExitCode {
    let config = HandshakeConfig {
        protocol_version: 1,
        cookie_key: "BASIC_PLUGIN".to_owned(),
        cookie_value: "hello".to_owned(),
    };
    let mut server = Server::new(config).plugin("greeter", |_| Arc::new(Greeter));
    if let Ok(files) = std::env::var("GREETER_TLS") {
        server = server.tls_provider(move || tls(&files));
    }
    match server.serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greeter: {error}");
            ExitCode::FAILURE
        }
    }
}
