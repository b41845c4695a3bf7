//! Binary, signatures and manifest are exchanged at any moment between check and use: what the
//! artifact holds, and what runs from it, is always what was verified.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use gk_sign::{BinarySignature, Digest, SecretKey, State, sign_binary, sign_package};

use crate::package::{MANIFEST, Package, bytes, chmod};

/// Verifications of each version while the files are exchanged.
const ROUNDS: usize = 1000;

/// A program that prints its own bytes when told to; `mark` makes it one of its kind.
fn program(mark: &str) -> Vec<u8> {
    let cat = fs::read("/bin/cat").expect("these tests run copies of /bin/cat: install coreutils");
    [&cat, mark.as_bytes()].concat()
}

/// What the program at `path` says it is.
#[allow(
    clippy::disallowed_methods,
    reason = "what is tested is what runs, not how it is started"
)]
fn run(path: &Path) -> Vec<u8> {
    let child = Command::new(path)
        .arg0("cat")
        .arg("/proc/self/exe")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", child.status);
    child.stdout
}

/// By renaming another file over it, as an installer does.
fn exchange(path: &Path, content: &[u8], mode: u32) {
    let fresh = path.parent().unwrap().with_extension("fresh");
    fs::write(&fresh, content).unwrap();
    chmod(&fresh, mode);
    fs::rename(&fresh, path).unwrap();
}

/// By writing into it.
fn overwrite(path: &Path, content: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(content).unwrap();
    file.set_len(content.len() as u64).unwrap();
}

/// What upstream does, and why it is not enough: a verified path is not a verified program, nor is
/// an open file.
#[test]
fn a_path_and_an_open_file_fall_for_the_swap() {
    let (good, evil) = (program("good"), program("evil"));
    let package = Package::new();
    let path = package.path("hello");
    exchange(&path, &good, 0o755);
    package.sign_v1();
    let key = package.key.public();
    let check = |digest: Digest| {
        let signature = fs::read(package.path("hello.sig")).unwrap();
        let signature = BinarySignature::parse(&signature).unwrap();
        signature.verify(&key, &digest)
    };
    // Checked by its path, then run by its path.
    check(Digest::of(&fs::read(&path).unwrap())).unwrap();
    exchange(&path, &evil, 0o755);
    assert!(run(&path) == evil, "the attack on the path does not work");
    // Checked through a descriptor, then read through the same.
    exchange(&path, &good, 0o755);
    let mut open = File::open(&path).unwrap();
    let mut read = Vec::new();
    open.read_to_end(&mut read).unwrap();
    check(Digest::of(&read)).unwrap();
    overwrite(&path, &evil);
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    assert!(
        fs::read(again).unwrap() == evil,
        "the attack on the open file does not work"
    );
    // The artifact does not care for either.
    exchange(&path, &good, 0o755);
    let artifact = package.verify().unwrap();
    overwrite(&path, &evil);
    assert!(run(&artifact.exec_path()) == good);
    exchange(&path, &evil, 0o755);
    assert!(run(&artifact.exec_path()) == good);
}

/// A file that is exchanged: its path, its good and its evil content, its mode.
type Target = (std::path::PathBuf, Vec<u8>, Vec<u8>, u32);

fn swap_until(stop: &AtomicBool, targets: &[Target]) -> usize {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        for (path, good, evil, mode) in targets {
            match swaps % 4 {
                0 => (exchange(path, evil, *mode), exchange(path, good, *mode)),
                1 => (overwrite(path, evil), overwrite(path, good)),
                2 => (exchange(path, evil, *mode), overwrite(path, good)),
                _ => (overwrite(path, evil), exchange(path, good, *mode)),
            };
            swaps += 1;
            thread::yield_now();
        }
    }
    swaps
}

fn race(state: State) {
    let package = Package::new();
    let stranger = SecretKey::generate().unwrap();
    let (binary, manifest) = (package.path("hello"), package.path("plugin.yaml"));
    let signature = match state {
        State::Valid => package.path("plugin.sig"),
        _ => package.path("hello.sig"),
    };
    let sign = |key: &SecretKey| {
        match state {
            State::Valid => drop(sign_package(key, &package.to_sign()).unwrap()),
            _ => drop(sign_binary(key, &binary).unwrap()),
        }
        fs::read(&signature).unwrap()
    };
    let (good, evil) = (program("good"), program("evil"));
    let evil_manifest = [MANIFEST, b"resources: {}\n"].concat();
    // The evil package is a whole one, signed by a stranger.
    exchange(&binary, &evil, 0o755);
    fs::write(&manifest, &evil_manifest).unwrap();
    let evil_signature = sign(&stranger);
    exchange(&binary, &good, 0o755);
    fs::write(&manifest, MANIFEST).unwrap();
    let good_signature = sign(&package.key);
    let targets = [
        (binary, good.clone(), evil, 0o755),
        (signature, good_signature, evil_signature, 0o644),
        (manifest, MANIFEST.to_vec(), evil_manifest, 0o644),
    ];
    let stop = AtomicBool::new(false);
    let (verified, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let digest = Digest::of(&good);
    let swaps = thread::scope(|scope| {
        let swapper = scope.spawn(|| swap_until(&stop, &targets));
        let verifier = scope.spawn(|| {
            for round in 0..100 * ROUNDS {
                // Where the other side gets few turns, until the swap was met once.
                let both =
                    verified.load(Ordering::Relaxed) > 0 && refused.load(Ordering::Relaxed) > 0;
                if round >= ROUNDS && both {
                    break;
                }
                if round % 3 == 0 {
                    // Both ways in: by a new copy, and by the cache.
                    package.cache.clear();
                }
                let Ok(artifact) = package.verify() else {
                    refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                verified.fetch_add(1, Ordering::Relaxed);
                assert_eq!((artifact.state(), *artifact.digest()), (state, digest));
                assert!(bytes(&artifact) == good, "round {round}: unverified bytes");
                assert!(
                    run(&artifact.exec_path()) == good,
                    "round {round}: unverified run"
                );
                if state == State::Valid {
                    assert_eq!(artifact.manifest(), Some(MANIFEST), "round {round}");
                }
            }
        });
        let result = verifier.join();
        stop.store(true, Ordering::Relaxed);
        let swaps = swapper.join().unwrap();
        result.unwrap();
        swaps
    });
    let (verified, refused) = (verified.into_inner(), refused.into_inner());
    eprintln!("{state}: {verified} verified and run, {refused} refused, {swaps} swaps");
    // Neither side slept: the swap was met, and evaded.
    assert!(
        verified > 0 && refused > 0,
        "{verified} verified, {refused} refused"
    );
}

#[test]
fn a_thousand_rounds_of_version_1() {
    race(State::ValidV1);
}

#[test]
fn a_thousand_rounds_of_version_2() {
    race(State::Valid);
}
