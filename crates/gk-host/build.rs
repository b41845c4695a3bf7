//! How the program is linked: a table of relocations of 1.3 MB, all of which a start reads, becomes one of some KiB.

use std::env;
use std::fs;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Other builds have no need of it, and a linker that somebody chose may not know the option.
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

/// Whether this machine's glibc starts a program with packed relocations: since 2.36 it says so itself, by a symbol
/// version that such a program asks for.
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
