//! Places of this process's own control groups, by the kernel's word on the process and the mounts.
//! This module only reads text. Whether a place can be used is found out by using it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The kernel's words.
#[derive(Debug)]
pub(super) struct Own {
    /// `/proc/self/cgroup`: hierarchy, controllers, path.
    memberships: Vec<u8>,
    /// `/proc/self/mountinfo`.
    mounts: Vec<u8>,
}

impl Own {
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self {
            memberships: std::fs::read("/proc/self/cgroup")?,
            mounts: std::fs::read("/proc/self/mountinfo")?,
        })
    }

    /// The process's directory in the unified hierarchy (version 2).
    pub(super) fn unified(&self) -> Option<PathBuf> {
        let path =
            self.membership(|hierarchy, controllers| hierarchy == b"0" && controllers.is_empty())?;
        self.mounted(path, |kind, _| kind == b"cgroup2")
    }

    /// Directory of the process in the hierarchy of version 1 that has this controller.
    pub(super) fn with_controller(&self, controller: &str) -> Option<PathBuf> {
        let has = |list: &[u8]| {
            list.split(|&byte| byte == b',')
                .any(|one| one == controller.as_bytes())
        };
        let path = self.membership(|_, controllers| has(controllers))?;
        self.mounted(path, |kind, options| kind == b"cgroup" && has(options))
    }

    fn membership(&self, is: impl Fn(&[u8], &[u8]) -> bool) -> Option<&[u8]> {
        lines(&self.memberships).find_map(|line| {
            let mut fields = line.splitn(3, |&byte| byte == b':');
            let (hierarchy, controllers) = (fields.next()?, fields.next()?);
            is(hierarchy, controllers).then(|| fields.next())?
        })
    }

    /// `path`, which counts from the hierarchy's root, as a path of the file system: a mount may
    /// show a part of the hierarchy only.
    fn mounted(&self, path: &[u8], is: impl Fn(&[u8], &[u8]) -> bool) -> Option<PathBuf> {
        let path = Path::new(OsStr::from_bytes(path));
        // Above the root of this process's cgroup namespace: not for it to touch.
        if path.starts_with("/..") {
            return None;
        }
        lines(&self.mounts).find_map(|line| {
            // id, parent, device, root, mount point, options, tags…, "-", type, source, options.
            let mut fields = line.split(|&byte| byte == b' ');
            let (root, point) = (fields.nth(3)?, fields.next()?);
            fields.find(|field| *field == b"-")?;
            let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
            if !is(kind, options) {
                return None;
            }
            let below = path.strip_prefix(unescaped(root)).ok()?;
            Some(unescaped(point).join(below))
        })
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// Spaces, tabs, line ends and backslashes are written as `\` and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(*first);
        if let (
            b'\\',
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ],
        ) = (first, rest)
        {
            bytes.pop();
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(memberships: &str, mounts: &str) -> Own {
        Own {
            memberships: memberships.into(),
            mounts: mounts.into(),
        }
    }

    #[test]
    fn a_machine_with_both_versions() {
        let own = own(
            "9:name=systemd:/\n8:cpu,cpuacct:/a:b\n4:memory:/api/1\n0::/own\n",
            "30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             32 30 0:28 / /sys/fs/cgroup/memory rw shared:9 master:2 - cgroup cgroup rw,memory\n\
             33 30 0:29 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n",
        );
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(own.unified(), at("/sys/fs/cgroup/uni fied/own"));
        assert_eq!(
            own.with_controller("memory"),
            at("/sys/fs/cgroup/memory/api/1")
        );
        assert_eq!(
            own.with_controller("cpu"),
            at("/sys/fs/cgroup/cpu,cpuacct/a:b")
        );
        assert_eq!(own.with_controller("pids"), None);
    }

    /// The mount of a container shows its own part, and what is bound beside it another.
    #[test]
    fn a_mount_that_shows_a_part() {
        let own = own(
            "4:memory:/docker/12ab\n0::/\n",
            "31 30 0:27 /docker/other /elsewhere ro - cgroup cgroup rw,memory\n\
             32 30 0:27 /docker/12ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
             33 30 0:29 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
        );
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(own.with_controller("memory"), at("/sys/fs/cgroup/memory/"));
        assert_eq!(own.unified(), at("/sys/fs/cgroup/"));
    }

    #[test]
    fn what_lies_above_the_namespace_and_nonsense_are_nowhere() {
        let above = own(
            "0::/../other\n",
            "33 30 0:29 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
        );
        assert_eq!(above.unified(), None);
        let nonsense = own("0\n::\n0::/x\n", "1\n1 2 3 4 5 6 7 8\n\n - \n");
        assert_eq!(nonsense.unified(), None);
        assert_eq!(nonsense.with_controller(""), None);
        assert_eq!(unescaped(b"a\\04"), PathBuf::from("a\\04"));
    }
}
