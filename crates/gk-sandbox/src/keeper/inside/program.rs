//! The program's process: forked by the first process, confined step by step, executed.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::Signal;

use super::{Fatal, Setup, errno};
use crate::bytes::Bytes;
use crate::keeper::message::{Event, Executable, FailedStep, Failure, NOT_SET_UP, Plan};
use crate::keeper::watch::{Watch, Watched};
use crate::keeper::{channel, root};
use crate::layers::seccomp::{self, Filter};
use crate::layers::{landlock, privileges};
use crate::report::{Layer, LayerReport, State};
use crate::sys::process::{self, Exec, Forked};

impl Setup {
    /// Forks the program's process and watches it to its end.
    pub(super) fn start_program(self, watched: Option<Watched>) -> Result<i32, Fatal> {
        let step = |what: &'static str| {
            move |error: io::Error| Fatal::new(FailedStep::Process, what, errno(&error))
        };
        let children = process::child_signals().map_err(step("watch the program"))?;
        let (outcome, outcome_there) = channel::pair().map_err(step("open a channel"))?;
        let own_namespace = self.was_created_in(libc::CLONE_NEWPID);
        let (pid, pidfd) = match process::fork(0, false).map_err(step("create a process"))? {
            Forked::Child => {
                drop(outcome);
                self.become_program(&outcome_there)
            }
            Forked::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(outcome_there);
        let (input, own_root) = (self.input, self.own_root);
        // The descriptors are the program's, or the host's, from now on.
        drop(self.directories);
        drop((input.stdout, input.stderr, input.program, input.sync));
        for fd in [1, 2] {
            // The pipes must end with the program, so this process gives its copies up.
            if let Ok(null) = rustix::fs::open(
                "/dev/null",
                rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            ) {
                let _ = process::stdio(null.as_fd(), fd);
            }
        }
        // The exec closes the other end: the end of the stream is the success.
        match channel::receive::<Failure>(&outcome, true) {
            Ok(None) => {}
            Ok(Some((failure, _))) => return Err(Fatal(failure)),
            Err(error) => return Err(step("hear of the program")(error)),
        }
        // The capabilities were needed until the program's process existed. Watching needs none.
        let _ = privileges::no_new_privs();
        let _ = privileges::drop_capabilities();
        let _ = channel::send(&*input.control, &Event::Started, &[]);
        let watch = Watch {
            plan: input.plan,
            control: input.control,
            lifeline: input.lifeline,
            children,
            program: pid,
            pidfd,
            own_namespace,
            own_root,
            memory: watched,
            locks: input.locks,
        };
        Ok(watch.run())
    }

    /// Runs in the program's process. A failure goes to the first process, over `outcome`.
    fn become_program(mut self, outcome: &OwnedFd) -> ! {
        let Err(Fatal(failure)) = self.confine_and_execute();
        let _ = channel::send(outcome, &failure, &[]);
        process::exit(NOT_SET_UP)
    }

    /// Confines this process and executes the program.
    ///
    /// The order of the steps is part of the sandbox: each comment says what depends on it.
    fn confine_and_execute(&mut self) -> Result<std::convert::Infallible, Fatal> {
        // A fork clears the parent-death signal in the child.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let plan = self.input.plan.clone();
        let (argv, envp): (Vec<CString>, Vec<CString>) = (
            plan.argv.iter().map(Bytes::c_string).collect(),
            plan.envp.iter().map(Bytes::c_string).collect(),
        );
        // Landlock may not let the process enter the directory later.
        rustix::process::chdir(plan.working_dir.path()).map_err(|errno| {
            Fatal::new(
                FailedStep::WorkingDir,
                format!("enter {}", plan.working_dir.path().display()),
                Some(errno.raw_os_error()),
            )
        })?;
        self.apply(Layer::Descriptors, privileges::close_descriptors)?;
        // A limit above the inherited one needs CAP_SYS_RESOURCE, so limits come before the
        // capabilities go.
        self.limits(&plan)?;
        self.apply(Layer::Mdwe, privileges::mdwe)?;
        // Landlock and seccomp need this of a process without CAP_SYS_ADMIN.
        self.apply(Layer::NoNewPrivileges, privileges::no_new_privs)?;
        // The rules are made of opened paths, which may need the capabilities.
        self.landlock(&plan)?;
        self.apply(Layer::Capabilities, privileges::drop_capabilities)?;
        process::default_signals()
            .map_err(|error| Fatal::new(FailedStep::Process, "reset the signals", errno(&error)))?;
        // The filter comes last: it forbids several of the calls above.
        self.seccomp(&plan)?;
        let _ = channel::send(
            &*self.input.control,
            &Event::Layers(std::mem::take(&mut self.layers)),
            &self.directories.as_fds(),
        );
        if plan.executable == Executable::Probe {
            process::exit(0);
        }
        let path;
        let exec = match (&plan.executable, &self.input.program) {
            (Executable::Binary, Some(program)) => Exec::Fd(program.as_fd()),
            (Executable::Script, Some(_)) if self.own_root => {
                path = root::c_path(std::path::Path::new(root::SCRIPT));
                Exec::Path(&path)
            }
            (Executable::Script, Some(program)) => {
                // The interpreter opens the script by this descriptor, so the exec must not close
                // it.
                let _ = rustix::io::fcntl_setfd(program, rustix::io::FdFlags::empty());
                path = root::c_path(&PathBuf::from(format!(
                    "/proc/self/fd/{}",
                    program.as_raw_fd()
                )));
                Exec::Path(&path)
            }
            (Executable::Path(at), _) => {
                path = at.c_string();
                Exec::Path(&path)
            }
            _ => {
                return Err(Fatal::new(FailedStep::Exec, "find the program", None));
            }
        };
        let error = process::execute(exec, &argv, &envp);
        Err(Fatal::new(
            FailedStep::Exec,
            "execute the program",
            errno(&error),
        ))
    }

    /// Applies a layer that takes no arguments.
    fn apply(&mut self, layer: Layer, apply: fn() -> io::Result<()>) -> Result<(), Fatal> {
        let entry = if !self.wants(layer) {
            LayerReport::off(layer)
        } else {
            match apply() {
                Ok(()) => LayerReport::enforced(layer, ""),
                Err(error) => LayerReport::absent(layer, "the kernel refused", errno(&error)),
            }
        };
        self.note(entry)
    }

    fn limits(&mut self, plan: &Plan) -> Result<(), Fatal> {
        if !self.wants(Layer::Limits) {
            return self.note(LayerReport::off(Layer::Limits));
        }
        let state = |layer: Layer| self.entry(layer).map(|entry| entry.state.clone());
        let by_group = |layer| state(layer) == Some(State::Enforced);
        let ungrouped = self.input.plan.wants(Layer::Memory) && !by_group(Layer::Memory);
        // The kernel counts processes per user and user namespace. The host's own user has other
        // processes, which would count.
        let counted = self.input.plan.wants(Layer::Processes)
            && (self.input.privileged || state(Layer::User) == Some(State::Enforced));
        let limits = privileges::ProcessLimits {
            open_files: plan.open_files,
            processes: if counted {
                u64::from(plan.processes)
            } else {
                u64::MAX
            },
            file_bytes: plan.file_bytes,
            // A bound on what the watchdog does not see between two looks. Runtimes such as Go's
            // reserve much more than they use, but reserved memory is not writable and does not
            // count.
            data_bytes: ungrouped
                .then(|| plan.memory_bytes.saturating_mul(2).saturating_add(64 << 20)),
            ..privileges::ProcessLimits::default()
        };
        let entry = match privileges::set_limits(&limits) {
            Ok(()) => LayerReport::enforced(Layer::Limits, ""),
            Err(error) => LayerReport::absent(Layer::Limits, "the kernel refused", errno(&error)),
        };
        let set = entry.state == State::Enforced;
        let grouped = by_group(Layer::Processes);
        self.note(entry)?;
        if counted && set && !grouped {
            let entry = self.entry(Layer::Processes);
            let why = entry.and_then(|entry| entry.errno);
            self.note(LayerReport::degraded(
                Layer::Processes,
                "limited per user, without a control group",
                why,
            ))?;
        }
        Ok(())
    }

    fn landlock(&mut self, plan: &Plan) -> Result<(), Fatal> {
        if !self.wants(Layer::Landlock) {
            return self.note(LayerReport::off(Layer::Landlock));
        }
        let paths = |bytes: &[Bytes]| -> Vec<PathBuf> {
            bytes.iter().map(|path| path.path().to_owned()).collect()
        };
        let mut execute = root::system_paths(plan);
        let read_only = paths(&plan.read_only);
        if let Executable::Path(path) = &plan.executable {
            execute.push(path.path().to_owned());
        }
        if let Some(program) = &self.input.program {
            // Landlock does not judge memory files. Other files it does.
            execute.push(format!("/proc/self/fd/{}", program.as_raw_fd()).into());
        }
        let mut write = paths(&plan.writable);
        write.extend(plan.socket_dir.iter().map(|dir| dir.path().to_owned()));
        write.push(plan.temp_dir.path().to_owned());
        let read = if self.own_root {
            execute.push(root::SCRIPT.into());
            write.push("/tmp".into());
            vec![PathBuf::from("/")]
        } else {
            vec![PathBuf::from("/proc/self"), PathBuf::from("/dev")]
        };
        for device in ["/dev/null", "/dev/zero", "/dev/full"] {
            write.push(device.into());
        }
        let outcome = landlock::restrict(&landlock::Access {
            read: &read,
            execute: &execute,
            read_only: &read_only,
            write: &write,
            network: plan.network,
        });
        self.note(match outcome {
            landlock::Outcome::Enforced { abi } => {
                LayerReport::enforced(Layer::Landlock, format!("version {abi}"))
            }
            landlock::Outcome::Degraded { abi, missing } => LayerReport::degraded(
                Layer::Landlock,
                format!("version {abi} does not know: {missing}"),
                None,
            ),
            landlock::Outcome::Absent { step, errno } => {
                LayerReport::absent(Layer::Landlock, step, Some(errno))
            }
        })
    }

    fn seccomp(&mut self, plan: &Plan) -> Result<(), Fatal> {
        if !self.wants(Layer::Seccomp) {
            return self.note(LayerReport::off(Layer::Seccomp));
        }
        let filter = Filter {
            network: plan.network,
            shared_memory: !self.adds_up_memory(),
        };
        let entry = match seccomp::install(self.input.filters.program(filter)) {
            Ok(()) => LayerReport::enforced(Layer::Seccomp, ""),
            Err(error) => LayerReport::absent(Layer::Seccomp, "the kernel refused", errno(&error)),
        };
        self.note(entry)
    }
}
