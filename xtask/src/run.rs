//! `cargo xtask run`: the sample plugins, lines to paste, and the host.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{cargo, command, root, run as run_command, say};
use crate::plugins;

/// Builds everything and becomes the host: whoever ends this process, by a signal or by its id,
/// ends the host.
pub(crate) fn run(listen: SocketAddr, data_dir: &PathBuf) -> Result<()> {
    let plugins_dir = root().join("target/plugins");
    plugins::build(&plugins_dir)?;
    say("building the host (the first time takes some minutes)");
    run_command(cargo().args(["build", "--quiet", "--release", "--package", "gk-host"]))?;
    let data_dir = root().join(data_dir);
    let token = match std::env::var_os("GK_ADMIN_TOKEN") {
        Some(_) => "$GK_ADMIN_TOKEN".to_owned(),
        None => format!("$(cat {})", data_dir.join("admin.token").display()),
    };
    let address = match listen.port() {
        0 => "http://ADDRESS".to_owned(),
        _ => format!("http://{listen}"),
    };
    say(format!(
        "starting the host; Ctrl-C, or kill {}, stops it; once its plugins are running, try:",
        std::process::id()
    ));
    for plugin in ["hello-go", "hello-rust"] {
        eprintln!(
            "  curl -H \"Authorization: Bearer {token}\" {address}/api/plugins/{plugin}/status"
        );
    }
    let mut host = command(root().join("target/release/gk-host"));
    host.arg("serve")
        .arg("--plugins-dir")
        .arg(&plugins_dir)
        .arg("--data-dir")
        .arg(&data_dir)
        .args(["--listen", &listen.to_string()])
        // The samples are this repository's own.
        .arg("--trust-declared-permissions");
    // Returns only if it fails.
    Err(host.exec()).context("cannot start gk-host")
}
