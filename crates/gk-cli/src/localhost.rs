//! A host of one's own: `gk-host` in temporary directories, spoken with by its local socket.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gk_api::{Operation, PluginDetail};
use gk_manifest::Manifest;
use gk_package::Selection;
use gk_sandbox::{Child, ExitStatus, SandboxSpec, Spawner};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::client::Host;
use crate::client::context::{Place, Target};
use crate::failure::{Exit, Failure};
use crate::trust::selection::selected;

/// Names another program than the `gk-host` beside this one, or on PATH.
const VARIABLE: &str = "GK_HOST";

/// Maximum time that the host takes to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum time that the host takes to end: more than the 25 s that it gives itself.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The exit code of a program that an interrupt ends, as shells have it.
const INTERRUPTED: i32 = 130;

const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Options of a host that is started.
#[derive(Debug)]
pub(crate) struct LocalOptions {
    /// Address beside the local socket.
    pub(crate) listen: Option<String>,
    /// The rest of its configuration, TOML.
    pub(crate) config: String,
    /// Directories of the host, with the package that it is to have.
    dirs: TempDir,
}

impl LocalOptions {
    /// A host with a copy of one package, which is granted what it declares.
    ///
    /// # Errors
    /// The package cannot be copied; or there is no room for it.
    pub(crate) fn of_package(directory: &Path, manifest: &Manifest) -> Result<Self, Failure> {
        let selection = selected(directory)?;
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Failed,
                format!("the package cannot be copied: {error}"),
                "check the file, and the disk of the temporary directory",
            )
        };
        let mode = dirs_mode(rustix::process::geteuid().is_root());
        let dirs = tempfile::Builder::new()
            .prefix("gk-host-")
            .permissions(fs::Permissions::from_mode(mode))
            .tempdir()
            .map_err(|error| failed(&error))?;
        let place = dirs.path().join("plugins").join(manifest.name.as_str());
        fs::create_dir_all(&place).map_err(|error| failed(&error))?;
        selection.copy_to(&place).map_err(|error| failed(&error))?;
        Ok(LocalOptions {
            listen: None,
            config: String::new(),
            dirs,
        })
    }
}

/// The mode of the directory with all that a host has: private files of a package are readable in
/// it. Only the plugins of a host that is root have users of their own, which have to come through.
fn dirs_mode(is_root: bool) -> u32 {
    if is_root { 0o711 } else { 0o700 }
}

/// The hosts that run: their process groups, and their directories.
static RUNNING: Mutex<Vec<(Pid, PathBuf)>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<(Pid, PathBuf)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the hosts that run with all their processes, removes their directories, and ends this
/// program as a signal does.
pub(crate) fn abort() -> ! {
    // The directory is not given back: no other thread ends the program meanwhile.
    let running = running();
    for (pid, _) in &*running {
        let _ = kill_process_group(*pid, Signal::KILL);
    }
    for (_, dirs) in &*running {
        // Until the last of the processes is gone files may appear.
        for _ in 0..100 {
            if fs::remove_dir_all(dirs).is_ok() || !dirs.exists() {
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
    std::process::exit(INTERRUPTED)
}

/// A host that runs, until it is dropped.
pub(crate) struct LocalHost {
    child: Child,
    _spawner: Spawner,
    dirs: TempDir,
    output: Arc<Mutex<String>>,
}

/// The host's program: `$GK_HOST`, beside this program, or on PATH.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("gk-host")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("gk-host"));
    beside
        .into_iter()
        .chain(on_path)
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                "gk-host is neither beside gk nor on PATH",
                format!("put it there, or name it in {VARIABLE}"),
            )
        })
}

impl LocalHost {
    /// Starts one, and waits until it listens.
    pub(crate) fn start(options: LocalOptions) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Failed,
                format!("{what}: {error}"),
                "gk-host doctor says how this machine stands",
            )
        };
        let LocalOptions {
            listen,
            config: text,
            dirs,
        } = options;
        let (plugins, data) = (dirs.path().join("plugins"), dirs.path().join("data"));
        fs::create_dir(&data).map_err(|error| failed("temporary directory", &error))?;
        let config = dirs.path().join("host.toml");
        fs::write(&config, text).map_err(|error| failed("host.toml", &error))?;
        let program = program()?;
        let mut spec = SandboxSpec::new(program.clone(), dirs.path());
        let listen = listen.unwrap_or_else(|| "127.0.0.1:0".to_owned());
        spec.args = [
            "serve",
            "--trust-declared-permissions",
            "--listen",
            &listen,
            "--plugins-dir",
        ]
        .map(OsString::from)
        .to_vec();
        spec.args.push(plugins.into());
        spec.args.push("--data-dir".into());
        spec.args.push(data.into());
        spec.args.push("--config".into());
        spec.args.push(config.into());
        // The part of the environment that concerns a host of its own, without the variables that
        // configure another host.
        for name in ["PATH", "HOME", "TMPDIR", "TZ", "LANG", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(name) {
                spec.env.insert(name.into(), value);
            }
        }
        let spawner =
            Spawner::new().map_err(|error| failed("no process can be started", &error))?;
        let child = spawner
            .spawn(spec)
            .map_err(|error| failed(&format!("{} cannot be started", program.display()), &error))?;
        let output = Arc::default();
        let (stdout, stderr) = child
            .clone_pipes()
            .map_err(|error| failed("its output", &error))?;
        for pipe in [stdout, stderr] {
            collect(File::from(pipe), Arc::clone(&output));
        }
        let host = LocalHost {
            child,
            _spawner: spawner,
            dirs,
            output,
        };
        running().extend(host.pid().map(|pid| (pid, host.dirs.path().to_owned())));
        host.listening()?;
        Ok(host)
    }

    fn listening(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if std::os::unix::net::UnixStream::connect(self.socket()).is_ok() {
                return Ok(());
            }
            if self.ended().is_some() || Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("the host does not come up: {}", self.output().trim()),
                    "gk-host doctor says how this machine stands",
                ));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.pid()).ok()?)
    }

    /// The path of a file of the plugin's package.
    pub(crate) fn installed(&self, plugin: &str, path: &str) -> PathBuf {
        self.dirs.path().join("plugins").join(plugin).join(path)
    }

    /// The local socket of the host.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dirs.path().join("data/admin.sock")
    }

    /// The file with an administrator's token.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.dirs.path().join("data/admin.token")
    }

    /// The host's exit status, if it has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.child.status().ok().flatten()
    }

    /// Fails if the host has ended.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(how) = self.ended() else {
            return Ok(());
        };
        let output = self.output();
        let mut last: Vec<_> = output.lines().rev().take(10).collect();
        last.reverse();
        Err(Failure::new(
            Exit::Failed,
            format!(
                "the host has ended ({how}); it printed:\n{}",
                last.join("\n")
            ),
            "run the command again; gk-host doctor says how this machine stands",
        ))
    }

    /// The first URL that it is reached by, as it prints it once it listens.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let output = self.output();
            let mut lines = output
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some(url) = lines.find_map(|line| line.strip_prefix("listening on ")) {
                return Ok(url.trim().to_owned());
            }
            if self.ended().is_some() || Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("the host does not say where it listens: {}", output.trim()),
                    "check --listen, and that nothing else listens there",
                ));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Puts the files of `directory` in place of those that a plugin has. Each file is the old or
    /// the new one at any moment; what is to become of them is another order.
    pub(crate) fn replace(&self, plugin: &str, directory: &Path) -> Result<(), Failure> {
        let next = tempfile::Builder::new()
            .prefix("next-")
            .tempdir_in(self.dirs.path())
            .map_err(|error| Failure::file("write in", self.dirs.path(), &error))?;
        let selection = selected(directory)?;
        let copies = selection.copy_to(next.path()).map_err(|error| {
            Failure::new(
                Exit::Failed,
                error.to_string(),
                "check the file and the disk",
            )
        })?;
        let place = self.installed(plugin, "");
        let replaced = || -> std::io::Result<()> {
            for file in copies.files() {
                let to = place.join(&file.path);
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::rename(next.path().join(&file.path), to)?;
            }
            remove_others(&place, Path::new(""), &copies)
        };
        replaced().map_err(|error| Failure::file("replace the files in", &place, &error))
    }

    /// The output of the host.
    pub(crate) fn output(&self) -> String {
        self.output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A client of the host's admin API.
    pub(crate) fn client(&self) -> Result<Host, Failure> {
        Host::at(Target {
            place: Place::Socket(self.socket()),
            token: None,
            passed_over: Vec::new(),
        })
    }

    /// Waits until the plugin runs, or will not by itself.
    pub(crate) fn settled(
        &self,
        host: &Host,
        plugin: &str,
        limit: Duration,
    ) -> Result<PluginDetail, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            let detail: PluginDetail = host.get(Operation::GetPlugin, &[plugin], &[])?;
            let is_on_its_way = matches!(detail.plugin.state.as_str(), "starting" | "stopped");
            if !is_on_its_way || Instant::now() > deadline {
                return Ok(detail);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for LocalHost {
    fn drop(&mut self) {
        // In order first: it removes what it made.
        let pid = self.pid();
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + END_TIMEOUT;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(LOOK_INTERVAL);
        }
        let _ = self.child.kill_group();
        // From here on its id may become another's.
        running().retain(|(other, _)| Some(*other) != pid);
        let _ = self.child.reap();
    }
}

/// Removes the files below `place` that are not selected.
fn remove_others(place: &Path, below: &Path, selection: &Selection) -> std::io::Result<()> {
    for entry in fs::read_dir(place.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(place, &path, selection)?;
            // Only one that is empty by now goes.
            let _ = fs::remove_dir(entry.path());
        } else if !path.to_str().is_some_and(|path| selection.has(path)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Reads a pipe to its end, and keeps the last of it.
fn collect(mut pipe: File, output: Arc<Mutex<String>>) {
    const KEPT_BYTES_MAX: usize = 64 * 1024;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&text);
            let extra = output.len().saturating_sub(KEPT_BYTES_MAX);
            let cut = (extra..=output.len()).find(|at| output.is_char_boundary(*at));
            output.drain(..cut.unwrap_or_default());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_see_nothing_of_the_copy_but_where_plugins_are_others() {
        assert_eq!((dirs_mode(false), dirs_mode(true)), (0o700, 0o711));
        let package = tempfile::tempdir().unwrap();
        let manifest = "name: hello\nversion: 1.0.0\nruntime: grpc\nbinary: hello\n";
        for (name, text) in [
            ("plugin.yaml", manifest),
            ("hello", "x"),
            ("notes.key", "x"),
            (".env", "x"),
        ] {
            fs::write(package.path().join(name), text).unwrap();
        }
        let (manifest, _) = Manifest::parse("plugin.yaml", manifest.as_bytes()).unwrap();
        let options = LocalOptions::of_package(package.path(), &manifest).unwrap();
        let mode = fs::metadata(options.dirs.path()).unwrap().permissions();
        let expected = dirs_mode(rustix::process::geteuid().is_root());
        assert_eq!(mode.mode() & 0o777, expected);
        let place = options.dirs.path().join("plugins/hello");
        assert!(place.join("hello").exists());
        // Files that are not part of the package are not copied.
        assert!(!place.join(".env").exists());
    }
}
