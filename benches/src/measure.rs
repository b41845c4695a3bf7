//! Calling from several tasks for a while, and what that gives.

use std::future::Future;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A runtime with as many threads as given; tokio's default otherwise.
pub(crate) fn runtime(threads: Option<usize>) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    Ok(builder.enable_all().build()?)
}

/// A line that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) payload_bytes: usize,
    pub(crate) callers: usize,
    pub(crate) duration: Duration,
}

/// Reads the next line; `None` at the end.
pub(crate) fn next_wanted() -> Result<Option<Wanted>> {
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut fields = line.split_whitespace();
    let mut field = || {
        fields
            .next()
            .with_context(|| format!("{line:?} is not PAYLOAD CALLERS SECONDS"))
    };
    Ok(Some(Wanted {
        payload_bytes: field()?.parse()?,
        callers: field()?.parse()?,
        duration: Duration::from_secs_f64(field()?.parse()?),
    }))
}

/// A JSON string of this many bytes: what every system sends and gets back.
pub(crate) fn payload(bytes: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; bytes.max(2)];
    if let [first, .., last] = payload.as_mut_slice() {
        (*first, *last) = (b'"', b'"');
    }
    payload
}

/// Calls from as many tasks as wanted, after a warm-up.
pub(crate) async fn measure<F, Fut>(wanted: Wanted, call: F) -> Result<Vec<Duration>>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    for _ in 0..20 {
        call().await?;
    }
    let end = Instant::now() + wanted.duration;
    let callers: Vec<_> = (0..wanted.callers)
        .map(|_| {
            let call = call.clone();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(1 << 14);
                let mut last = Instant::now();
                while last < end {
                    let start = Instant::now();
                    call().await?;
                    last = Instant::now();
                    times.push(last - start);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await??);
    }
    Ok(all)
}

/// Prints what came out, with whatever else the system has to say.
pub(crate) fn report(
    wanted: Wanted,
    mut times: Vec<Duration>,
    elapsed: Duration,
    spawn: Duration,
) -> Result<()> {
    times.sort();
    #[expect(clippy::cast_precision_loss, reason = "far fewer calls than 2^52")]
    let calls = times.len() as f64;
    print(&json!({
        "payload_bytes": wanted.payload_bytes,
        "callers": wanted.callers,
        "calls": times.len(),
        "p50_us": percentile_us(&times, 50),
        "p99_us": percentile_us(&times, 99),
        "calls_per_s": calls / elapsed.as_secs_f64(),
        "spawn_ms": spawn.as_secs_f64() * 1e3,
        "rss_kb": rss_kb()?,
    }))
}

pub(crate) fn print(line: &Value) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// Resident memory of this process.
pub(crate) fn rss_kb() -> Result<u64> {
    crate::proc::rss_kb(std::process::id())
}

/// The one in the middle.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// The figure below which so many percent of these are, which are sorted, in microseconds.
pub(crate) fn percentile_us(sorted: &[Duration], percent: usize) -> f64 {
    let time = sorted.get(sorted.len().saturating_sub(1) * percent / 100);
    time.copied().unwrap_or_default().as_secs_f64() * 1e6
}
