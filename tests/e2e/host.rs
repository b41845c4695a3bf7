//! A `gk-host` process, the directories it works in, and what it prints.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{PidfdFlags, Signal, pidfd_open};
use serde_json::{Value, json};

use crate::http::{Call, Reply};
use crate::processes::{self, Watched};
use crate::users::{self, Limits, User};
use crate::{DEADLINE, program};

/// What a host is started with.
pub(crate) struct Setup {
    dir: tempfile::TempDir,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    user: User,
    limits: Limits,
    /// Whether its files stay whose they are, and are not given to the user that runs the host.
    keeps_owners: bool,
    /// What executes the host, and what that gets ahead of it; nothing is the host itself.
    through: Vec<OsString>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        // On the file system of the programs, so that plugins can be links to them, and not copies.
        let runs = program("gk-host").parent().unwrap().join("runs");
        let runs = runs.join(std::process::id().to_string());
        fs::create_dir_all(&runs).unwrap();
        Self::within(tempfile::tempdir_in(runs).unwrap())
    }

    /// For a host of this user, in a place that every user can get to.
    pub(crate) fn of(user: User) -> Self {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut setup = Self::within(dir);
        setup.user = user;
        setup
    }

    fn within(dir: tempfile::TempDir) -> Self {
        fs::create_dir_all(dir.path().join("plugins")).unwrap();
        let mut setup = Self {
            dir,
            arguments: Vec::new(),
            environment: Vec::new(),
            user: User::Same,
            limits: Limits::AsTheyAre,
            keeps_owners: false,
            through: Vec::new(),
        };
        setup.arguments = ["serve", "--listen", "127.0.0.1:0", "--plugins-dir"]
            .map(Into::into)
            .into();
        setup.arguments.push(setup.path("plugins").into());
        setup.arguments.push("--data-dir".into());
        setup.arguments.push(setup.path("data").into());
        setup
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces the usual arguments of `gk-host`.
    pub(crate) fn arguments<I: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Replaces the address that hosts of tests listen on.
    pub(crate) fn listening_on(mut self, addresses: &str) -> Self {
        if let Some(at) = self.arguments.iter().position(|known| known == "--listen") {
            self.arguments[at + 1] = addresses.into();
        }
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A plugin: a directory with a manifest and a program under the plugin's name.
    pub(crate) fn plugin(self, name: &str, built: &str) -> Self {
        self.plugin_with(name, built, "")
    }

    /// As [`Setup::plugin`], with these lines under `resources`. Times that they do not set are no test's subject, and
    /// long enough for a busy machine.
    pub(crate) fn plugin_with(self, name: &str, built: &str, resources: &str) -> Self {
        let mut manifest = format!("name: {name}\nversion: 1.0.0\nruntime: grpc\nresources:\n");
        for line in resources.lines() {
            manifest.push_str(&format!("  {line}\n"));
        }
        for time in ["init_timeout", "call_timeout"] {
            if !resources.contains(time) {
                manifest.push_str(&format!("  {time}: 100s\n"));
            }
        }
        let setup = self.file(&format!("plugins/{name}/plugin.yaml"), &manifest);
        let place = setup.path("plugins").join(name).join(name);
        let built = program(built);
        if fs::hard_link(&built, &place).is_err() {
            fs::copy(&built, &place).unwrap();
        }
        setup
    }

    /// Moves a plugin's program to another place in its directory.
    pub(crate) fn beside(self, plugin: &str, place: &str) -> Self {
        let directory = self.path("plugins").join(plugin);
        let place = directory.join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::rename(directory.join(plugin), place).unwrap();
        self
    }

    /// Starts the host as nohup does: HUP is ignored.
    pub(crate) fn ignoring_hup(self) -> Self {
        self.through(["/usr/bin/nohup"])
    }

    /// Starts the host as a shell does: HUP is not ignored.
    pub(crate) fn heeding_hup(self) -> Self {
        self.through(["/usr/bin/env", "--default-signal=HUP"])
    }

    /// Starts the host by another program, which gets these arguments ahead of it.
    pub(crate) fn through<I: Into<OsString>>(mut self, words: impl IntoIterator<Item = I>) -> Self {
        self.through = words.into_iter().map(Into::into).collect();
        self
    }

    /// Starts the host where no user namespaces can be had.
    pub(crate) fn without_user_namespaces(self) -> Self {
        self.without("user_namespaces")
    }

    /// Starts the host where none of something can be had; see [`Limits::No`].
    pub(crate) fn without(mut self, limit: &'static str) -> Self {
        self.limits = Limits::No(limit);
        self
    }

    /// The command that starts the host.
    fn command(&self) -> Command {
        if !self.keeps_owners {
            self.user.owns(self.dir.path());
        }
        let mut words = self.through.iter().cloned();
        let mut command = match words.next() {
            None => users::command(&program("gk-host"), self.user, self.limits),
            Some(first) => {
                let mut command = users::command(Path::new(&first), self.user, self.limits);
                command.args(words).arg(program("gk-host"));
                command
            }
        };
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment.iter().cloned())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn executable(self, path: &str) -> Self {
        fs::set_permissions(self.path(path), PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    /// Starts the host and waits until it listens.
    pub(crate) fn start(self) -> Host {
        let mut command = self.command();
        let mut child = command.spawn().unwrap();
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        let given = |(name, _): &&(OsString, OsString)| name == "GK_ADMIN_TOKEN";
        let token = self.environment.iter().find(given);
        let token = token.map(|(_, token)| token.to_string_lossy().into_owned());
        Host {
            dir: self.dir,
            child,
            stdout,
            stderr,
            base: String::new(),
            token: token.unwrap_or_default(),
        }
        .listening()
    }

    /// Starts the host and waits until its plugins have come up, or failed to.
    pub(crate) fn settled(self) -> Host {
        self.start().wait_settled()
    }

    /// Runs a host that cannot start to its end: its exit status and what it printed on stderr.
    pub(crate) fn refused(self) -> (ExitStatus, String) {
        let mut command = self.command();
        let mut child = command.spawn().unwrap();
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        let mut host = Host {
            dir: self.dir,
            child,
            stdout,
            stderr,
            base: String::new(),
            token: String::new(),
        };
        let status = host.wait();
        let text = host.stderr.all();
        (status, text)
    }
}

/// A running host. Dropping it ends it.
pub(crate) struct Host {
    dir: tempfile::TempDir,
    child: Child,
    stdout: Lines,
    stderr: Lines,
    base: String,
    token: String,
}

impl Host {
    fn listening(mut self) -> Self {
        let line = self.stdout.wait_for("listening on http://");
        let at = line.find("http://").unwrap();
        self.base = line[at..].trim().to_owned();
        if let Ok(token) = fs::read_to_string(self.path("data/admin.token")) {
            self.token = token.trim().to_owned();
        }
        self
    }

    pub(crate) fn wait_settled(self) -> Self {
        self.stdout.wait_for("plugins running");
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) fn admin_token(&self) -> &str {
        &self.token
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A request without a token.
    pub(crate) fn call<'a>(&self, method: &'a str, path: &str) -> Call<'a> {
        Call::new(method, format!("{}{path}", self.base))
    }

    /// A request with the administrator's token.
    pub(crate) fn admin<'a>(&self, method: &'a str, path: &str) -> Call<'a> {
        self.call(method, path).token(&self.token)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.admin("GET", path).send()
    }

    /// Calls a function of a plugin.
    pub(crate) fn function(&self, plugin: &str, function: &str, args: &Value) -> Reply {
        let path = format!("/api/v1/plugins/{plugin}/call/{function}");
        self.admin("POST", &path).json(args).send()
    }

    /// A call to be made elsewhere, whose end may be the host's.
    pub(crate) fn admin_owned(&self, path: &str, body: &Value) -> impl FnOnce() + Send + 'static {
        let (url, token, body) = (
            format!("{}{path}", self.base),
            self.token.clone(),
            body.clone(),
        );
        move || {
            let _ = Call::new("POST", url).token(&token).json(&body).try_send();
        }
    }

    /// A new token for this role.
    pub(crate) fn new_token(&self, login: &str, role: &str) -> String {
        let body = json!({ "login": login, "role": role });
        let made = self.admin("POST", "/api/v1/tokens").json(&body).send();
        made.expect(201).json()["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn plugin(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/plugins/{name}"))
            .expect(200)
            .json()
    }

    /// How a plugin failed last, if it did: it may be started again by now.
    pub(crate) fn failure(&self, name: &str) -> Option<String> {
        self.plugin(name)["last_error"].as_str().map(str::to_owned)
    }

    pub(crate) fn plugin_pid(&self, name: &str) -> u32 {
        let pid = self.plugin(name)["pid"].as_u64();
        u32::try_from(pid.unwrap_or_else(|| panic!("{name} has no process"))).unwrap()
    }

    #[track_caller]
    pub(crate) fn expect_serving(&self, plugin: &str) {
        let reply = self.get(&format!("/api/plugins/{plugin}/status"));
        let status = json!({ "status": "running", "version": "1.0.0" });
        assert_eq!(reply.expect(200).json(), status, "{plugin}");
    }

    /// The value of a metric for one plugin.
    pub(crate) fn metric(&self, name: &str, plugin: &str) -> Option<f64> {
        let text = self.call("GET", "/metrics").send().text();
        let label = format!("plugin=\"{plugin}\"");
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")) && line.contains(&label))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until the host has logged a line that contains this.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.stderr.wait_for(text)
    }

    pub(crate) fn log(&self) -> String {
        self.stderr.all()
    }

    /// What stands behind this in the line that begins with it.
    pub(crate) fn printed_after(&self, beginning: &str) -> String {
        let line = self.stdout.wait_for(beginning);
        line.trim_start_matches(beginning).trim().to_owned()
    }

    pub(crate) fn printed(&self) -> String {
        self.stdout.all()
    }

    /// Every process of the plugins, and the directory of their sockets.
    pub(crate) fn family(&self, of: &str) -> (Watched, PathBuf) {
        let root = processes::socket_root(self.plugin_pid(of));
        (Watched::family(&root), root)
    }

    /// Stops the host, and sets up another one of this user on its directories, as it left them.
    pub(crate) fn again(mut self, user: User) -> Setup {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}\n{}", self.log());
        self.after_kill(user)
    }

    /// As [`Host::again`], after [`Host::kill`].
    pub(crate) fn after_kill(mut self, user: User) -> Setup {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        let mut setup = Setup::within(dir);
        setup.user = user;
        setup.keeps_owners = true;
        setup
    }

    /// Kills it as nothing kills it that lets it say goodbye.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        processes::send(self.pid(), signal);
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        // The process is not reaped before, so its number is still its own.
        let process = pidfd_open(processes::native(self.pid()), PidfdFlags::empty()).unwrap();
        assert!(processes::ended(&process), "the host does not end");
        let status = self.child.wait().unwrap();
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    /// Stops the host as an administrator would, and expects that it ends well and leaves nothing.
    #[track_caller]
    pub(crate) fn stop(mut self, family: Watched, socket_root: &Path) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}\n{}", self.log());
        family.expect_end();
        assert!(
            !socket_root.exists(),
            "{} is left behind",
            socket_root.display()
        );
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A host that has been waited for is not signalled: the standard library remembers its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "the host printed:\n{}\nand logged:\n{}",
                self.stdout.all(),
                self.stderr.all()
            );
        }
    }
}

/// The lines of a stream, as they come.
struct Lines {
    state: Arc<(Mutex<Printed>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let state = Arc::new((Mutex::new(Printed::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                shared.0.lock().unwrap().lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        Self {
            state,
            reader: Some(reader),
        }
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let started = Instant::now();
        let (state, changed) = &*self.state;
        let mut read = state.lock().unwrap();
        loop {
            if let Some(line) = read.lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = DEADLINE.saturating_sub(started.elapsed());
            if read.ended || left.is_zero() {
                // Whoever prints it all while this unwinds takes the lock, too.
                drop(read);
                panic!("{text:?} is not printed");
            }
            read = changed.wait_timeout(read, left).unwrap().0;
        }
    }

    fn all(&self) -> String {
        self.state.0.lock().unwrap().lines.join("\n")
    }

    /// Waits for the rest, once the process has ended.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}
