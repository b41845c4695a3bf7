//! The half of `gk test` that needs a host: the plugin is started as an operator's host starts it,
//! and everything that it offers is asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use gk_api::{Health, JobRun, Operation, PluginDetail, Stats};
use gk_manifest::Manifest;
use serde_json::json;

use super::report::{Report, Verdict};
use crate::client::{Body, Host};
use crate::failure::{Exit, Failure};
use crate::localhost::{LocalHost, LocalOptions};
use crate::terminal::Terminal;

/// Maximum time that the host takes to bring the plugin up.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls before memory is looked at, and between two looks.
const WARM_UP_CALLS: u32 = 200;
const MEMORY_CALLS: u32 = 1000;

/// Maximum growth of memory between the looks, in bytes: more than garbage that is not collected
/// yet, less than the sum of a leak of a few kilobytes a call.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Calls at the same time.
const CALLERS: usize = 32;

/// A plugin on a host of its own.
struct OnHost<'a> {
    host: &'a Host,
    name: &'a str,
    detail: PluginDetail,
    terminal: &'a Terminal,
}

/// Starts the plugin of a directory on a host of its own, and makes the checks there.
pub(super) fn on_a_host(
    dir: &Path,
    manifest: &Manifest,
    report: &mut Report,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let started = Instant::now();
    let local = LocalHost::start(LocalOptions::of_package(dir, manifest)?)?;
    let host = local.client()?;
    let name = manifest.name.as_str();
    let up = local.settled(&host, name, START_TIMEOUT)?;
    let inside = up.plugin.inside.clone().unwrap_or_default();
    if !up.plugin.loaded {
        let error = inside
            .error
            .unwrap_or_else(|| format!("it is {}", up.plugin.state));
        report.add(
            terminal,
            "comes up on a host",
            Verdict::Failed,
            error,
            started.elapsed(),
        );
        return Ok(());
    }
    report.add(
        terminal,
        "comes up on a host",
        Verdict::Passed,
        "",
        started.elapsed(),
    );
    let on_host = OnHost {
        host: &host,
        name,
        detail: up,
        terminal,
    };
    on_host.routes_are_served(report);
    on_host.routes_answer(report);
    on_host.widgets_answer(report);
    on_host.jobs_answer(report);
    // A plugin that ends or hangs would do so many times more.
    let is_well = on_host.is_well();
    if is_well {
        on_host.odd_arguments(report);
        on_host.at_the_same_time(report);
        on_host.memory(report, manifest);
    } else {
        for name in [
            "odd arguments do no harm",
            "calls at the same time",
            "memory does not grow with calls",
        ] {
            report.add(terminal, name, Verdict::NotReached, "", Duration::ZERO);
        }
    }
    on_host.still_well(report);
    on_host.stops(report);
    Ok(())
}

impl OnHost<'_> {
    fn tell(
        &self,
        report: &mut Report,
        name: &str,
        started: Instant,
        result: Result<String, String>,
    ) {
        let (verdict, detail) = match result {
            Ok(detail) => (Verdict::Passed, detail),
            Err(detail) => (Verdict::Failed, detail),
        };
        report.add(self.terminal, name, verdict, detail, started.elapsed());
    }

    fn routes_are_served(&self, report: &mut Report) {
        let refused: Vec<_> = self
            .detail
            .plugin
            .refused_routes
            .iter()
            .map(|route| format!("{} {}: {}", route.method, route.path, route.reason))
            .collect();
        let result = match refused.is_empty() {
            true => Ok(String::new()),
            false => Err(refused.join("; ")),
        };
        self.tell(report, "all routes are served", Instant::now(), result);
    }

    /// Calls each route, with 1 for each parameter. A refusal of the arguments is an answer; a
    /// failure of the plugin is not.
    fn routes_answer(&self, report: &mut Report) {
        for route in self.detail.plugin.routes.iter().flatten() {
            let started = Instant::now();
            let path: Vec<_> = route
                .path
                .split('/')
                .map(|part| {
                    if part.starts_with([':', '*']) {
                        "1"
                    } else {
                        part
                    }
                })
                .collect();
            let method = route.method.to_ascii_uppercase();
            let body = match method.as_str() {
                "POST" | "PUT" | "PATCH" => Body::Json(json!({})),
                _ => Body::Nothing,
            };
            let result = self
                .host
                .ask(&method, &path.join("/"), body)
                .map_err(|failure| failure.message().to_owned());
            let result = result.and_then(|(status, body)| judge(status, &body));
            self.tell(
                report,
                &format!("route {method} {} answers", route.path),
                started,
                result,
            );
        }
    }

    fn widgets_answer(&self, report: &mut Report) {
        for widget in self.detail.plugin.widgets.iter().flatten() {
            let started = Instant::now();
            let asked = self.host.raw(
                Operation::Widget,
                &[self.name, &widget.id],
                &[],
                Body::Nothing,
            );
            let result = asked
                .map(|_| String::new())
                .map_err(|failure| failure.message().to_owned());
            self.tell(
                report,
                &format!("widget {} answers HTML", widget.id),
                started,
                result,
            );
        }
    }

    fn jobs_answer(&self, report: &mut Report) {
        for job in self.detail.plugin.jobs.iter().flatten() {
            let started = Instant::now();
            let ran: Result<JobRun, _> =
                self.host
                    .send(Operation::RunJob, &[self.name, &job.id], &[], Body::Nothing);
            let result = ran
                .map(|_| String::new())
                .map_err(|failure| failure.message().to_owned());
            self.tell(report, &format!("job {} runs", job.id), started, result);
        }
    }

    /// All functions that are offered.
    fn handlers(&self) -> BTreeSet<&str> {
        let plugin = &self.detail.plugin;
        let routes = plugin
            .routes
            .iter()
            .flatten()
            .map(|route| route.handler.as_str());
        let widgets = plugin
            .widgets
            .iter()
            .flatten()
            .map(|widget| widget.handler.as_str());
        let jobs = plugin.jobs.iter().flatten().map(|job| job.handler.as_str());
        routes.chain(widgets).chain(jobs).collect()
    }

    /// Arguments that nobody expects: each function may refuse them, and must go on.
    fn odd_arguments(&self, report: &mut Report) {
        let started = Instant::now();
        let odd = [
            json!({}),
            json!({ "id": null, "page": "not a number", "items": { "deep": [[[]]] } }),
            json!({ "id": "x".repeat(64 * 1024), "name": "\u{202e}\u{0}'\";--<script>" }),
            json!({ "id": -9_223_372_036_854_775_808_i64, "amount": 1e308 }),
        ];
        let mut result = Ok(String::new());
        'all: for function in self.handlers() {
            for args in &odd {
                let path = format!("/api/v1/plugins/{}/call/{function}", self.name);
                let asked = self.host.ask("POST", &path, Body::Json(args.clone()));
                let asked = asked.map_err(|failure| failure.message().to_owned());
                let judged = asked.and_then(|(status, body)| match status {
                    // An error of its own is what it should answer.
                    500 => judge(400, &body).and_then(|_| panicked(&body)),
                    status => judge(status, &body),
                });
                if let Err(error) = judged {
                    result = Err(format!("{function}: {error}"));
                    break 'all;
                }
            }
        }
        self.tell(report, "odd arguments do no harm", started, result);
    }

    /// Many calls at a time, of whatever it offers that only reads.
    fn at_the_same_time(&self, report: &mut Report) {
        let started = Instant::now();
        let Some(path) = self.readable() else {
            return;
        };
        let target = self.host.target();
        let calls = (0..CALLERS).map(|_| {
            let (target, path) = (target.clone(), path.clone());
            std::thread::spawn(move || {
                let host = Host::at(target)?;
                (0..4).try_fold((), |(), _| {
                    let (status, body) = host.ask("GET", &path, Body::Nothing)?;
                    judge(status, &body).map(drop).map_err(|error| {
                        Failure::new(
                            Exit::Failed,
                            error,
                            "calls run at the same time: guard what they share",
                        )
                    })
                })
            })
        });
        let calls: Vec<_> = calls.collect();
        let failed = calls.into_iter().filter_map(|call| match call.join() {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure.message().to_owned()),
            Err(_) => Some("a caller panicked; please report this".to_owned()),
        });
        let failed: BTreeSet<_> = failed.collect();
        let result = match failed.is_empty() {
            true => Ok(format!("{} calls, {CALLERS} at a time", CALLERS * 4)),
            false => Err(failed.into_iter().collect::<Vec<_>>().join("; ")),
        };
        self.tell(report, "calls at the same time", started, result);
    }

    /// A path that only reads: a route that is asked for by GET and that answered, or a widget.
    fn readable(&self) -> Option<String> {
        let plugin = &self.detail.plugin;
        let refused = |path: &str| plugin.refused_routes.iter().any(|route| route.path == path);
        let mut routes = plugin.routes.iter().flatten().filter(|route| {
            route.method.eq_ignore_ascii_case("GET")
                && !route.path.contains([':', '*'])
                && !route.middleware.iter().any(|name| name == "customer")
                && !refused(&route.path)
        });
        let route = routes.next().map(|route| route.path.clone());
        let widget = plugin.widgets.iter().flatten().next();
        let widget = widget.map(|widget| Operation::Widget.path(&[self.name, &widget.id]));
        route.or(widget)
    }

    /// Checks that memory does not grow with calls.
    fn memory(&self, report: &mut Report, manifest: &Manifest) {
        let started = Instant::now();
        let Some(path) = self.readable() else {
            return;
        };
        let look = |calls: u32| -> Result<u64, Failure> {
            for _ in 0..calls {
                self.host.ask("GET", &path, Body::Nothing)?;
            }
            let stats: Stats = self.host.get(Operation::Stats, &[self.name], &[])?;
            Ok(stats.figures.memory_bytes)
        };
        let looked = look(WARM_UP_CALLS).and_then(|before| Ok((before, look(MEMORY_CALLS)?)));
        let result = match looked {
            Err(failure) => Err(failure.message().to_owned()),
            Ok((before, after)) => {
                let limit = manifest.resources.memory_bytes();
                let mib = |bytes: u64| bytes / (1 << 20);
                match (after.saturating_sub(before) > GROWTH_BYTES_MAX, limit) {
                    (true, _) => Err(format!(
                        "it grows with calls: {} MiB after {WARM_UP_CALLS}, {} MiB after {MEMORY_CALLS} more",
                        mib(before),
                        mib(after)
                    )),
                    (false, Some(limit)) if after > limit / 10 * 9 => Err(format!(
                        "it takes {} MiB of the {} MiB that plugin.yaml asks for; ask for more",
                        mib(after),
                        mib(limit)
                    )),
                    _ => Ok(format!("{} MiB", mib(after))),
                }
            }
        };
        self.tell(report, "memory does not grow with calls", started, result);
    }

    /// Returns `true` if it runs, in the process that came up, and no call has timed out.
    fn is_well(&self) -> bool {
        let health = self
            .host
            .get::<Health>(Operation::Health, &[self.name], &[]);
        let stats = self.host.get::<Stats>(Operation::Stats, &[self.name], &[]);
        match (health, stats) {
            (Ok(health), Ok(stats)) => {
                health.state == "running"
                    && health.generation == self.detail.plugin.generation
                    && stats.figures.p99_ms.is_none_or(|millis| millis < 5_000.0)
            }
            _ => false,
        }
    }

    fn still_well(&self, report: &mut Report) {
        let started = Instant::now();
        let looked = self
            .host
            .get::<Health>(Operation::Health, &[self.name], &[]);
        let result = match looked {
            Err(failure) => Err(failure.message().to_owned()),
            Ok(health)
                if health.state != "running"
                    || health.generation != self.detail.plugin.generation =>
            {
                let error = health
                    .last_error
                    .unwrap_or_else(|| "its process ended".to_owned());
                Err(format!(
                    "it is {} in generation {}: {error}",
                    health.state, health.generation
                ))
            }
            Ok(_) => Ok(String::new()),
        };
        self.tell(report, "is well after all that", started, result);
    }

    fn stops(&self, report: &mut Report) {
        let started = Instant::now();
        let wait = [("wait", "20s".to_owned())];
        let stopped: Result<gk_api::Outcome, _> =
            self.host
                .send(Operation::DisablePlugin, &[self.name], &wait, Body::Nothing);
        let result = match stopped {
            Ok(outcome) if outcome.outcome == gk_api::OutcomeWord::Stopped => Ok(String::new()),
            Ok(outcome) => Err(format!("it is still {:?} after 20 s", outcome.outcome)),
            Err(failure) => Err(failure.message().to_owned()),
        };
        self.tell(report, "stops when it is disabled", started, result);
    }
}

/// Judges an answer: a refusal of what was asked passes, a failure does not.
fn judge(status: u16, body: &[u8]) -> Result<String, String> {
    let text =
        String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or_default()).into_owned();
    match status {
        200..=399 => Ok(String::new()),
        401 | 403 => Ok(format!("not for an administrator ({status})")),
        400..=499 => Ok(format!("it refuses what was asked ({status})")),
        status => Err(format!("{status}: {}", text.trim())),
    }
}

/// A panic is no answer, although the SDK makes one of it.
fn panicked(body: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(body).into_owned();
    match text.contains("panic") {
        true => Err(text),
        false => Ok(String::new()),
    }
}
