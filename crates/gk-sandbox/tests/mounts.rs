//! What is mounted after a first process was made ahead is there for the start that gets it. One
//! test, in a mount namespace of its thread's own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Read;

use gk_sandbox::{Confinement, KeeperProgram, SandboxSpec, Spawner};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

#[test]
fn what_is_mounted_after_it_was_made_is_seen() {
    assert!(
        rustix::process::geteuid().is_root(),
        "run this as root: it mounts something"
    );
    // Nothing that is mounted here comes to other namespaces by itself, as in a container.
    #[expect(deprecated, reason = "it leaves the descriptors alone")]
    rustix::thread::unshare(UnshareFlags::NEWNS).unwrap();
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags).unwrap();

    let program = KeeperProgram::at(env!("CARGO_BIN_EXE_gk-sandbox-keeper"));
    let spawner = Spawner::with_keeper(program).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "before").unwrap();
    let mut confinement = Confinement::new("mounts", "/tmp/mounts");
    confinement.read_only.push(dir.path().into());
    spawner.prepare(&confinement);
    // A plain start: when it returns, what was asked before is done.
    let mut child = spawner.spawn(SandboxSpec::new("/bin/true", "/")).unwrap();
    child.reap().unwrap();

    rustix::mount::mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), None).unwrap();
    std::fs::write(dir.path().join("file"), "after").unwrap();
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut spec = SandboxSpec::new("/bin/cat", "/");
    spec.args = vec![dir.path().join("file").into()];
    spec.confinement = Some(confinement);
    let mut child = spawner.spawn(spec).unwrap();
    let mut said = String::new();
    let (stdout, stderr) = child.clone_pipes().unwrap();
    for pipe in [stdout, stderr] {
        std::fs::File::from(pipe).read_to_string(&mut said).unwrap();
    }
    child.reap().unwrap();
    rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(said, "after");
}
