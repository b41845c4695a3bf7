//! Needs of a program, read from its first bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// The files of the system that a program needs to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Needs {
    /// None: the program is static.
    Nothing,
    /// The libraries, and the loader that the program names.
    Libraries(Option<Bytes>),
    /// The system's programs: the program is a script.
    Programs,
}

/// The longest loader path that is believed.
const LOADER_BYTES_MAX: usize = 4096;
/// The most program headers that are looked at.
const HEADERS_MAX: u16 = 128;
/// The most entries of the dynamic section that are looked at.
const DYNAMIC_ENTRIES_MAX: u64 = 1024;
/// The longest list of directories that is believed.
const RUN_PATH_BYTES_MAX: usize = 4096;
/// Kinds of program headers: a part of the file that is mapped, the dynamic section, the name of
/// the loader.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
/// Entries of the dynamic section: its end, the table of strings and its size, where libraries are
/// (old and new).
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What is behind a descriptor needs. Whatever is no ELF file is taken for a script.
pub(crate) fn needs(file: impl AsFd) -> Needs {
    let file = file.as_fd();
    let mut magic = [0; 4];
    if read(file, &mut magic, 0).is_err() || magic != *b"\x7fELF" {
        return Needs::Programs;
    }
    match loader(file) {
        Ok(None) => Needs::Nothing,
        Ok(Some(loader)) => {
            Needs::Libraries(Some(Path::new(std::ffi::OsStr::from_bytes(&loader)).into()))
        }
        // Odd, but the kernel may know better.
        Err(_) => Needs::Libraries(None),
    }
}

/// The loader that a 64-bit little-endian ELF file names. (Others have none that would run here.)
pub(crate) fn loader(file: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let headers = headers(file)?;
    let Some(part) = headers.iter().find(|header| header.kind == PT_INTERP) else {
        return Ok(None);
    };
    let length = usize::try_from(part.size).map_err(|_| odd())?;
    if length == 0 || length > LOADER_BYTES_MAX {
        return Err(odd());
    }
    let mut path = vec![0; length];
    read(file, &mut path, part.offset)?;
    while path.last() == Some(&0) {
        path.pop();
    }
    Ok(Some(path))
}

/// The directories that an ELF file names relative to itself (`$ORIGIN` in `DT_RUNPATH` or
/// `DT_RPATH`), as they are for the file at `path`. A loader takes the origin from
/// `/proc/self/exe`, which leads nowhere for a memory file.
pub(crate) fn origin_directories(file: BorrowedFd<'_>, path: &Path) -> Vec<PathBuf> {
    let Some(origin) = path.parent() else {
        return Vec::new();
    };
    let list = run_path(file).unwrap_or_default();
    let list = String::from_utf8_lossy(&list);
    let expanded = list.split(':').filter_map(|entry| {
        let rest = entry
            .strip_prefix("$ORIGIN")
            .or_else(|| entry.strip_prefix("${ORIGIN}"))?;
        match rest.strip_prefix('/') {
            Some(below) => Some(origin.join(below)),
            None => rest.is_empty().then(|| origin.to_owned()),
        }
    });
    expanded.collect()
}

/// Where the file says that its libraries are, `:` between the directories; empty if it does not
/// say.
fn run_path(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let headers = headers(file)?;
    let Some(dynamic) = headers.iter().find(|header| header.kind == PT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    let (mut strings, mut strings_size, mut at) = (None, 0, None);
    let count = (dynamic.size / 16).min(DYNAMIC_ENTRIES_MAX);
    for index in 0..count {
        let mut entry = [0; 16];
        let place = dynamic.offset.checked_add(index * 16).ok_or_else(odd)?;
        read(file, &mut entry, place)?;
        let (tag, value) = (u64_at(&entry, 0)?, u64_at(&entry, 8)?);
        match tag {
            DT_NULL => break,
            DT_STRTAB => strings = Some(value),
            DT_STRSZ => strings_size = value,
            DT_RUNPATH => at = Some(value),
            DT_RPATH => at = at.or(Some(value)),
            _ => {}
        }
    }
    let (Some(strings), Some(at)) = (strings, at) else {
        return Ok(Vec::new());
    };
    // The table is named by its address in memory.
    let loaded = headers.iter().find(|header| {
        header.kind == PT_LOAD
            && strings
                .checked_sub(header.address)
                .is_some_and(|within| within < header.size)
    });
    let loaded = loaded.ok_or_else(odd)?;
    let place = loaded
        .offset
        .checked_add(strings - loaded.address)
        .and_then(|place| place.checked_add(at))
        .ok_or_else(odd)?;
    let length = strings_size.checked_sub(at).ok_or_else(odd)?;
    let length = usize::try_from(length).map_err(|_| odd())?;
    let mut text = vec![0; length.min(RUN_PATH_BYTES_MAX)];
    read(file, &mut text, place)?;
    match text.iter().position(|byte| *byte == 0) {
        Some(end) => text.truncate(end),
        None => return Err(odd()),
    }
    Ok(text)
}

/// A program header, as far as it is looked at.
struct ProgramHeader {
    kind: u32,
    offset: u64,
    address: u64,
    /// In the file.
    size: u64,
}

fn headers(file: BorrowedFd<'_>) -> io::Result<Vec<ProgramHeader>> {
    let mut header = [0; 64];
    read(file, &mut header, 0)?;
    if header[4] != 2 || header[5] != 1 {
        return Err(odd());
    }
    let (offset, size, count) = (
        u64_at(&header, 32)?,
        u16_at(&header, 54)?,
        u16_at(&header, 56)?,
    );
    if size < 56 || count > HEADERS_MAX {
        return Err(odd());
    }
    let mut found = Vec::with_capacity(count.into());
    for index in 0..u64::from(count) {
        let mut entry = [0; 56];
        let at = offset
            .checked_add(index * u64::from(size))
            .ok_or_else(odd)?;
        read(file, &mut entry, at)?;
        found.push(ProgramHeader {
            kind: u32::from(u16_at(&entry, 0)?) | u32::from(u16_at(&entry, 2)?) << 16,
            offset: u64_at(&entry, 8)?,
            address: u64_at(&entry, 16)?,
            size: u64_at(&entry, 32)?,
        });
    }
    Ok(found)
}

fn odd() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    let part = bytes.get(at..at + 2).and_then(|part| part.try_into().ok());
    part.map(u16::from_le_bytes).ok_or_else(odd)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    part.map(u64::from_le_bytes).ok_or_else(odd)
}

fn read(file: BorrowedFd<'_>, into: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let rest = into.get_mut(done..).unwrap_or_default();
        match rustix::io::pread(file, rest, at + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn of(path: &str) -> Needs {
        needs(File::open(path).unwrap())
    }

    #[test]
    fn a_dynamic_program_names_its_loader_and_a_script_nothing() {
        let Needs::Libraries(Some(loader)) = of("/bin/cat") else {
            panic!("{:?}", of("/bin/cat"))
        };
        assert!(loader.path().is_absolute(), "{loader:?}");
        assert!(loader.path().exists(), "{loader:?}");
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "#!/bin/sh\n").unwrap();
        assert_eq!(of(script.path().to_str().unwrap()), Needs::Programs);
    }

    #[test]
    fn a_damaged_header_is_not_believed() {
        let whole = std::fs::read("/bin/cat").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        // The size and the number of the program headers, and the class: each makes another file of
        // it.
        for (at, value) in [(54, 1), (57, 0xff), (4, 1)] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            std::fs::write(file.path(), damaged).unwrap();
            let found = of(file.path().to_str().unwrap());
            assert_eq!(found, Needs::Libraries(None), "{at}");
        }
        std::fs::write(file.path(), &whole[..20]).unwrap();
        assert_eq!(of(file.path().to_str().unwrap()), Needs::Libraries(None));
    }

    /// Built by the C compiler that building this project takes.
    #[test]
    fn what_a_program_names_relative_to_itself_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("main.c");
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let program = dir.path().join("program");
        for (flag, expected) in [
            (
                "-Wl,-rpath,$ORIGIN:/usr/x:${ORIGIN}/lib:$ORIGINAL",
                vec!["/p", "/p/lib"],
            ),
            ("-Wl,--disable-new-dtags,-rpath,$ORIGIN/a", vec!["/p/a"]),
            ("-Wl,-O1", vec![]),
        ] {
            #[expect(clippy::disallowed_methods, reason = "a compiler, not a plugin")]
            let built = std::process::Command::new("cc")
                .arg(flag)
                .arg(&source)
                .arg("-o")
                .arg(&program)
                .status()
                .expect("a C compiler (Debian: gcc libc6-dev)");
            assert!(built.success());
            let file = File::open(&program).unwrap();
            let found = origin_directories(file.as_fd(), Path::new("/p/plugin"));
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{flag}");
        }
        let file = File::open(&source).unwrap();
        assert!(origin_directories(file.as_fd(), Path::new("/p/plugin")).is_empty());
    }
}
