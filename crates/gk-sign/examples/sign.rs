//! Signs a plugin's package: `plugin.sig`, and with `--v1` first `<binary>.sig` for hosts that know
//! only that.
//!
//! `(umask 077; cargo run -p gk-sign --example sign -- keys > my.keys)`
//! `cargo run -p gk-sign --example sign -- <key file> <directory> <name> <version> <binary> [--v1]`
//!
//! The key file has the private key (128 digits) in its first line.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is what an example does"
)]

use std::time::SystemTime;

use gk_sign::{PackageToSign, SecretKey, sign_binary, sign_package};

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                text.push_str(&format!(": {error}"));
                source = error.source();
            }
            eprintln!("sign: {text}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (what, v1) = match args.as_slice() {
        ["keys"] => {
            let key = SecretKey::generate()?;
            println!("{}", *key.to_hex());
            println!("# public: {}", key.public().to_hex());
            println!("# key id: {}", key.public().id());
            return Ok(());
        }
        [what @ .., "--v1"] => (what, true),
        what => (what, false),
    };
    let &[key_file, directory, name, version, binary] = what else {
        return Err(
            "usage: sign keys | sign <key file> <directory> <name> <version> <binary> [--v1]"
                .into(),
        );
    };
    // A host refuses a package whose manifest says something else than its signature.
    let manifest = std::path::Path::new(directory).join("plugin.yaml");
    let manifest = std::fs::read_to_string(&manifest)
        .map_err(|error| format!("{} cannot be read: {error}", manifest.display()))?;
    for (key, signed) in [("name", name), ("version", version), ("binary", binary)] {
        if let Some(written) = value(&manifest, key).filter(|written| *written != signed) {
            return Err(format!(
                "plugin.yaml says {key}: {written}, and {signed} was to be signed; correct one of them"
            )
            .into());
        }
    }
    let text = std::fs::read_to_string(key_file)
        .map_err(|error| format!("the key file {key_file} cannot be read: {error}"))?;
    let text = zeroize::Zeroizing::new(text);
    let key = SecretKey::from_hex(text.lines().next().unwrap_or_default())
        .map_err(|error| format!("{key_file}, line 1: {error}"))?;
    if v1 {
        let signature = sign_binary(&key, &std::path::Path::new(directory).join(binary))?;
        println!("{binary}.sig: {}", signature.to_hex());
    }
    let claims = sign_package(
        &key,
        &PackageToSign {
            directory: directory.into(),
            name: name.into(),
            version: version.into(),
            manifest: "plugin.yaml".into(),
            binary: binary.into(),
            date: SystemTime::now(),
        },
    )?;
    println!(
        "{} {} of {}: {} files, signed by {}",
        claims.name(),
        claims.version(),
        claims.date_text(),
        claims.files().len(),
        claims.key()
    );
    Ok(())
}

/// The value of a key at the top of a manifest that is written plainly.
fn value<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    let line = manifest.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?;
        rest.trim_start().strip_prefix(':')
    })?;
    let value = line.split(" #").next().unwrap_or_default();
    let value = value.trim().trim_matches(['"', '\'']);
    Some(value.trim_start_matches("./"))
}
