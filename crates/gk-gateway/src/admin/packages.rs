//! Installing and removing plugins.

use std::path::Path as FilePath;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use gk_api::{
    Change, Changes, FileChange, InstallReport, InstallStep, OutcomeWord, PackageSignature,
    UninstallReport,
};
use gk_hostapi::HostError;
use gk_hostapi::policy::{Policy, missing};
use gk_manifest::{GoDuration, Permission, PluginName};
use gk_runtime::{FileChange as Differs, InstallError, Judged, Runtime};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::Answer;
use super::control::{answered, refused, shown, wait};
use crate::auth::{self, Middleware};
use crate::extract::{Path, Query};
use crate::gateway::Gateway;
use crate::problem::Problem;

/// Maximum size of a package in bytes, packed and unpacked.
const PACKAGE_BYTES_MAX: u64 = gk_runtime::PACKAGE_BYTES_MAX;

/// Maximum time between two pieces of a package from the client.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// Default of the maximum time for a plugin to come up, or to end.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// Maximum number of files that a report names.
const FILES_SHOWN_MAX: usize = 100;

/// Name of the form field that holds a package.
const FIELD: &str = "plugin";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallQuery {
    #[serde(default)]
    dry_run: bool,
    wait: Option<GoDuration>,
    #[serde(default)]
    keep_failed: bool,
}

/// Installs a package, or reports the changes that it would make.
pub(crate) async fn install(
    State(gateway): State<Gateway>,
    Query(query): Query<InstallQuery>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    auth::require(gateway.caller_of(&parts)?.as_ref(), &[Middleware::Admin])?;
    let staging = blocking(&gateway, |runtime| runtime.stage()).await?;
    receive(&parts, body, &staging.archive()).await?;
    let judged = blocking(&gateway, |runtime| runtime.judge(staging)).await?;
    let mut report = report(&gateway, &judged);
    if query.dry_run {
        return Ok(Json(report).into_response());
    }
    let name = judged.manifest.name.clone();
    let snapshot = gateway.inner.runtime.snapshot();
    let runs = snapshot
        .get(name.as_str())
        .filter(|status| status.is_running());
    if let (InstallStep::Same, Some(status)) = (report.step, runs) {
        let outcome = gk_runtime::Outcome::Serving(status.generation);
        report.outcome = Some(answered(&gateway, name.as_str(), outcome, false).1);
        return Ok(Json(report).into_response());
    }
    let before = shown(&gateway, name.as_str());
    let ongoing = gateway
        .begin(&parts, Change::Install, name.as_str(), before)
        .await?;
    let patience = query.wait.map_or(WAIT_DEFAULT, wait);
    let was_installed = judged.is_installed;
    let runtime = &gateway.inner.runtime;
    let installed = match runtime.install(judged, patience, query.keep_failed).await {
        Ok(installed) => installed,
        Err(error) => return ongoing.failed(problem(&error)).await,
    };
    gateway.refresh();
    let is_up = !matches!(
        installed.outcome,
        gk_runtime::Outcome::Failed { .. } | gk_runtime::Outcome::Waiting { .. }
    );
    let (_, mut outcome) = answered(&gateway, name.as_str(), installed.outcome, false);
    if outcome.outcome == OutcomeWord::Stopped {
        outcome.error = Some(
            "it is installed and does not run: it is disabled, or its policy blocks it".to_owned(),
        );
    }
    report.step = match (installed.is_rolled_back, was_installed) {
        (true, _) => InstallStep::RolledBack,
        (false, true) => InstallStep::Replaced,
        (false, false) => InstallStep::Installed,
    };
    let error = outcome.error.clone().filter(|_| !is_up);
    let after = json!({
        "version": report.version,
        "digest": report.digest,
        "signature": report.signature.state,
        "signing_key": report.signature.key,
        "step": report.step,
        "plugin": shown(&gateway, name.as_str()),
    });
    ongoing.end(after, error).await;
    report.outcome = Some(outcome);
    let status = match is_up {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    Ok((status, Json(report)).into_response())
}

/// Writes a package to a file as it arrives.
async fn receive(parts: &Parts, body: Body, path: &FilePath) -> Result<(), Problem> {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => full(),
        _ => {
            tracing::error!(%error, "a package cannot be written");
            Problem::internal("the package cannot be written; the host's log says why")
        }
    };
    let mut file = File::create_new(path)
        .await
        .map_err(|error| failed(&error))?;
    let mut written = 0;
    if let Ok(boundary) = multer::parse_boundary(content_type) {
        let mut form = multer::Multipart::new(body.into_data_stream(), boundary);
        let unread = |error: multer::Error| {
            Problem::bad_request(format!("the form cannot be read: {error}"))
        };
        loop {
            let field = in_time(form.next_field()).await?.map_err(unread)?;
            let Some(mut field) = field else {
                return Err(Problem::bad_request(format!(
                    "the form has no field {FIELD:?}: send the package as that, or as the body"
                )));
            };
            if field.name() != Some(FIELD) {
                continue;
            }
            while let Some(chunk) = in_time(field.chunk()).await?.map_err(unread)? {
                grow(&mut written, chunk.len())?;
                file.write_all(&chunk)
                    .await
                    .map_err(|error| failed(&error))?;
            }
            break;
        }
    } else {
        let mut body = body;
        while let Some(frame) = in_time(body.frame()).await? {
            let frame = frame.map_err(|_| {
                Problem::bad_request("the package did not arrive whole; send it again")
            })?;
            if let Ok(chunk) = frame.into_data() {
                grow(&mut written, chunk.len())?;
                file.write_all(&chunk)
                    .await
                    .map_err(|error| failed(&error))?;
            }
        }
    }
    if written == 0 {
        return Err(Problem::bad_request(
            "there is no package: send a ZIP file as the body, as with curl --data-binary @FILE.zip",
        ));
    }
    file.flush().await.map_err(|error| failed(&error))
}

async fn in_time<T>(next: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(CHUNK_TIMEOUT, next)
        .await
        .map_err(|_| {
            let text = format!(
                "nothing of the package has come for {} s; send it again",
                CHUNK_TIMEOUT.as_secs()
            );
            Problem::new(StatusCode::REQUEST_TIMEOUT, text)
        })
}

fn grow(written: &mut u64, more: usize) -> Result<(), Problem> {
    *written = written.saturating_add(more as u64);
    match *written <= PACKAGE_BYTES_MAX {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the package has more than {} MiB; leave out what the plugin does not need",
                PACKAGE_BYTES_MAX >> 20
            ),
        )),
    }
}

fn full() -> Problem {
    let text = "there is no room for the package on the disk of the plugins directory; make some, and send it again";
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, text)
}

fn broken(error: &tokio::task::JoinError) -> Problem {
    tracing::error!(%error, "an installation failed; please report this");
    Problem::internal("the installation failed; the host's log says why")
}

async fn blocking<T: Send + 'static>(
    gateway: &Gateway,
    work: impl FnOnce(&Runtime) -> Result<T, InstallError> + Send + 'static,
) -> Result<T, Problem> {
    let runtime = gateway.inner.runtime.clone();
    match tokio::task::spawn_blocking(move || work(&runtime)).await {
        Ok(done) => done.map_err(|error| problem(&error)),
        Err(error) => Err(broken(&error)),
    }
}

/// Converts the error of an installation or removal.
fn problem(error: &InstallError) -> Problem {
    let status = match error {
        _ if error.is_full() => return full(),
        InstallError::Control(error) => return refused("", error),
        InstallError::Signature(_) => StatusCode::FORBIDDEN,
        InstallError::Busy { .. } | InstallError::Occupied { .. } => StatusCode::CONFLICT,
        InstallError::Io { .. } => {
            tracing::error!(%error, "a package cannot be installed or removed");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, error.to_string())
}

/// Reports the content of a package, and the changes it would make.
fn report(gateway: &Gateway, judged: &Judged) -> InstallReport {
    let manifest = &judged.manifest;
    let requested = Policy::of_request(&manifest.resources).permissions;
    let step = match (judged.is_installed, judged.changes.is_empty()) {
        (false, _) => InstallStep::WouldInstall,
        (true, false) => InstallStep::WouldReplace,
        (true, true) => InstallStep::Same,
    };
    let shown = judged.changes.iter().take(FILES_SHOWN_MAX);
    let files = shown.map(|(path, change)| FileChange {
        path: path.clone(),
        change: match change {
            Differs::Added => "added",
            Differs::Changed => "changed",
            Differs::Removed => "removed",
        }
        .to_owned(),
    });
    InstallReport {
        name: manifest.name.to_string(),
        version: manifest.version.clone(),
        installed_version: judged.installed_version.clone(),
        digest: judged.digest.to_string(),
        step,
        signature: PackageSignature {
            state: judged.signature.state.as_str().to_owned(),
            key: judged.signature.key.map(|key| key.to_string()),
            date: judged.signed_at.and_then(crate::rfc3339::rfc3339),
            warning: judged.signature_warning.clone(),
        },
        not_granted: not_granted(gateway, &manifest.name, &requested),
        requested,
        changes: Changes {
            files: files.collect(),
            count: judged.changes.len(),
        },
        warnings: judged.warnings.iter().map(ToString::to_string).collect(),
        outcome: None,
        directory: judged.directory.to_string_lossy().into_owned(),
    }
}

/// Returns the requested permissions that are not granted, by the stored policy or by the default.
fn not_granted(
    gateway: &Gateway,
    plugin: &PluginName,
    requested: &[Permission],
) -> Vec<Permission> {
    let Some(host) = &gateway.inner.host_api else {
        return Vec::new();
    };
    let granted = host.policies().would_grant(plugin, requested);
    missing(requested, &granted)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UninstallQuery {
    keep_data: Option<bool>,
}

/// Stops a plugin and removes its package; with `keep_data=false` also its data.
pub(crate) async fn uninstall(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<UninstallQuery>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    auth::require(gateway.caller_of(&parts)?.as_ref(), &[Middleware::Admin])?;
    let removes_data = query.keep_data == Some(false);
    let name = PluginName::new(&*plugin).map_err(|_| Problem::no_plugin(&plugin))?;
    let mut before = shown(&gateway, &plugin);
    if before.is_null() {
        return Err(Problem::no_plugin(&plugin));
    }
    before["keep_data"] = Value::Bool(!removes_data);
    let ongoing = gateway
        .begin(&parts, Change::Uninstall, &plugin, before)
        .await?;
    let report = match remove(&gateway, &name, removes_data).await {
        Ok(report) => report,
        Err(problem) => return ongoing.failed(problem).await,
    };
    gateway.refresh();
    let after = json!({ "removed": report.removed, "kept": report.kept });
    ongoing.end(after, None).await;
    Ok(Json(report).into_response())
}

async fn remove(
    gateway: &Gateway,
    plugin: &PluginName,
    removes_data: bool,
) -> Result<UninstallReport, Problem> {
    let runtime = &gateway.inner.runtime;
    let removed = runtime.uninstall(plugin.as_str(), removes_data, WAIT_DEFAULT);
    let removed = removed.await.map_err(|error| match &error {
        InstallError::Control(control) => refused(plugin.as_str(), control),
        _ => problem(&error),
    })?;
    // Relative paths would mean nothing to the client.
    let paths = removed.removed.into_iter();
    let paths = paths.map(|path| std::path::absolute(&path).unwrap_or(path));
    let mut report = UninstallReport {
        name: plugin.to_string(),
        version: removed.version,
        removed: paths
            .map(|path| path.to_string_lossy().into_owned())
            .collect(),
        kept: Vec::new(),
        message: "plugin uninstalled".to_owned(),
    };
    if let Some(other) = removed.replaced_by {
        report.kept.push(format!(
            "{}, which holds a plugin of the same name, and its data",
            other.display()
        ));
        return Ok(report);
    }
    let Some(host) = &gateway.inner.host_api else {
        return Ok(report);
    };
    if !removes_data {
        let kept = [
            "work directory",
            "files",
            "keys and values",
            "secrets",
            "jobs",
            "policy",
        ];
        report.kept.extend(kept.map(str::to_owned));
    } else {
        let mut done = match &gateway.inner.services {
            Some(services) => services.erase(plugin).await,
            None => Vec::new(),
        };
        if let Some(jobs) = &gateway.inner.jobs {
            let cleared = jobs.clear(plugin).await;
            let cleared = cleared.map_err(|error| HostError::unavailable(error.to_string()));
            done.push(("jobs", cleared));
        }
        done.push(("policy", host.policies().reset(plugin).await.map(drop)));
        for (what, done) in done {
            match done {
                Ok(()) => report.removed.push(what.to_owned()),
                Err(error) => {
                    tracing::error!(%plugin, %error, "{what} of a plugin that was removed stay");
                    report.kept.push(format!("{what}: {error}"));
                }
            }
        }
    }
    report.kept.push("tables in databases".to_owned());
    Ok(report)
}
