//! The host's connection to its keeper: requests, answers, and first processes that wait.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use super::message::{Answer, FailedStep, Failure, Plan, Reply, Request};
use super::{KEEPER_NAME, KeeperProgram, channel};
use crate::process::Process;
use crate::sys::{self, Image, Prepared};

/// Maximum time that a keeper takes to create a process.
const KEEPER_TIMEOUT: Duration = Duration::from_secs(10);

/// A running keeper. Used from the spawner's thread, whose children the sandboxes are.
pub(crate) struct Keeper {
    /// Nonblocking.
    socket: OwnedFd,
    /// Maximum time for an answer.
    patience: Duration,
    /// Number of requests that were sent.
    sent: u64,
    /// First processes that wait for their plans. They end with the keeper.
    spares: Vec<Process>,
}

/// The first process of a sandbox.
pub(crate) struct FirstProcess {
    pub(crate) process: Process,
    /// The counter of kills for memory of its control group.
    pub(crate) oom: Option<OwnedFd>,
}

/// A process that the keeper created.
struct Created {
    pid: Pid,
    pidfd: OwnedFd,
    oom: Option<OwnedFd>,
}

/// Why a request got no process.
pub(super) enum AskError {
    /// The keeper is gone.
    Gone,
    Failed(Failure),
}

impl Keeper {
    /// Starts one.
    pub(crate) fn start(program: &KeeperProgram) -> io::Result<Self> {
        let (socket, there) = channel::pair()?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let name = CString::new(KEEPER_NAME)?;
        let prepared = Prepared {
            image: Image::Path,
            program: CString::new(program.0.as_os_str().as_bytes())?,
            argv: vec![name],
            envp: Vec::new(),
            working_dir: c"/".into(),
        };
        let (pid, pidfd) = sys::start_keeper(&prepared, there).map_err(sys::Failure::into_io)?;
        // The keeper ends when nobody needs it any more, which may be after this process.
        let reaper = std::thread::Builder::new()
            .name("gk-keeper-end".into())
            .stack_size(64 * 1024);
        reaper.spawn(move || {
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(
                    sys::wait_id(pid, &pidfd),
                    rustix::process::WaitIdOptions::EXITED,
                )
            });
        })?;
        Ok(Self {
            socket,
            patience: KEEPER_TIMEOUT,
            sent: 0,
            spares: Vec::new(),
        })
    }

    /// Has `path` removed once this process is gone.
    pub(crate) fn remove_at_end(&self, path: &Path) -> io::Result<()> {
        channel::send(&self.socket, &Request::RemoveAtEnd(path.into()), &[])
    }

    /// Makes a sandbox.
    pub(super) fn make(&mut self, plan: Plan, fds: &[OwnedFd]) -> Result<FirstProcess, AskError> {
        let number = self.next();
        let plan = Box::new(plan);
        match self.ask(number, &Request::Start { number, plan }, fds)? {
            Some(Created { pid, pidfd, oom }) => {
                let spare = self.spares.iter().position(|spare| spare.pid() == pid);
                let process = match spare {
                    Some(spare) => self.spares.swap_remove(spare),
                    None => Process::new(pid, pidfd),
                };
                Ok(FirstProcess { process, oom })
            }
            None => Err(AskError::Gone),
        }
    }

    /// Creates a first process ahead, for the next start with such a plan.
    pub(crate) fn prepare(&mut self, plan: Plan) {
        let number = self.next();
        let plan = Box::new(plan);
        // A failure is not reported here: the start will fail, too, and says why.
        if let Ok(Some(made)) = self.ask(number, &Request::Prepare { number, plan }, &[]) {
            self.spares.push(Process::new(made.pid, made.pidfd));
        }
    }

    fn next(&mut self) -> u64 {
        // A process that has ended is reaped when it is dropped here.
        self.spares.retain(|spare| !spare.has_ended());
        self.sent += 1;
        self.sent
    }

    /// Sends a request and waits for its answer.
    fn ask(
        &mut self,
        number: u64,
        request: &Request,
        fds: &[OwnedFd],
    ) -> Result<Option<Created>, AskError> {
        let failed = |what: String, errno: Option<i32>| {
            AskError::Failed(Failure {
                step: FailedStep::Process,
                what,
                errno: errno.unwrap_or(0),
            })
        };
        // A keeper that hangs, or a program that is none, must not stop every start.
        let deadline = Instant::now() + self.patience;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        loop {
            match channel::send_within(channel::REQUEST_BYTES_MAX, &self.socket, request, &fds) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(AskError::Gone);
                }
                // The keeper has not read the earlier requests.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, deadline)?;
                }
                Err(error) => {
                    return Err(failed(
                        format!("speak to the keeper of sandboxes ({error})"),
                        error.raw_os_error(),
                    ));
                }
            }
        }
        loop {
            self.wait(PollFlags::IN, deadline)?;
            let (reply, descriptors) = match channel::receive::<Reply>(&self.socket, true) {
                Ok(Some(received)) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(None) | Err(_) => return Err(AskError::Gone),
            };
            let mut descriptors = descriptors.into_iter();
            let made = match reply.answer {
                Answer::Made { pid } => {
                    let pid = Pid::from_raw(pid).ok_or(AskError::Gone)?;
                    match descriptors.next() {
                        Some(pidfd) => Some(Created {
                            pid,
                            pidfd,
                            oom: descriptors.next(),
                        }),
                        // The descriptor was lost because this process has too many open. The
                        // keeper is fine.
                        None => {
                            self.end(pid);
                            if reply.number == number {
                                return Err(failed(
                                    "receive the descriptor of a process: too many are open".into(),
                                    Some(libc::EMFILE),
                                ));
                            }
                            None
                        }
                    }
                }
                Answer::Nothing => None,
                Answer::Failed(failure) if reply.number == number => {
                    return Err(AskError::Failed(failure));
                }
                Answer::Failed(_) => None,
            };
            if reply.number == number {
                return Ok(made);
            }
            // The answer is to an earlier request, which was given up. The process of a start ends
            // with its lifeline. Another one may be what the keeper chooses for this request.
            if let Some(late) = made {
                self.spares.push(Process::new(late.pid, late.pidfd));
            }
        }
    }

    /// Waits until the socket can be read, or written.
    fn wait(&self, what: PollFlags, deadline: Instant) -> Result<(), AskError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match rustix::event::poll(&mut [PollFd::new(&self.socket, what)], timeout.as_ref()) {
                Ok(1..) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // The keeper is not given up for being slow: its sandboxes would end.
                Ok(0) => {
                    return Err(AskError::Failed(Failure {
                        step: FailedStep::Process,
                        what: format!(
                            "get an answer from the keeper of sandboxes within {:?} (its program has to call gk_sandbox::run_if_keeper)",
                            self.patience
                        ),
                        errno: 0,
                    }));
                }
                Err(_) => return Err(AskError::Gone),
            }
        }
    }

    /// Ends a child of which only the id is known.
    fn end(&mut self, pid: Pid) {
        if let Some(spare) = self.spares.iter().position(|spare| spare.pid() == pid) {
            drop(self.spares.swap_remove(spare));
            return;
        }
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let reaper = std::thread::Builder::new()
            .name("gk-reaper".into())
            .stack_size(64 * 1024);
        let _ = reaper.spawn(move || {
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(
                    rustix::process::WaitId::Pid(pid),
                    rustix::process::WaitIdOptions::EXITED,
                )
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::bytes::Bytes;
    use crate::sys::trial::{Beside, beside};

    /// The host's side, and the end at which its keeper would be.
    fn keeper() -> (Keeper, OwnedFd) {
        let (socket, there) = channel::pair().unwrap();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        let keeper = Keeper {
            socket,
            patience: Duration::from_millis(200),
            sent: 0,
            spares: Vec::new(),
        };
        (keeper, there)
    }

    fn answer(from: &OwnedFd, number: u64, pid: Pid, descriptors: &[BorrowedFd<'_>]) {
        let pid = pid.as_raw_pid();
        let answer = Answer::Made { pid };
        channel::send(from, &Reply { number, answer }, descriptors).unwrap();
    }

    /// One that waits, and its pidfd.
    fn waiting() -> (Beside, OwnedFd) {
        let process = beside(|| {
            loop {
                let _ = rustix::event::poll(&mut [], None);
            }
        });
        let flags = rustix::process::PidfdFlags::empty();
        let pidfd = rustix::process::pidfd_open(process.pid, flags).unwrap();
        (process, pidfd)
    }

    fn request() -> Request {
        Request::RemoveAtEnd(Path::new("/nothing").into())
    }

    /// The keeper was slow, so the host no longer waits for the process that was to be ready; then
    /// the keeper gives that one to the next start.
    #[test]
    fn one_that_was_made_too_late_is_still_good_for_the_next_start() {
        let (mut keeper, there) = keeper();
        let (process, pidfd) = waiting();
        answer(&there, 1, process.pid, &[pidfd.as_fd()]);
        answer(&there, 2, process.pid, &[pidfd.as_fd()]);
        let Ok(Some(made)) = keeper.ask(2, &request(), &[]) else {
            panic!("it is not made");
        };
        assert_eq!(made.pid, process.pid);
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        let soon = Timespec::try_from(Duration::from_millis(100)).unwrap();
        assert_eq!(rustix::event::poll(&mut ended, Some(&soon)), Ok(0));
    }

    /// A host that has no descriptor left loses this start, and not its keeper with all sandboxes.
    #[test]
    fn a_descriptor_that_is_lost_is_no_reason_to_give_up_the_keeper() {
        let (mut keeper, there) = keeper();
        let (process, pidfd) = waiting();
        answer(&there, 1, process.pid, &[]);
        let Err(AskError::Failed(failure)) = keeper.ask(1, &request(), &[]) else {
            panic!("the keeper is given up");
        };
        assert_eq!(failure.errno, libc::EMFILE);
        // What nobody can watch is not left running.
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(Duration::from_secs(120)).unwrap();
        assert_eq!(rustix::event::poll(&mut ended, Some(&timeout)), Ok(1));
    }

    /// What it does not read fills the socket in the end; the thread that starts everything must
    /// not wait for that without end.
    #[test]
    fn a_keeper_that_reads_nothing_stops_nobody() {
        let (mut keeper, _there) = keeper();
        let long = Request::RemoveAtEnd(Bytes(vec![b'/'; channel::REQUEST_BYTES_MAX / 2]));
        for number in 1..8 {
            assert!(matches!(
                keeper.ask(number, &long, &[]),
                Err(AskError::Failed(_))
            ));
        }
    }
}
