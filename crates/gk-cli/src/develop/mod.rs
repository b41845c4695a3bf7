//! Commands of an author while a plugin is being written: it runs on a host of its own, and is
//! built anew on every save, or waits for a debugger.

pub(crate) mod debug;
pub(crate) mod dev;
mod sources;

use std::sync::mpsc::Sender;

use gk_api::{LogEntry, Operation, PluginDetail};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{Host, runtime};
use crate::failure::{Exit, Failure};
use crate::localhost::{self, LocalHost};
use crate::operate::logs;
use crate::terminal::{DIM, Terminal, styled};

/// Message at the end of the command.
const INTERRUPTED: &str = "Interrupted; the host stops. Interrupt again to kill it.";

/// Sends `event` when the user, or the system, wants the command to end; at the second time the
/// host is killed.
fn on_interrupt<T: Send + 'static>(event: T, sender: Sender<T>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("signals cannot be listened to: {error}"),
            "please report this",
        )
    };
    let runtime = runtime()?;
    let inside = runtime.enter();
    let listen = |kind| signal(kind).map_err(failed);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    drop(inside);
    std::thread::spawn(move || {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        };
        runtime.block_on(async {
            next().await;
            // Nobody receives it if the command ends anyway.
            let _ = sender.send(event);
            next().await;
        });
        localhost::abort()
    });
    Ok(())
}

/// Prints what the plugin logs and prints, until the host ends.
fn follow(client: &Host, plugin: &str, terminal: &Terminal) {
    let query = [("follow", "true".to_owned())];
    let followed = client.follow(Operation::Logs, &[plugin], &query, |event| {
        if event.kind == "log"
            && let Ok(entry) = serde_json::from_str::<LogEntry>(&event.data)
        {
            logs::print(&entry, terminal)?;
        }
        Ok(true)
    });
    if let Err(failure) = followed
        && failure.exit() != Exit::Unreachable
    {
        terminal.failure(&failure);
    }
}

/// A link to each route, and how to ask for one.
fn routes(host: &LocalHost, detail: &PluginDetail) -> Result<String, Failure> {
    let (url, socket) = (host.url()?, host.socket());
    let mut lines = Vec::new();
    let routes: Vec<_> = detail.plugin.routes.iter().flatten().collect();
    for route in &routes {
        let access = match route.middleware.as_slice() {
            [] => String::new(),
            names => format!(" ({})", names.join(", ")),
        };
        lines.push(format!(
            "  {:<6} {url}{}{}",
            route.method,
            route.path,
            styled(DIM, access)
        ));
    }
    for refused in &detail.plugin.refused_routes {
        lines.push(format!(
            "  {:<6} {} is not served: {}",
            refused.method, refused.path, refused.reason
        ));
    }
    if let Some(route) = routes
        .iter()
        .find(|route| route.method == "GET")
        .or(routes.first())
    {
        let method = match route.method.as_str() {
            "GET" => String::new(),
            method => format!("-X {method} "),
        };
        lines.push("Ask without a token, by the host's local socket:".to_owned());
        lines.push(format!(
            "  curl {method}--unix-socket {} http://localhost{}",
            socket.display(),
            route.path
        ));
        lines.push(format!(
            "The token for {url}: {}",
            host.token_file().display()
        ));
    }
    lines.push(format!(
        "Other commands: gk --url unix:{} …",
        socket.display()
    ));
    Ok(lines.join("\n"))
}
