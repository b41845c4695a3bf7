//! Linker options of the program: packed relative relocations shrink a table of 1.3 MB, which each
//! start reads in full, to a few KiB.

use std::env;
use std::fs;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Debug builds do not need the option, and a linker that the user chose may not know it.
    let chosen = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if !is("PROFILE", "release")
        || !is("CARGO_CFG_TARGET_OS", "linux")
        || !is("CARGO_CFG_TARGET_ENV", "gnu")
        || chosen.contains("linker")
        || chosen.contains("fuse-ld")
    {
        return;
    }
    if env::var("HOST") == env::var("TARGET") && glibc_packs_relocations() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Returns true if this machine's glibc starts a program with packed relocations. Since 2.36 glibc
/// declares so by a symbol version, which such a program requires.
fn glibc_packs_relocations() -> bool {
    const VERSION: &[u8] = b"GLIBC_ABI_DT_RELR";
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let places = [
        format!("/lib/{architecture}-linux-gnu/libc.so.6"),
        "/lib64/libc.so.6".to_owned(),
        "/lib/libc.so.6".to_owned(),
    ];
    let found = places.iter().find_map(|place| fs::read(place).ok());
    found.is_some_and(|libc| libc.windows(VERSION.len()).any(|part| part == VERSION))
}
