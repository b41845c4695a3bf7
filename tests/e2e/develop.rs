//! `gk dev` and `gk debug`: a plugin while it is being written.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs as a person does"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::person::Person;
use crate::{DEADLINE, eventually};

/// A command that goes on until it is interrupted.
struct Session<'a> {
    person: &'a Person,
    child: Child,
    lines: Receiver<String>,
    /// What was printed, with the line that was waited for last.
    said: Vec<String>,
}

impl<'a> Session<'a> {
    /// Of the plugin in `my-plugin`, with a temporary directory of its own.
    fn start(person: &'a Person, words: &[&str]) -> Self {
        let temp = person.path("tmp");
        fs::create_dir_all(&temp).unwrap();
        let mut child = person
            .command("my-plugin", words)
            .env("TMPDIR", &temp)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let streams: [Box<dyn std::io::Read + Send>; 2] = [Box::new(stdout), Box::new(stderr)];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines() {
                    if sender.send(line.unwrap()).is_err() {
                        return;
                    }
                }
            });
        }
        Session {
            person,
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// Waits for a line with this text.
    #[track_caller]
    fn says(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("it does not say {text:?}, but:\n{}", self.said.join("\n"));
            };
            self.said.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The line with this text, whether it was printed before or comes yet: stdout and stderr have no order.
    #[track_caller]
    fn has_said(&mut self, text: &str) -> String {
        let said = self.said.iter().find(|line| line.contains(text)).cloned();
        said.unwrap_or_else(|| self.says(text))
    }

    /// Runs the line with curl as it was printed.
    fn asks(&self) -> Value {
        let line = self.said.iter().find(|line| line.contains("curl "));
        let line = line.expect("no curl is shown");
        let mut shell = self.person.command("", &["sh", "-c", line]);
        let output = shell.output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {line}: {output:?}"))
    }

    /// Changes a source as an editor does, and saves.
    #[track_caller]
    fn change(&self, from: &str, to: &str) {
        let path = self.person.path("my-plugin/main.go");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    fn signal(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::INT).unwrap();
    }

    /// Interrupts it, and waits until nothing of it is left.
    #[track_caller]
    fn interrupt(self) -> ExitStatus {
        self.signal();
        self.ends()
    }

    #[track_caller]
    fn ends(mut self) -> ExitStatus {
        let status = eventually("the end", || self.child.try_wait().unwrap());
        self.leaves_nothing();
        status
    }

    #[track_caller]
    fn leaves_nothing(&self) {
        let temp = self.person.path("tmp");
        let left: Vec<_> = fs::read_dir(&temp).unwrap().collect();
        assert!(left.is_empty(), "{left:?}\n{}", self.said.join("\n"));
        let named = temp.display().to_string();
        eventually("the end of all its processes", || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            let mut lines =
                processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
            let is_left = lines.any(|line| String::from_utf8_lossy(&line).contains(named.as_str()));
            (!is_left).then_some(())
        });
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Only where the test has failed it still runs. Its host ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plugin_in_go() -> Person {
    let mut person = Person::new();
    person.does("", &["gk", "init", "my-plugin", "--type", "grpc"]);
    person
}

#[test]
fn a_save_builds_and_reloads_and_what_is_broken_changes_nothing() {
    let person = plugin_in_go();
    let mut dev = Session::start(&person, &["gk", "dev"]);
    dev.says("serving my-plugin 1.0.0 (generation 1)");
    dev.says("gk --url unix:");
    let route = dev
        .said
        .iter()
        .find(|line| line.contains("  GET    http://127.0.0.1:"));
    assert!(route.unwrap().contains("/api/plugins/my-plugin/status"));
    assert_eq!(
        dev.asks(),
        json!({ "status": "running", "version": "1.0.0" })
    );

    dev.change("\"running\"", "\"changed\"");
    dev.says("serving my-plugin 1.0.0 (generation 2)");
    assert_eq!(dev.asks()["status"], "changed");

    // It does not compile.
    dev.change("func main() {", "func main( {");
    dev.says("main.go:");
    dev.says("go build` failed");
    dev.says("1.0.0 (generation 2) still serves");
    assert_eq!(dev.asks()["status"], "changed");

    // It compiles, and does not come up.
    dev.change("func main( {", "func main() {");
    dev.change(
        "\"is ready\")\n\treturn nil",
        "\"is ready\")\n\treturn fmt.Errorf(\"not today\")",
    );
    dev.says("does not come up");
    assert!(dev.said.last().unwrap().contains("not today"));
    dev.says("1.0.0 (generation 2) still serves");
    assert_eq!(dev.asks()["status"], "changed");

    // A manifest that cannot be read.
    let manifest = person.path("my-plugin/plugin.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, "name: [my-plugin\n").unwrap();
    dev.says("plugin.yaml:");
    dev.says("1.0.0 (generation 2) still serves");
    fs::write(&manifest, text).unwrap();

    // Mended; and saved again while it is built.
    dev.change("return fmt.Errorf(\"not today\")", "return nil");
    dev.change("\"changed\"", "\"first\"");
    dev.says("changed");
    dev.change("\"first\"", "\"mended\"");
    eventually("the mended version", || {
        (dev.asks()["status"] == "mended").then_some(())
    });
    assert!(dev.interrupt().success());
}

#[test]
fn a_build_ends_with_the_command() {
    let person = plugin_in_go();
    // A compiler that never ends, and says that it runs.
    let bin = person.path("bin/go");
    fs::write(&bin, "#!/bin/sh\necho building >&2\nexec sleep 1000000\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&bin, mode).unwrap();
    let mut dev = Session::start(&person, &["gk", "dev"]);
    dev.says("building");
    // A save ends it, and another one begins.
    dev.change("\"running\"", "\"changed\"");
    dev.says("main.go changed");
    dev.says("building");
    assert!(dev.interrupt().success());
}

#[test]
fn a_host_that_ends_is_told() {
    let person = plugin_in_go();
    let mut dev = Session::start(&person, &["gk", "dev"]);
    dev.says("serving my-plugin");
    dev.says("gk --url unix:");
    let temp = person.path("tmp").display().to_string();
    let host = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&temp) && line.contains("\0serve\0")
        })
        .expect("no host runs");
    let pid: i32 = host.file_name().to_str().unwrap().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    dev.says("the host has ended");
    let status = eventually("the end", || dev.child.try_wait().unwrap());
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    dev.leaves_nothing();
}

#[test]
fn a_second_interrupt_kills_the_host() {
    let person = plugin_in_go();
    // A host that does not end when it is asked to.
    let script = "#!/bin/sh\ntrap '' TERM\ngk-host \"$@\" &\nwhile true; do wait; done\n";
    let stubborn = person.path("stubborn");
    fs::write(&stubborn, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&stubborn, mode).unwrap();
    let variable = format!("GK_HOST={}", stubborn.display());
    let mut dev = Session::start(&person, &[&variable, "gk", "dev"]);
    dev.says("serving my-plugin");
    dev.says("gk --url unix:");
    dev.signal();
    dev.says("Interrupt again");
    dev.signal();
    assert_eq!(dev.ends().code(), Some(130));
}

#[test]
fn a_package_that_cannot_be_used_at_first_is_waited_out() {
    let person = plugin_in_go();
    let link = person.path("my-plugin/LICENSE");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let mut dev = Session::start(&person, &["gk", "dev"]);
    dev.says("is a symbolic link");
    dev.says("nothing serves yet; waiting for a change.");
    fs::remove_file(link).unwrap();
    dev.says("serving my-plugin 1.0.0 (generation 1)");
    dev.says("gk --url unix:");
    assert!(dev.interrupt().success());
}

#[test]
fn a_directory_without_a_plugin_is_refused() {
    let person = plugin_in_go();
    for command in ["dev", "debug"] {
        let output = person.command("bin", &["gk", command]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(
            stderr.contains("plugin.yaml") && stderr.contains("help:"),
            "{stderr}"
        );
    }
}

#[test]
fn a_process_is_shown_that_a_debugger_may_attach_to() {
    let person = plugin_in_go();
    let mut debug = Session::start(&person, &["gk", "debug"]);
    let line = debug.has_said("gdb -p ");
    let words: Vec<_> = line.split(' ').collect();
    let [_, _, pid, program] = words.as_slice() else {
        panic!("{line}");
    };
    // With symbols, and the paths of its sources.
    let bytes = fs::read(program).unwrap();
    let source = person.path("my-plugin/main.go").canonicalize().unwrap();
    let source = source.to_str().unwrap().as_bytes();
    assert!(bytes.windows(source.len()).any(|window| window == source));
    // What a debugger needs: to see the process, and to trace it.
    let traced = fs::read_link(format!("/proc/{pid}/exe"));
    assert!(traced.is_ok(), "{traced:?}");
    let other = debug.has_said("gk --url unix:");
    assert_eq!(debug.asks()["status"], "running");
    let (_, url) = other.split_once("--url ").unwrap();
    let url = url.split(' ').next().unwrap();
    let restart = ["gk", "--url", url, "restart", "my-plugin", "--wait", "60s"];
    let output = person.command("", &restart).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let next = debug.says("gdb -p ");
    assert_ne!(next, line, "another process is shown");
    assert!(debug.interrupt().success());
}
