//! Memory of a sandbox, summed over its processes: for a watchdog, on systems without a memory
//! control group.
//!
//! A sum over processes is a bound from above: a page that several share counts once for each. It
//! misses memory that no process maps: a file in a tmpfs (whose size its mount limits) and System
//! V segments (which the system call filter forbids). And a watchdog sees what was, not what will
//! be: between two looks a process can take as much as the machine gives.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

/// The largest part of a process's `status` or `stat` that is read. The fields stand within the
/// first kilobytes; a name has 15 bytes at most, and groups come last in what can be long.
const BUFFER_BYTES: usize = 16 * 1024;
/// More processes than that are not looked at: limits on their number are lower by far.
const PROCESSES_MAX: usize = 65_536;

/// The sums over a sandbox's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// Private and shared memory in RAM, without pages of files, and the tables that map it: those
    /// of memory that is only read, of which a page costs nothing, can be made as large as one
    /// likes.
    pub(crate) resident_bytes: u64,
    /// Private memory that was swapped out.
    pub(crate) swapped_bytes: u64,
    /// The processes counted.
    pub(crate) processes: u32,
}

impl Usage {
    /// Sum of all kinds of memory, in bytes.
    pub(crate) fn total_bytes(self) -> u64 {
        self.resident_bytes.saturating_add(self.swapped_bytes)
    }
}

/// The memory of all processes that `proc_dir` shows (the procfs of a pid namespace) but its pid
/// 1, which is the shim. Processes that end meanwhile count as none.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn summed(proc_dir: BorrowedFd<'_>) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut buffer = [0; BUFFER_BYTES];
    for pid in pids(proc_dir)? {
        let pid = pid?;
        if pid != 1 {
            add(proc_dir, pid, &mut buffer, &mut usage);
        }
    }
    Ok(usage)
}

/// The memory of these processes.
pub(crate) fn summed_of(proc_dir: BorrowedFd<'_>, pids: &[i32]) -> Usage {
    let mut usage = Usage::default();
    let mut buffer = [0; BUFFER_BYTES];
    for &pid in pids {
        add(proc_dir, pid, &mut buffer, &mut usage);
    }
    usage
}

/// The processes that descend from `root`, without it, parents before their children: for systems
/// without a pid namespace. A process whose parent ended belongs to another parent from then on
/// and is not found, unless `root` is a subreaper (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn descendants(proc_dir: BorrowedFd<'_>, root: i32) -> io::Result<Vec<i32>> {
    let mut buffer = [0; BUFFER_BYTES];
    let mut parents = Vec::new();
    for pid in pids(proc_dir)?.take(PROCESSES_MAX) {
        let pid = pid?;
        let stat = read(proc_dir, pid, Field::Stat, &mut buffer);
        if let Some(parent) = stat.and_then(parent) {
            parents.push((parent, pid));
        }
    }
    parents.sort_unstable();
    let mut found = Vec::new();
    let mut next = 0;
    let mut of = root;
    loop {
        let start = parents.partition_point(|(parent, _)| *parent < of);
        let children = parents[start..]
            .iter()
            .take_while(|(parent, _)| *parent == of);
        // Each process was listed once, with one parent, so nothing but the root can come again.
        found.extend(
            children
                .map(|(_, child)| *child)
                .filter(|child| *child != root),
        );
        let Some(&following) = found.get(next) else {
            return Ok(found);
        };
        of = following;
        next += 1;
    }
}

/// The numeric entries.
fn pids(proc_dir: BorrowedFd<'_>) -> io::Result<impl Iterator<Item = io::Result<i32>>> {
    // A new mount's descriptor is one of O_PATH, and `Dir::read_from` would open another such.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(proc_dir, ".", flags, Mode::empty())?;
    Ok(Dir::new(readable)?.filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().to_str().ok()?.parse().ok().map(Ok),
        Err(errno) => Some(Err(errno.into())),
    }))
}

fn add(proc_dir: BorrowedFd<'_>, pid: i32, buffer: &mut [u8; BUFFER_BYTES], usage: &mut Usage) {
    let Some(status) = read(proc_dir, pid, Field::Status, buffer) else {
        return;
    };
    usage.processes += 1;
    if add_status(status, usage) || field(status, b"Threads").is_none_or(|threads| threads < 2) {
        return;
    }
    // Its first thread has ended, and with it what the process's own file says of memory; the
    // others, which it may have left on purpose, tell of the same memory.
    for thread in threads(proc_dir, pid) {
        let status = read(proc_dir, pid, Field::ThreadStatus(thread), buffer);
        if status.is_some_and(|status| add_status(status, usage)) {
            return;
        }
    }
}

/// Adds what a `status` says; `false` if it says nothing of memory.
fn add_status(status: &[u8], usage: &mut Usage) -> bool {
    let resident = [&b"RssAnon"[..], b"RssShmem", b"VmPTE"];
    let found = resident.map(|name| field(status, name));
    for sum in found.into_iter().flatten() {
        usage.resident_bytes = usage
            .resident_bytes
            .saturating_add(sum.saturating_mul(1024));
    }
    let swapped = field(status, b"VmSwap").unwrap_or_default();
    let swapped = swapped.saturating_mul(1024);
    usage.swapped_bytes = usage.swapped_bytes.saturating_add(swapped);
    found.iter().any(Option::is_some)
}

/// The number in the line of a `status` that begins so.
fn field(status: &[u8], name: &[u8]) -> Option<u64> {
    let mut lines = status.split(|&byte| byte == b'\n');
    lines.find_map(|line| Some(kilobytes(line.strip_prefix(name)?.strip_prefix(b":")?)))
}

/// The threads of a process, as far as they can be had.
fn threads(proc_dir: BorrowedFd<'_>, pid: i32) -> impl Iterator<Item = i32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(proc_dir, format!("{pid}/task"), flags, Mode::empty());
    let dir = dir.and_then(Dir::new).ok();
    dir.into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str().ok()?.parse().ok()
    })
}

/// The number of `\t  1234 kB`.
fn kilobytes(text: &[u8]) -> u64 {
    text.iter()
        .filter(|byte| byte.is_ascii_digit())
        .fold(0, |sum: u64, digit| {
            sum.saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
}

/// The parent, from `pid (name) state parent …`; the name may hold spaces and parentheses.
fn parent(stat: &[u8]) -> Option<i32> {
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[derive(Clone, Copy)]
enum Field {
    Status,
    Stat,
    ThreadStatus(i32),
}

/// Reads a file of a process; `None` if there is no such process any more, or none that may be
/// looked at.
fn read<'a>(
    proc_dir: BorrowedFd<'_>,
    pid: i32,
    field: Field,
    buffer: &'a mut [u8; BUFFER_BYTES],
) -> Option<&'a [u8]> {
    let file = open(proc_dir, pid, field).ok()?;
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(&file, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(&buffer[..filled])
}

fn open(proc_dir: BorrowedFd<'_>, pid: i32, field: Field) -> rustix::io::Result<OwnedFd> {
    // On the stack: the longest is `-2147483648/task/-2147483648/status`.
    let mut path = [0; 40];
    let mut rest = &mut path[..];
    match field {
        Field::Status => io::Write::write_fmt(&mut rest, format_args!("{pid}/status")),
        Field::Stat => io::Write::write_fmt(&mut rest, format_args!("{pid}/stat")),
        Field::ThreadStatus(thread) => {
            io::Write::write_fmt(&mut rest, format_args!("{pid}/task/{thread}/status"))
        }
    }
    .map_err(|_| Errno::NAMETOOLONG)?;
    let unused = rest.len();
    let used = path.len() - unused;
    rustix::fs::openat(
        proc_dir,
        &path[..used],
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::trial::{Beside, beside};

    const MIB: usize = 1 << 20;

    fn proc_dir() -> OwnedFd {
        rustix::fs::open(
            "/proc",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap()
    }

    /// A child that holds so much, with one of its own that holds as much; and ends with the
    /// stream.
    fn family(bytes: usize) -> (Beside, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = beside(|| {
            let hold = || {
                let memory = vec![1_u8; bytes];
                (&theirs).write_all(b"!").unwrap();
                // Until the test hangs up: it writes nothing.
                let _ = (&theirs).read(&mut [0]);
                assert_eq!(memory[bytes / 2], 1);
            };
            let _grandchild = beside(hold);
            hold();
        });
        (child, ours)
    }

    #[test]
    fn lines_of_procfs_are_read_as_they_are_written() {
        assert_eq!(kilobytes(b"\t    1234 kB"), 1234);
        assert_eq!(kilobytes(b""), 0);
        assert_eq!(kilobytes(&[b'9'; 40]), u64::MAX);
        assert_eq!(parent(b"12 (a) S 7 12 12"), Some(7));
        assert_eq!(parent(b"12 (evil) S 1 (x) R 7 12 12"), Some(7));
        for broken in [
            &b""[..],
            b"12",
            b"12 (a",
            b"12 (a)",
            b"12 (a) S",
            b"12 (a) S x",
        ] {
            assert_eq!(parent(broken), None);
        }
    }

    #[test]
    fn a_family_is_found_and_its_memory_summed() {
        let proc_dir = proc_dir();
        let root = i32::try_from(std::process::id()).unwrap();
        let (child, ours) = family(32 * MIB);
        let mut ready = [0; 2];
        (&ours).read_exact(&mut ready).unwrap();

        let family = descendants(proc_dir.as_fd(), root).unwrap();
        let child_pid = child.pid.as_raw_pid();
        assert!(family.contains(&child_pid) && !family.contains(&root));
        let below = descendants(proc_dir.as_fd(), child_pid).unwrap();
        assert_eq!(below.len(), 1, "{below:?}");
        assert!(family.contains(&below[0]));

        let one = summed_of(proc_dir.as_fd(), &below);
        let both = summed_of(proc_dir.as_fd(), &[child_pid, below[0]]);
        assert_eq!((one.processes, both.processes), (1, 2));
        assert!(one.total_bytes() >= 32 * MIB as u64, "{one:?}");
        assert!(both.total_bytes() >= 64 * MIB as u64, "{both:?}");
        // Of all there are, these are a part.
        let all = summed(proc_dir.as_fd()).unwrap();
        assert!(all.total_bytes() >= 64 * MIB as u64 && all.processes >= 3);
        assert_eq!(
            summed_of(proc_dir.as_fd(), &[i32::MAX, -1]),
            Usage::default()
        );
    }

    #[test]
    fn shared_memory_counts() {
        let proc_dir = proc_dir();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = beside(|| {
            let length = libc::c_long::try_from(32 * MIB).unwrap();
            // MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE: what RLIMIT_DATA misses.
            let shared = crate::sys::trial::call(libc::SYS_mmap, &[0, length, 3, 0x8021, -1, 0]);
            assert!(shared.is_ok());
            (&theirs).write_all(b"!").unwrap();
            let _ = (&theirs).read(&mut [0]);
        });
        let mut ready = [0];
        (&ours).read_exact(&mut ready).unwrap();
        let usage = summed_of(proc_dir.as_fd(), &[child.pid.as_raw_pid()]);
        assert!(usage.resident_bytes >= 32 * MIB as u64, "{usage:?}");
    }

    /// A process can hide what it has from its own `status`: by ending its first thread alone.
    #[test]
    fn memory_counts_when_the_first_thread_has_ended() {
        let proc_dir = proc_dir();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = beside(|| {
            let theirs = theirs.try_clone().unwrap();
            std::thread::spawn(move || {
                let memory = vec![1_u8; 32 * MIB];
                (&theirs).write_all(b"!").unwrap();
                let _ = (&theirs).read(&mut [0]);
                assert_eq!(memory[MIB], 1);
            });
            // Of this thread, not of the process.
            let _ = crate::sys::trial::call(libc::SYS_exit, &[0]);
        });
        (&ours).read_exact(&mut [0]).unwrap();
        let pid = child.pid.as_raw_pid();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            !status.contains("RssAnon")
        };
        while !gone() {
            assert!(std::time::Instant::now() < deadline, "it has not ended");
            std::thread::yield_now();
        }
        let usage = summed_of(proc_dir.as_fd(), &[pid]);
        assert!(usage.resident_bytes >= 32 * MIB as u64, "{usage:?}");
    }

    /// What is only read is one page of zeros everywhere, but not the tables that lead there.
    #[test]
    fn tables_of_pages_count() {
        let proc_dir = proc_dir();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = beside(|| {
            let file = std::fs::File::open("/proc/self/mem").unwrap();
            // PROT_READ; MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE: 64 GiB.
            let length = 64_u64 << 30;
            let args = [0, i64::try_from(length).unwrap(), 1, 0x4022, -1, 0];
            let start = crate::sys::trial::call(libc::SYS_mmap, &args).unwrap();
            let start = u64::try_from(start).unwrap();
            for at in (start..start + length).step_by(2 * MIB) {
                use std::os::unix::fs::FileExt;
                file.read_exact_at(&mut [0], at).unwrap();
            }
            (&theirs).write_all(b"!").unwrap();
            let _ = (&theirs).read(&mut [0]);
        });
        (&ours).read_exact(&mut [0]).unwrap();
        let usage = summed_of(proc_dir.as_fd(), &[child.pid.as_raw_pid()]);
        assert!(usage.resident_bytes >= 128 * MIB as u64, "{usage:?}");
    }

    /// Processes come and go while the directory is read.
    #[test]
    fn vanishing_processes_are_no_error() {
        use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
        const READS: usize = 50;
        let proc_dir = proc_dir();
        let root = i32::try_from(std::process::id()).unwrap();
        let (gone, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(beside(|| ()));
                    gone.fetch_add(1, Ordering::Relaxed);
                }
            });
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
            // Reads during which a process came to an end.
            let mut witnesses = 0;
            while witnesses < READS {
                let before = gone.load(Ordering::Relaxed);
                let (sum, below) = (
                    summed(proc_dir.as_fd()),
                    descendants(proc_dir.as_fd(), root),
                );
                let after = gone.load(Ordering::Relaxed);
                witnesses += usize::from(after > before);
                let late = std::time::Instant::now() > deadline;
                if sum.is_err() || below.is_err() || late {
                    done.store(true, Ordering::Relaxed);
                }
                sum.unwrap();
                below.unwrap();
                assert!(!late, "{witnesses} reads with a process that ended");
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
