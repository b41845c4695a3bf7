//! `cargo xtask run`: the sample plugins, the host, and a line to paste.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, root, run as run_command, say};
use crate::plugins;

/// Builds everything, starts the host and stays until it ends; an interrupt reaches the host by itself.
pub(crate) fn run(listen: SocketAddr, data_dir: &PathBuf) -> Result<()> {
    let plugins_dir = root().join("target/plugins");
    plugins::build(&plugins_dir)?;
    say("building the host (the first time takes some minutes)");
    run_command(cargo().args(["build", "--quiet", "--release", "--package", "gk-host"]))?;
    let data_dir = root().join(data_dir);
    let mut host = command(root().join("target/release/gk-host"))
        .arg("serve")
        .arg("--plugins-dir")
        .arg(&plugins_dir)
        .arg("--data-dir")
        .arg(&data_dir)
        .args(["--listen", &listen.to_string()])
        // The samples are this repository's own.
        .arg("--trust-declared-permissions")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gk-host")?;
    let stdout = host.stdout.take().context("gk-host has no stdout")?;
    let mut address = None;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        say(&line);
        if let Some(found) = line.strip_prefix("listening on ") {
            address = Some(found.to_owned());
        }
        // The last thing the host says of its start.
        if line.contains("plugins running")
            && let Some(address) = &address
        {
            let token = data_dir.join("admin.token");
            let token = match std::env::var_os("GK_ADMIN_TOKEN") {
                Some(_) => "$GK_ADMIN_TOKEN".to_owned(),
                None => format!("$(cat {})", token.display()),
            };
            // Who ends this program alone, by its id, leaves the host behind: so the host's id.
            say(format!(
                "try it (Ctrl-C, or kill {}, stops the host):",
                host.id()
            ));
            for plugin in ["hello-go", "hello-rust"] {
                eprintln!(
                    "  curl -H \"Authorization: Bearer {token}\" {address}/api/plugins/{plugin}/status"
                );
            }
        }
    }
    let status = host.wait()?;
    if !status.success() {
        bail!("gk-host ended with {status}");
    }
    Ok(())
}
