//! `gk doctor`: whether everything works that a host is made of.

use clap::Args;
use gk_api::{Check, CheckState, Doctor, HostInfo, Operation};

use super::{ago, state};
use crate::client::{ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Check the host: plugins, sandbox, databases, cache, mail, keys.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Show only what is not as it should be.
    #[arg(long)]
    problems: bool,
}

pub(crate) fn run(
    args: &DoctorArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let info: HostInfo = host.get(Operation::HostInfo, &[], &[])?;
    let doctor: Doctor = host.get(Operation::Doctor, &[], &[])?;
    let mut all = Doctor {
        healthy: doctor.healthy,
        checks: vec![own(&host, &info)],
    };
    all.checks.extend(doctor.checks);
    if args.problems {
        all.checks
            .retain(|check| matches!(check.state, CheckState::Warning | CheckState::Failed));
    }
    terminal.document(&all, "doctor", || text(&all.checks))?;
    let failed = all
        .checks
        .iter()
        .filter(|check| check.state == CheckState::Failed)
        .count();
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(
            Exit::Failed,
            match failed {
                1 => "1 check failed".to_owned(),
                failed => format!("{failed} checks failed"),
            },
            "each says what to do",
        )),
    }
}

/// Checks that this command makes by itself.
fn own(host: &Host, info: &HostInfo) -> Check {
    let mut detail = format!(
        "version {} at {}, up for {}, asked as {} ({})",
        info.version,
        host.shown(),
        ago(info.started_at.as_deref()),
        info.login,
        info.role
    );
    let version = env!("CARGO_PKG_VERSION");
    let (state, remedy) = match (info.ready, info.version == version) {
        (false, _) => {
            detail.push_str("; it is starting or stopping");
            (CheckState::Warning, "ask again in a moment".to_owned())
        }
        (true, false) => (
            CheckState::Warning,
            format!("this gk is version {version}: use that of the host"),
        ),
        (true, true) => (CheckState::Ok, String::new()),
    };
    Check {
        name: "host".to_owned(),
        state,
        detail,
        remedy,
    }
}

fn text(checks: &[Check]) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for check in checks {
        let word = match check.state {
            CheckState::Ok => "ok",
            CheckState::Off => "off",
            CheckState::Warning => "warning",
            CheckState::Failed => "failed",
        };
        let blanks = " ".repeat("warning".len() - word.len());
        text.push_str(&format!(
            "{}{blanks}  {:<width$}  {}\n",
            state(word),
            check.name,
            check.detail
        ));
        if !check.remedy.is_empty() {
            text.push_str(&format!(
                "{:9}{:<width$}  to do: {}\n",
                "", "", check.remedy
            ));
        }
    }
    text
}
