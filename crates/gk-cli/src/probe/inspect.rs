//! `gk inspect`: what a binary says of itself, in a sandbox.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gk_manifest::Registration;
use gk_protocol::SdkGeneration;
use serde::Serialize;

use super::process::{Process, Starter, Subject, chain};
use super::stub::Stub;
use crate::failure::{Exit, Failure};
use crate::operate::permission;
use crate::terminal::{BOLD, Terminal, WARN, styled};

/// How long each step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Start a binary in a sandbox, and show its handshake, what it registers and what it asks for.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The binary.
    #[arg(value_name = "BINARY")]
    binary: PathBuf,
    /// Do not confine it: for a binary of your own, where no sandbox can be made.
    #[arg(long)]
    unconfined: bool,
}

#[derive(Serialize)]
struct Inspected {
    binary: PathBuf,
    handshake: String,
    core_protocol_version: u32,
    app_protocol_version: u32,
    /// `1`, or `2 or 3`: the later ones differ only in what they ask of a host.
    sdk_generation: &'static str,
    registration: Registration,
    /// Problems of the registration.
    findings: Vec<String>,
}

/// A binary as the subject of a probe.
pub(crate) fn subject(binary: &Path) -> Result<Subject, Failure> {
    let absolute = binary
        .canonicalize()
        .map_err(|error| Failure::file("read", binary, &error))?;
    if absolute.is_dir() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} is a directory", binary.display()),
            "name the binary in it",
        ));
    }
    let name = absolute
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let package = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Subject {
        binary: absolute,
        package,
        name,
    })
}

pub(crate) fn run(args: &InspectArgs, terminal: &Terminal) -> Result<(), Failure> {
    let subject = subject(&args.binary)?;
    let starter = match args.unconfined {
        true => Starter::plain()?,
        false => Starter::confined()?,
    };
    let runtime = crate::client::runtime()?;
    let inspected = runtime
        .block_on(inspect(&subject, &starter))
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{}: {error}", args.binary.display()),
                "gk test says more; a plugin is built with the SDK, for this machine",
            )
        })?;
    let name = inspected.registration.name.clone();
    terminal.document(&inspected, &name, || text(&inspected))
}

async fn inspect(subject: &Subject, starter: &Starter) -> Result<Inspected, String> {
    let mut process: Process = starter.start(subject, true)?;
    let (handshake, line) = process.handshake(STEP_TIMEOUT).await?;
    let connection = process
        .connect(&handshake, Arc::new(Stub::default()), STEP_TIMEOUT)
        .await?;
    let registered = tokio::time::timeout(STEP_TIMEOUT, connection.register_as()).await;
    let registered = registered.map_err(|_| "GKRegister does not answer".to_owned())?;
    let (registration, generation) = registered.map_err(|error| chain(&error))?;
    let _ = tokio::time::timeout(STEP_TIMEOUT, connection.quit()).await;
    process.kill();
    Ok(Inspected {
        binary: subject.binary.clone(),
        handshake: line,
        core_protocol_version: gk_wire::handshake::CORE_PROTOCOL_VERSION,
        app_protocol_version: handshake.app_version,
        sdk_generation: match generation {
            Some(SdkGeneration::G1) => "1",
            _ => "2 or 3",
        },
        findings: registration
            .validate()
            .iter()
            .map(ToString::to_string)
            .collect(),
        registration,
    })
}

fn text(inspected: &Inspected) -> String {
    let registration = &inspected.registration;
    let mut text = String::new();
    let mut line = |heading: &str, value: &str| {
        if !value.is_empty() {
            let heading = if heading.is_empty() {
                String::new()
            } else {
                format!("{heading}:")
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "{heading:<12} {value}");
        }
    };
    line(
        "Plugin",
        &format!(
            "{} {}",
            styled(BOLD, &registration.name),
            registration.version
        ),
    );
    line("About", &registration.description);
    line("Author", &registration.author);
    line("License", &registration.license);
    line("Handshake", &inspected.handshake);
    line("SDK", &format!("generation {}", inspected.sdk_generation));
    for (number, route) in registration.routes.iter().enumerate() {
        let access = match route.middleware.as_slice() {
            [] => "anybody".to_owned(),
            middleware => middleware.join(", "),
        };
        let heading = if number == 0 { "Routes" } else { "" };
        line(
            heading,
            &format!(
                "{:<6} {} ({access}) → {}",
                route.method, route.path, route.handler
            ),
        );
    }
    for (number, widget) in registration.widgets.iter().enumerate() {
        let heading = if number == 0 { "Widgets" } else { "" };
        line(
            heading,
            &format!(
                "{} {:?} at {} → {}",
                widget.id, widget.title, widget.location, widget.handler
            ),
        );
    }
    for (number, job) in registration.jobs.iter().enumerate() {
        let heading = if number == 0 { "Jobs" } else { "" };
        line(
            heading,
            &format!("{} {} → {}", job.id, job.schedule, job.handler),
        );
    }
    let asks = registration
        .resources
        .iter()
        .flat_map(|resources| &resources.permissions);
    let asks: Vec<_> = asks.map(permission).collect();
    for (number, asked) in asks.iter().enumerate() {
        line(if number == 0 { "Asks for" } else { "" }, asked);
    }
    if asks.is_empty() {
        line("Asks for", "nothing here; plugin.yaml may ask for more");
    }
    for finding in &inspected.findings {
        line(&styled(WARN, "Finding"), finding);
    }
    text
}
