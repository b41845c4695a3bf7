//! Memory of this process that is not needed: pages of its own text, and what was freed.

use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;

use rustix::mm::Advice;

/// Addresses at which the program's text is mapped.
fn mappings(maps: &str, program: &[u8]) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        // address           perms offset  dev   inode   path
        let mut fields = line.splitn(6, ' ');
        let (range, permissions) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?.trim_start();
        if permissions != "r-xp" || path.as_bytes() != program {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        end.checked_sub(start).map(|length| (start, length))
    };
    maps.lines().filter_map(mapping).collect()
}

/// See [`crate::release_memory`].
pub(crate) fn release() -> std::io::Result<()> {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for (start, length) in mappings(&maps, program.as_os_str().as_bytes()) {
        // SAFETY: the range is a mapping of this program's own file, as the kernel has just said,
        // private and not writable, so each of its pages is the file's and comes back as it was
        // when it is next executed. Nothing unmaps a program's text while it runs. MADV_DONTNEED
        // changes neither addresses nor permissions.
        unsafe {
            rustix::mm::madvise(start as *mut c_void, length, Advice::LinuxDontNeed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_text_is_named() {
        let maps = "\
55f4b0a00000-55f4b0a10000 r--p 00000000 fe:00 123                        /bin/p
55f4b0a10000-55f4b0a30000 r-xp 00010000 fe:00 123                        /bin/p
55f4b0a30000-55f4b0a40000 rw-p 00030000 fe:00 123                        /bin/p
7f0000000000-7f0000001000 r-xp 00000000 fe:00 456                        /lib/libc.so.6
7f0000002000-7f0000003000 r-xp 00000000 fe:00 789                        /bin/p q
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
";
        assert_eq!(mappings(maps, b"/bin/p"), [(0x55f4_b0a1_0000, 0x2_0000)]);
        assert_eq!(mappings(maps, b"/bin/p q"), [(0x7f00_0000_2000, 0x1000)]);
    }

    /// Kibibytes of file pages in memory.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssFile:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    #[test]
    fn what_is_released_is_gone_and_comes_back() {
        // What other tests of this process run meanwhile comes back at once: the least of several
        // looks counts.
        let before = resident();
        let after = (0..20).map(|_| {
            release().unwrap();
            resident()
        });
        let after = after.min().unwrap();
        assert!(after < before, "{after} kB of {before}");
    }
}
