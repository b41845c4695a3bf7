//! The verified files are the ones that run, however fast the files change.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use gk_hostapi::BasicHostApi;
use gk_runtime::{
    LaunchError, LaunchRequest, Launched, Launcher, ProcessLauncher, Runtime, RuntimeConfig,
    Signatures,
};
use gk_sign::{
    PackageToSign, Requirement, SecretKey, State, TrustStore, sign_binary, sign_package,
};

const DEADLINE: Duration = Duration::from_secs(120);
const ROUNDS: usize = 1000;

/// A program that prints these five bytes and exits with 42.
#[cfg(target_arch = "x86_64")]
fn program(says: &[u8; 5]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0x40_0078_u64, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // A single segment, readable and executable: the whole file.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0_u64, 0x40_0000, 0x40_0000, 0xa5, 0xa5, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    // write(1, 0x4000a0, 5); exit(42)
    elf.extend(b"\xb8\x01\0\0\0\xbf\x01\0\0\0\xbe\xa0\0\x40\0\xba\x05\0\0\0\x0f\x05");
    elf.extend(b"\xb8\x3c\0\0\0\xbf\x2a\0\0\0\x0f\x05");
    elf.resize(0xa0, 0);
    elf.extend(says);
    elf
}

#[cfg(not(target_arch = "x86_64"))]
fn program(says: &[u8; 5]) -> Vec<u8> {
    let says = std::str::from_utf8(says).unwrap().trim();
    format!("#!/bin/sh\necho {says}\nexit 42\n").into_bytes()
}

fn manifest(version: &str) -> String {
    format!("name: goat\nversion: {version}\nruntime: grpc\n")
}

/// Two packages of one name: the author's, and another's. `here` is what is installed.
struct Packages {
    root: tempfile::TempDir,
    author: SecretKey,
}

const FILES: [&str; 3] = ["goat", "plugin.yaml", "plugin.sig"];

impl Packages {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["data", "tmp", "plugins/goat"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let packages = Self {
            root,
            author: SecretKey::generate().unwrap(),
        };
        packages.package("good", b"good\n", "1.0.0", &packages.author);
        let other = SecretKey::generate().unwrap();
        packages.package("evil", b"evil\n", "6.6.6", &other);
        install(&packages.path("good"), &packages.here());
        packages
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn here(&self) -> PathBuf {
        self.path("plugins/goat")
    }

    fn package(&self, name: &str, says: &[u8; 5], version: &str, key: &SecretKey) {
        let directory = self.path(name);
        std::fs::create_dir(&directory).unwrap();
        executable(&directory.join("goat"), &program(says));
        std::fs::write(directory.join("plugin.yaml"), manifest(version)).unwrap();
        sign(&directory, version, key);
    }

    fn signatures(&self) -> Signatures {
        let mut trust = TrustStore::new();
        trust.trust(self.author.public()).unwrap();
        Signatures::new(trust, Requirement::Enforce)
    }

    fn config(&self) -> RuntimeConfig {
        let mut config = RuntimeConfig::new(self.path("plugins"), self.path("data"), "1.0.0");
        config.temp_dir = self.path("tmp");
        config.signatures = self.signatures();
        config
    }
}

fn executable(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn sign(directory: &Path, version: &str, key: &SecretKey) {
    let package = PackageToSign {
        directory: directory.into(),
        name: "goat".into(),
        version: version.into(),
        manifest: "plugin.yaml".into(),
        binary: "goat".into(),
        date: SystemTime::now(),
    };
    sign_package(key, &package).unwrap();
}

/// Replaces a file in one step. The new file is created elsewhere, so that the package sees no
/// other change.
fn put(from: &Path, to: &Path) {
    let directory = from.parent().unwrap();
    let made = directory.with_extension("made");
    std::fs::copy(from, &made).unwrap();
    std::fs::rename(&made, to).unwrap();
}

fn install(from: &Path, to: &Path) {
    for file in FILES {
        put(&from.join(file), &to.join(file));
    }
}

/// Starts what is installed; why it failed, for neither package speaks the protocol.
async fn start(config: RuntimeConfig, launcher: Arc<dyn Launcher>) -> (String, Option<State>) {
    let api = Arc::new(BasicHostApi::new());
    let runtime = Runtime::start_with(config, launcher, api).unwrap();
    tokio::time::timeout(DEADLINE, runtime.settled())
        .await
        .expect("nothing may hang");
    let snapshot = runtime.snapshot();
    let status = snapshot.get("goat").unwrap();
    let Some(error) = status.state.error() else {
        panic!("it is {}", status.state);
    };
    (
        error.to_owned(),
        status.signature.map(|signature| signature.state),
    )
}

fn processes(config: &RuntimeConfig) -> Arc<ProcessLauncher> {
    Arc::new(ProcessLauncher::new(config).unwrap())
}

/// Exchanges the whole package when it has been verified and is about to be started.
#[derive(Debug)]
struct Exchanging {
    inner: Arc<ProcessLauncher>,
    evil: PathBuf,
    here: PathBuf,
}

#[async_trait]
impl Launcher for Exchanging {
    async fn launch(&self, request: LaunchRequest) -> Result<Launched, LaunchError> {
        install(&self.evil, &self.here);
        self.inner.launch(request).await
    }
}

/// If a path were executed, the other program would run each time.
#[tokio::test]
async fn what_is_exchanged_after_the_check_does_not_run() {
    let packages = Packages::new();
    let config = packages.config();
    let launcher = Exchanging {
        inner: processes(&config),
        evil: packages.path("evil"),
        here: packages.here(),
    };
    let (error, state) = start(config.clone(), Arc::new(launcher)).await;
    assert!(error.contains("printed \"good\\n\""), "{error}");
    assert!(error.contains("code 42"), "{error}");
    assert_eq!(state, Some(State::Valid));
    // The package that is there now does not even start.
    let launcher = processes(&config);
    let (error, state) = start(config, launcher).await;
    assert!(error.contains("untrusted key: "), "{error}");
    assert!(error.contains("plugin.sig"), "{error}");
    assert_eq!(state, Some(State::UntrustedKey));
}

/// Binary, signature and manifest are exchanged again and again, one by one and all together, while
/// the plugin is restarted again and again: the author's program runs, or no program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_is_never_won() {
    let packages = Packages::new();
    let (good, evil, here) = (
        packages.path("good"),
        packages.path("evil"),
        packages.here(),
    );
    let over = Arc::new(AtomicBool::new(false));
    let racing = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut round = 0_usize;
            while !over.load(Ordering::Relaxed) {
                // In each round a subset of the three files is exchanged, then the author's package
                // is put back.
                for (number, file) in FILES.iter().enumerate() {
                    if round >> number & 1 == 1 {
                        put(&evil.join(file), &here.join(file));
                    }
                }
                std::thread::yield_now();
                install(&good, &here);
                round = round.wrapping_add(1);
                std::thread::yield_now();
            }
        }
    });
    let config = packages.config();
    let launcher = processes(&config);
    let begun = Instant::now();
    let (mut ran, mut refused, mut rounds) = (0, 0, 0);
    while rounds < ROUNDS || ran == 0 || refused == 0 {
        assert!(begun.elapsed() < DEADLINE, "{ran} ran, {refused} refused");
        let (error, _) = start(config.clone(), Arc::clone(&launcher) as _).await;
        assert!(!error.contains("evil"), "round {rounds}: {error}");
        if error.contains("printed \"good\\n\"") {
            ran += 1;
        } else {
            refused += 1;
        }
        rounds += 1;
    }
    over.store(true, Ordering::Relaxed);
    racing.join().unwrap();
    println!("{rounds} rounds: {ran} ran, {refused} were refused");
}

#[tokio::test]
async fn the_list_of_revocations_is_read_on_every_start() {
    let packages = Packages::new();
    let list = packages.path("revoked");
    std::fs::write(&list, "# nothing yet\n").unwrap();
    let mut config = packages.config();
    config.signatures = packages.signatures().with_revocations(&list).unwrap();
    let launcher = processes(&config);
    let again = || start(config.clone(), Arc::clone(&launcher) as _);
    assert!(again().await.0.contains("printed \"good"));

    let key = packages.author.public().id();
    std::fs::write(&list, format!("key {key}\n")).unwrap();
    let (error, state) = again().await;
    assert!(
        error.contains("revoked: ") && error.contains(&key.to_string()),
        "{error}"
    );
    assert_eq!(state, Some(State::Revoked));

    // While the revocations cannot be read, no plugin starts.
    std::fs::write(&list, "key of mine\n").unwrap();
    let (error, state) = again().await;
    assert!(error.contains("no plugin starts"), "{error}");
    assert!(error.contains("revoked, line 1"), "{error}");
    assert_eq!(state, None);
    packages
        .signatures()
        .with_revocations(packages.path("absent"))
        .unwrap_err();
}

#[tokio::test]
async fn the_signed_manifest_says_what_the_signature_says() {
    let packages = Packages::new();
    // The author's own mistake: signed as another version than the manifest has.
    sign(&packages.here(), "2.0.0", &packages.author);
    let config = packages.config();
    let launcher = processes(&config);
    let (error, _) = start(config, launcher).await;
    for word in ["plugin.yaml", "version", "1.0.0", "2.0.0", "signed again"] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

/// Version 1 does not cover the manifest, so the host may be told to treat it as unsigned.
#[tokio::test]
async fn version_1_is_a_choice() {
    let packages = Packages::new();
    std::fs::remove_file(packages.here().join("plugin.sig")).unwrap();
    sign_binary(&packages.author, &packages.here().join("goat")).unwrap();
    let mut config = packages.config();
    let launcher = processes(&config);
    let (error, state) = start(config.clone(), Arc::clone(&launcher) as _).await;
    assert!(error.contains("printed \"good"), "{error}");
    assert_eq!(state, Some(State::ValidV1));
    config.signatures = packages.signatures().without_version_1();
    let (error, _) = start(config, launcher).await;
    assert!(error.contains("valid-v1: "), "{error}");
    assert!(error.contains("ask the author"), "{error}");
}
