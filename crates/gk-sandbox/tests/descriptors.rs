//! A host without a free descriptor: a start fails, and nothing that runs pays for it. One test, as
//! it uses up those of its process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Read;

use gk_sandbox::{Confinement, KeeperProgram, SandboxSpec, SpawnError, Spawner};
use rustix::process::{Resource, Rlimit};

fn cat(spawner: &Spawner) -> Result<gk_sandbox::Child, gk_sandbox::SpawnError> {
    let mut spec = SandboxSpec::new("/bin/cat", "/");
    spec.args = vec!["/dev/zero".into()];
    spec.confinement = Some(Confinement::new("cat", "/tmp/cat"));
    spawner.spawn(spec)
}

#[test]
fn a_start_without_descriptors_fails_and_the_others_live() {
    let program = KeeperProgram::at(env!("CARGO_BIN_EXE_gk-sandbox-keeper"));
    let spawner = Spawner::with_keeper(program).unwrap();
    let running = cat(&spawner).unwrap();
    let mut stdout = std::fs::File::from(running.stdout.try_clone().unwrap());
    let before = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum: before.maximum,
        },
    )
    .unwrap();

    let (mut failed, mut started) = (0, 0);
    for free in 0..24 {
        let mut held = Vec::new();
        while let Ok(one) = std::fs::File::open("/dev/null") {
            held.push(one);
        }
        held.truncate(held.len() - free);
        match cat(&spawner) {
            Ok(_) => started += 1,
            Err(_) => failed += 1,
        }
        // Where even the process cannot be had, that is an error, too, and not the end of the
        // thread that starts them.
        if let Err(error) = spawner.spawn(SandboxSpec::new("/bin/true", "/")) {
            assert!(!matches!(error, SpawnError::SpawnerGone), "{free} free");
        }
        assert_eq!(running.status().unwrap(), None, "with {free} free");
    }
    // Otherwise the numbers above miss what this is about.
    assert!(failed > 0 && started > 0, "{failed} {started}");
    // It is not only about to end.
    stdout.read_exact(&mut vec![0; 1 << 20]).unwrap();
    cat(&spawner).unwrap();
}
