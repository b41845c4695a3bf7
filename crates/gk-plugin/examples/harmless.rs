//! A plugin that does all that a plugin may do, and says of each whether it works: a sandbox that
//! is too strict shows here. Its function `checks` answers an array of `{name, ok, detail}`.

use std::error::Error as StdError;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use gk_plugin::{Context, Error, Plugin};
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// What makes this program a child of the plugin.
const CHILD: &str = "--child";

type Checked = Result<String, Box<dyn StdError + Send + Sync>>;

/// What the caller of `checks` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// Fetched through the host, unless it is empty.
    url: String,
    /// `true` if the host has a database for this plugin.
    database: bool,
}

fn directory(variable: &str) -> Result<PathBuf, Box<dyn StdError + Send + Sync>> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{variable} is not set").into())
}

fn environment() -> Checked {
    let promised = [
        "GOATKIT_PLUGIN",
        "PATH",
        "HOME",
        "TMPDIR",
        "PLUGIN_UNIX_SOCKET_DIR",
    ];
    for name in promised {
        directory(name)?;
    }
    let more = ["TZ", "GOATFLOW_NO_NETWORK", "GOMEMLIMIT", "GOMAXPROCS"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let known = promised.contains(&&*name) || more.contains(&&*name);
        if !known && !name.starts_with("PLUGIN_") {
            return Err(format!("{name} was not promised").into());
        }
    }
    Ok(format!("{} variables", std::env::vars_os().count()))
}

fn files(dir: &Path) -> Checked {
    let work = dir.join(format!("harmless-{}", std::process::id()));
    fs::create_dir(&work)?;
    let (first, second) = (work.join("first"), work.join("second"));
    fs::write(&first, vec![b'x'; 1 << 20])?;
    fs::rename(&first, &second)?;
    fs::hard_link(&second, work.join("hard"))?;
    std::os::unix::fs::symlink("second", work.join("link"))?;
    let file = fs::File::options().append(true).open(&second)?;
    (&file).write_all(b"more")?;
    file.lock()?;
    file.sync_all()?;
    drop(file);
    let size = fs::metadata(work.join("link"))?.len();
    let entries = fs::read_dir(&work)?.count();
    fs::remove_dir_all(&work)?;
    if (size, entries) != ((1 << 20) + 4, 3) {
        return Err(format!("{size} bytes, {entries} entries").into());
    }
    Ok(dir.display().to_string())
}

fn devices() -> Checked {
    fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")?
        .write_all(b"gone")?;
    for path in ["/dev/zero", "/dev/urandom"] {
        fs::File::open(path)?.read_exact(&mut [0; 4096])?;
    }
    Ok("as they should be".into())
}

fn threads() -> Checked {
    let threads: Vec<_> = (0..32_u64)
        .map(|number| std::thread::Builder::new().spawn(move || number))
        .collect::<Result<_, _>>()?;
    let sum: u64 = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .sum();
    if sum != 496 {
        return Err(format!("the sum is {sum}").into());
    }
    Ok("32 threads".into())
}

fn stacks() -> Checked {
    fn deep(depth: u32) -> u32 {
        let room = [0_u8; 256];
        if depth == 0 {
            u32::from(std::hint::black_box(room)[0])
        } else {
            deep(depth - 1) + 1
        }
    }
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let depth = thread
        .spawn(|| deep(50_000))?
        .join()
        .map_err(|_| "a panic")?;
    Ok(format!("{depth} frames"))
}

fn memory() -> Checked {
    let blocks: Vec<Vec<u8>> = (0..100).map(|byte| vec![byte; 1 << 20]).collect();
    let sum: u64 = blocks.iter().map(|block| u64::from(block[4096])).sum();
    Ok(format!("100 MiB, sum {sum}"))
}

fn sockets() -> Checked {
    let (mut near, mut far) = UnixStream::pair()?;
    near.write_all(b"pair")?;
    far.read_exact(&mut [0; 4])?;
    let path = directory("TMPDIR")?.join(format!("own-{}", std::process::id()));
    let listener = UnixListener::bind(&path)?;
    let server = std::thread::spawn(move || listener.accept()?.0.write_all(b"hello"));
    let mut greeting = String::new();
    UnixStream::connect(&path)?.read_to_string(&mut greeting)?;
    server.join().map_err(|_| "a panic")??;
    fs::remove_file(&path)?;
    Ok(greeting)
}

/// This program, under the name by which it is found.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| "/proc/self/exe".into())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a plugin's own child, inside of the plugin's sandbox"
)]
fn children() -> Checked {
    let mut child = Command::new(program())
        .arg(CHILD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    stdin.write_all(b"one\ntwo\n")?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if (output.status.code(), &*output.stdout) != (Some(7), b"child: one\nchild: two\n") {
        return Err(format!("{}: {:?}", output.status, output.stdout).into());
    }
    Ok("spoken with and waited for".into())
}

async fn timers() -> Checked {
    let begun = Instant::now();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(format!("{:?}", begun.elapsed()))
}

async fn signals() -> Checked {
    let mut user = signal(SignalKind::user_defined2())?;
    kill_process(getpid(), Signal::USR2)?;
    user.recv().await.ok_or("the stream has ended")?;
    Ok("SIGUSR2".into())
}

async fn host(context: &Context, asked: &Asked) -> Vec<(&'static str, Checked)> {
    let host = context.host();
    let mut results = Vec::new();
    let time = host.time_now().await;
    results.push((
        "the host: time",
        time.map(|time| time.to_string()).map_err(Into::into),
    ));
    let cached = async {
        host.cache()
            .set("harmless", b"1", Some(Duration::from_secs(60)))
            .await?;
        host.cache().get("harmless").await
    };
    results.push((
        "the host: cache",
        cached
            .await
            .map(|value| format!("{value:?}"))
            .map_err(Into::into),
    ));
    if asked.database {
        let rows = host.db().query::<Value>("SELECT 1 AS one", ()).await;
        results.push((
            "the host: database",
            rows.map(|rows| format!("{rows:?}")).map_err(Into::into),
        ));
    }
    if !asked.url.is_empty() {
        let answer = host.http("GET", &asked.url).send().await;
        results.push((
            "the host: HTTP",
            answer
                .map(|answer| format!("{}", answer.is_success()))
                .map_err(Into::into),
        ));
    }
    results
}

/// All checks, one after the other.
async fn checks(context: Context, asked: Asked) -> Result<Value, Error> {
    let config = |key: &str| context.config(key).unwrap_or_default().to_owned();
    let (plugin_dir, work_dir) = (config("plugin_dir"), config("work_dir"));
    let quick = tokio::task::spawn_blocking(move || {
        let of = |variable| directory(variable).and_then(|dir| files(&dir));
        vec![
            ("environment", environment()),
            ("files in TMPDIR", of("TMPDIR")),
            ("files in HOME", of("HOME")),
            ("files in the work directory", files(Path::new(&work_dir))),
            (
                "its package's directory",
                fs::read_to_string(Path::new(&plugin_dir).join("plugin.yaml")).map_err(Into::into),
            ),
            (
                "stat of /",
                fs::metadata("/").map(|_| String::new()).map_err(Into::into),
            ),
            ("devices", devices()),
            ("threads", threads()),
            ("deep stacks", stacks()),
            ("100 MiB", memory()),
            ("unix sockets", sockets()),
            ("child processes", children()),
        ]
    });
    let mut results = quick.await.map_err(|error| Error::new(error.to_string()))?;
    results.push(("timers", timers().await));
    results.push(("signals to itself", signals().await));
    results.extend(host(&context, &asked).await);
    let results = results.into_iter().map(|(name, checked)| match checked {
        Ok(detail) => json!({ "name": name, "ok": true, "detail": detail }),
        Err(error) => json!({ "name": name, "ok": false, "detail": error.to_string() }),
    });
    Ok(results.collect())
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = writeln!(std::io::stdout(), "child: {line}");
        }
        return ExitCode::from(7);
    }
    Plugin::new("harmless-rust", "1.0.0")
        .function("checks", checks)
        .run()
}
