//! How the program is linked: for few resident pages.
//!
//! The kernel maps a program's file in pieces of 64 KiB around what is touched, and a start touches 2 MB of functions
//! that lie all over 15 MB. `start.ld` puts them side by side. It is a list of names without the compiler's hashes;
//! what is not in it, or no longer exists, is linked as always, so an old list costs memory and nothing else. It was
//! made from what `valgrind --tool=callgrind --demangle=no` saw of a `gk-host serve`.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=start.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Other linkers have no such scripts, and other builds no need of them.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{directory}/start.ld");
        // A table of 1.3 MB, all of which a start reads, becomes one of some KiB. glibc has it since 2.36.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
