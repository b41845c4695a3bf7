//! Says what a plugin's signature is worth, with the trusted keys of the environment.
//!
//! `GOATFLOW_TRUSTED_KEYS=<public key> cargo run -p gk-sign --example verify -- <directory>
//! <binary> [revocations]`
//!
//! The exit status is 0 only for a package that a trusted key has signed.

#![allow(clippy::print_stdout, reason = "it is what an example does")]

use std::path::Path;

use gk_sign::{Cache, Policy, Request, Requirement, TrustStore, verify};

fn main() -> std::process::ExitCode {
    match run() {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            // A refusal's text has its remedy; its source the detail.
            println!("{error}");
            let mut source = error.source();
            while let Some(error) = source {
                println!("  because: {error}");
                source = error.source();
            }
            std::process::ExitCode::FAILURE
        }
    }
}

/// Whether a trusted key has signed it.
fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(binary)) = (args.next(), args.next()) else {
        return Err("usage: verify <directory> <binary> [revocations]".into());
    };
    let mut trust = TrustStore::from_env()?;
    if let Some(revocations) = args.next() {
        trust.revoke_file(Path::new(&revocations))?;
    }
    let policy = Policy::new(trust, Requirement::from_env()?);
    let artifact = verify(&Request::new(directory, binary), &policy, &Cache::new())?;
    println!("{}", artifact.state());
    println!(
        "binary: {} bytes, SHA-256 {}",
        artifact.size(),
        artifact.digest()
    );
    if let Some(claims) = artifact.claims() {
        println!("{} {}", claims.name(), claims.version());
        println!("signed {} by {}", claims.date_text(), claims.key());
    }
    if let Some(warning) = artifact.warning() {
        println!("warning: {warning}");
    }
    Ok(artifact.key().is_some() && artifact.warning().is_none())
}
