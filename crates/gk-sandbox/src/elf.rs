//! What a program needs to run, read off its first bytes.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::keeper::Needs;

/// The longest loader path that is believed.
const LOADER_BYTES_MAX: usize = 4096;
/// The most program headers that are looked at.
const HEADERS_MAX: u16 = 128;
/// The kind of program header that names a loader.
const PT_INTERP: u32 = 3;

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
fn loader(file: std::os::fd::BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let mut header = [0; 64];
    read(file, &mut header, 0)?;
    if header[4] != 2 || header[5] != 1 {
        return Err(odd());
    }
    let u16_at = |bytes: &[u8], at: usize| -> io::Result<u16> {
        let part = bytes.get(at..at + 2).and_then(|part| part.try_into().ok());
        part.map(u16::from_le_bytes).ok_or_else(odd)
    };
    let u64_at = |bytes: &[u8], at: usize| -> io::Result<u64> {
        let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
        part.map(u64::from_le_bytes).ok_or_else(odd)
    };
    let (offset, size, count) = (
        u64_at(&header, 32)?,
        u16_at(&header, 54)?,
        u16_at(&header, 56)?,
    );
    if size < 56 || count > HEADERS_MAX {
        return Err(odd());
    }
    for index in 0..u64::from(count) {
        let mut entry = [0; 56];
        let at = offset
            .checked_add(index * u64::from(size))
            .ok_or_else(odd)?;
        read(file, &mut entry, at)?;
        let kind = u32::from(u16_at(&entry, 0)?) | u32::from(u16_at(&entry, 2)?) << 16;
        if kind == PT_INTERP {
            let length = usize::try_from(u64_at(&entry, 32)?).map_err(|_| odd())?;
            if length == 0 || length > LOADER_BYTES_MAX {
                return Err(odd());
            }
            let mut path = vec![0; length];
            read(file, &mut path, u64_at(&entry, 8)?)?;
            while path.last() == Some(&0) {
                path.pop();
            }
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn read(file: std::os::fd::BorrowedFd<'_>, into: &mut [u8], at: u64) -> io::Result<()> {
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
        for (at, value) in [(54, 1), (57, 0xff), (4, 1)] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            std::fs::write(file.path(), damaged).unwrap();
            let found = of(file.path().to_str().unwrap());
            assert!(
                matches!(found, Needs::Libraries(None) | Needs::Libraries(Some(_))),
                "{at}: {found:?}"
            );
        }
        std::fs::write(file.path(), &whole[..20]).unwrap();
        assert_eq!(of(file.path().to_str().unwrap()), Needs::Libraries(None));
    }
}
