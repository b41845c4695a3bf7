//! What a program's author decides on, or who can write to its package: none of it may cost a
//! layer.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use gk_sandbox::{
    Child, Confinement, KeeperProgram, Layer, Program, SandboxSpec, SpawnError, Spawner, State,
};

/// Lives as long as the process: what it starts ends with it.
fn spawner() -> &'static Spawner {
    static SPAWNER: OnceLock<Spawner> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let keeper = KeeperProgram::at(env!("CARGO_BIN_EXE_gk-sandbox-keeper"));
        Spawner::with_keeper(keeper).unwrap()
    })
}

/// A directory that every user may enter.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// These bytes, pinned and confined.
fn pinned(dir: &Path, bytes: &[u8]) -> SandboxSpec {
    let path = dir.join("program");
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let file = Arc::new(std::fs::File::open(&path).unwrap().into());
    let mut spec = SandboxSpec::new(Program::Pinned { name: path, file }, "/tmp");
    spec.env.insert("PATH".into(), "/usr/bin:/bin".into());
    spec.confinement = Some(Confinement::new("author", "/tmp/plugin"));
    spec
}

fn stdout(child: &Child) -> String {
    let mut text = String::new();
    let (stdout, _) = child.clone_pipes().unwrap();
    std::fs::File::from(stdout)
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn mount(child: &Child) -> State {
    child.report().get(Layer::Mount).unwrap().state.clone()
}

/// A dynamic program whose loader is written in another way that the kernel takes.
fn with_loader(change: impl FnOnce(&str) -> String) -> Vec<u8> {
    let mut program = std::fs::read("/bin/ls").unwrap();
    let place = |bytes: &[u8]| -> Option<(usize, usize)> {
        let start = bytes.windows(4).position(|four| four == b"/lib")?;
        let length = bytes[start..].iter().position(|byte| *byte == 0)?;
        Some((start, length))
    };
    let (start, length) = place(&program).expect("/bin/ls names a loader below /lib");
    let old = String::from_utf8(program[start..start + length].to_vec()).unwrap();
    assert!(old.contains("ld-"), "{old}");
    let new = change(&old);
    // As long as before, or it overwrites what follows: the header is told where it is now.
    let end = program.len() as u64;
    program.extend_from_slice(new.as_bytes());
    program.push(0);
    let headers = u64::from_le_bytes(program[32..40].try_into().unwrap());
    let size = u16::from_le_bytes(program[54..56].try_into().unwrap());
    let count = u16::from_le_bytes(program[56..58].try_into().unwrap());
    for index in 0..u64::from(count) {
        let at = usize::try_from(headers + index * u64::from(size)).unwrap();
        if program[at..at + 4] == 3u32.to_le_bytes() {
            program[at + 8..at + 16].copy_from_slice(&end.to_le_bytes());
            let length = new.len() as u64 + 1;
            program[at + 32..at + 40].copy_from_slice(&length.to_le_bytes());
            return program;
        }
    }
    panic!("/bin/ls names no loader")
}

/// Defends: the root was given up where the loader's path could not be shown, and the program ran
/// with the host's file system, and its sockets, before it.
#[test]
fn a_loader_written_with_dots_costs_no_mounts() {
    let dir = directory();
    let program = with_loader(|loader| format!("/lib/..{loader}"));
    let mut spec = pinned(dir.path(), &program);
    spec.args = vec!["/".into()];
    let child = spawner().spawn(spec).unwrap();
    assert_eq!(mount(&child), State::Enforced);
    let said = stdout(&child);
    assert!(said.lines().any(|line| line == "tmp"), "it ran: {said}");
    assert!(!said.lines().any(|line| line == "root"), "{said}");
}

/// Defends: the same by a loader in a directory that the program writes to, which became
/// executable besides.
#[test]
fn a_loader_that_the_program_can_write_costs_no_mounts() {
    let dir = directory();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let program = with_loader(|loader| {
        std::fs::copy(loader, work.join("ld.so")).unwrap();
        work.join("ld.so").to_str().unwrap().to_owned()
    });
    let mut spec = pinned(dir.path(), &program);
    let confinement = spec.confinement.as_mut().unwrap();
    confinement.writable.push(work);
    // It cannot be executed there.
    let refused = spawner().spawn(spec).unwrap_err();
    assert!(matches!(refused, SpawnError::Denied { .. }), "{refused}");
}

/// Defends: a script larger than the root's memory cost the root.
#[test]
fn a_large_script_is_refused_and_costs_no_mounts() {
    let dir = directory();
    let mut script = b"#!/bin/sh\nls /\nexit\n#".to_vec();
    script.resize(2 << 20, b'#');
    let child = spawner().spawn(pinned(dir.path(), &script)).unwrap();
    assert_eq!(mount(&child), State::Enforced);
    assert!(stdout(&child).contains("tmp"));
    script.push(b'#');
    let refused = spawner().spawn(pinned(dir.path(), &script)).unwrap_err();
    assert!(
        matches!(refused, SpawnError::ScriptTooLarge { .. }),
        "{refused}"
    );
}

/// Defends: who can exchange a package after it was judged put a link to `/` there, and the sandbox
/// showed all of the host's file system, its sockets and `/proc` included, with every layer
/// reported as enforced.
#[test]
fn a_package_that_became_a_link_is_not_shown() {
    let dir = directory();
    let package = dir.path().join("package");
    std::fs::create_dir(&package).unwrap();
    let script = format!("#!/bin/sh\nls -a {}\n", package.display());
    let mut spec = pinned(dir.path(), script.as_bytes());
    let confinement = spec.confinement.as_mut().unwrap();
    confinement.read_only.push(package.clone());
    let child = spawner().spawn(spec.clone()).unwrap();
    assert_eq!(stdout(&child), ".\n..\n");

    std::fs::remove_dir(&package).unwrap();
    symlink("/", &package).unwrap();
    let refused = spawner().spawn(spec.clone()).unwrap_err();
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    // Where there are no mounts, Landlock is led nowhere either.
    let confinement = spec.confinement.as_mut().unwrap();
    confinement.without = confinement.without.with(Layer::Mount);
    if let Ok(child) = spawner().spawn(spec) {
        let said = stdout(&child);
        assert!(!said.contains("etc"), "{said}");
    }
}
