//! How the program is linked: for few resident pages.
//!
//! The kernel maps a program's file in pieces of 64 KiB around what is touched, and a start touches 2 MB of functions
//! that lie all over 15 MB. `start.ld` puts them side by side. It is a list of names without the compiler's hashes;
//! what is not in it, or no longer exists, is linked as always, so an old list costs memory and nothing else. It was
//! made from what `valgrind --tool=callgrind --demangle=no` saw of a `gk-host serve`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=start.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Other builds have no need of it, and a linker that somebody chose may not know such scripts.
    let chosen = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if !is("PROFILE", "release")
        || !is("CARGO_CFG_TARGET_OS", "linux")
        || !is("CARGO_CFG_TARGET_ENV", "gnu")
        || chosen.contains("linker")
        || chosen.contains("fuse-ld")
    {
        return;
    }
    let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{directory}/start.ld");
    // A table of 1.3 MB, all of which a start reads, becomes one of some KiB.
    if env::var("HOST") == env::var("TARGET") && glibc_packs_relocations() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether this machine's glibc starts a program with packed relocations: since 2.36.
fn glibc_packs_relocations() -> bool {
    #[allow(
        clippy::disallowed_methods,
        reason = "the build asks the machine it is for"
    )]
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // As in "glibc 2.36".
    let version = text.ok().and_then(|text| {
        let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    version.is_some_and(|version| version >= (2, 36))
}
