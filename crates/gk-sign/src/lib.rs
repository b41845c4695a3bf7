//! Signatures of plugins: keys, trust, signed packages, and the [`VerifiedArtifact`], which pins
//! the bytes that were verified so that they are the bytes that run.
//!
//! This crate reads files and judges them; it starts nothing, and it does not read manifests. It
//! stands alone: no other crate of the workspace, no async runtime, no `unsafe`. The GoatKit host
//! asks it before every start of a plugin and executes what the [`VerifiedArtifact`] holds.
//!
//! # Examples
//!
//! ```
//! use gk_sign::{Cache, PackageToSign, Policy, Request, Requirement, SecretKey, State, TrustStore};
//! # use std::os::unix::fs::PermissionsExt;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temp = tempfile::tempdir()?;
//! # let directory = temp.path();
//! # std::fs::write(directory.join("plugin.yaml"), "name: hello\n")?;
//! # std::fs::write(directory.join("hello"), "#!/bin/sh\n")?;
//! # std::fs::set_permissions(directory.join("hello"), PermissionsExt::from_mode(0o755))?;
//! // The author, once per release:
//! let key = SecretKey::generate()?;
//! gk_sign::sign_package(&key, &PackageToSign {
//!     directory: directory.into(),
//!     name: "hello".into(),
//!     version: "1.0.0".into(),
//!     manifest: "plugin.yaml".into(),
//!     binary: "hello".into(),
//!     date: std::time::SystemTime::now(),
//! })?;
//!
//! // The host, before every start:
//! let mut trust = TrustStore::new();
//! trust.trust(key.public())?;
//! let policy = Policy::new(trust, Requirement::Enforce);
//! let request = Request::new(directory, "hello").named("hello");
//! let cache = Cache::new();
//! let artifact = gk_sign::verify(&request, &policy, &cache)?;
//! assert_eq!(artifact.state(), State::Valid);
//! assert_eq!(artifact.manifest(), Some(&b"name: hello\n"[..]));
//!
//! // A changed file, and what people read about it.
//! std::fs::write(directory.join("plugin.yaml"), "name: other\n")?;
//! let refusal = gk_sign::verify(&request, &policy, &cache).unwrap_err();
//! assert!(refusal.to_string().starts_with("tampered: "));
//! # Ok(())
//! # }
//! ```
//!
//! # States
//!
//! | [`State`] | Meaning | required | not required |
//! |---|---|---|---|
//! | `valid` | `plugin.sig` of a trusted key, every file as signed | runs | runs |
//! | `valid-v1` | `<binary>.sig` of a trusted key over the binary | runs, unless [`Policy::without_version_1`] | runs |
//! | `unsigned` | no signature file | refused | runs, with a warning |
//! | `untrusted key` | a signature of nobody who is trusted | refused | runs, with a warning |
//! | `tampered` | package and signature differ, or the signature is damaged | refused | refused |
//! | `revoked` | the key or a file was revoked | refused | refused |
//!
//! A [`Refusal`] names the file, the key where it is known, and what to do.
//!
//! # Keys and trust
//!
//! Keys are ed25519, written in hexadecimal: 64 digits the public key, 128 the private one (seed,
//! then public key). A [`KeyId`] is the first 16 bytes of the SHA-256 of the 32 public bytes.
//! Public keys of small order and second notations of a point are refused, signatures are verified
//! strictly.
//!
//! [`TrustStore::from_env`] reads `GOATFLOW_TRUSTED_KEYS` (separated by commas), or else the file
//! that `GOATFLOW_TRUSTED_KEYS_FILE` names (one key a line, `#` starts a comment); configuration
//! adds keys and revocations through the store's methods. `GOATFLOW_REQUIRE_SIGNATURES=1` is
//! [`Requirement::Enforce`]. A list of revocations has lines `key <key id>` and `digest <SHA-256 of
//! any file>`.
//!
//! # Version 1: `<binary>.sig`
//!
//! 128 hexadecimal digits: the ed25519 signature over the 32 bytes of the binary's SHA-256. Either
//! case; white space at the end is ignored. This is the format of GoatFlow's own host and tools. It
//! covers nothing but the binary's bytes, and it does not say what they are: an old version, or the
//! binary of another plugin by the same author, passes with any manifest, and so does any other
//! file that was signed this way.
//!
//! # Version 2: `plugin.sig`
//!
//! In the package's root. UTF-8, lines that end in LF, one space where there is one, nothing after
//! the last line:
//!
//! ```text
//! goatkit-plugin-signature 2
//! name: <name>                        ^[a-z0-9][a-z0-9_-]{0,62}$
//! version: <version>                  1 to 128 printable ASCII characters
//! date: <YYYY-MM-DDTHH:MM:SSZ>        UTC
//! key: <key id>                       32 digits
//! manifest: <path>
//! binary: <path>
//! file: <SHA-256> <x or -> <size> <path>
//! …                                   every regular file but plugin.sig itself, by the order of the paths' bytes
//! signature: <128 digits>
//! ```
//!
//! Digits are lower-case hexadecimal, sizes decimal without leading zeros. `x` says that the file
//! has an x bit. Paths are relative, with `/`, without empty parts, `.`, `..`, control characters
//! and backslashes. Manifest and binary are two of the files, the binary with `x`. There is one
//! text for each content: the parser writes what it has understood again, and takes nothing that
//! differs.
//!
//! The signature is over `goatkit plugin signature, version 2`, a NUL, and the text up to and
//! without the line `signature: `. Since version 1 signs exactly 32 bytes and this is longer, a
//! signature of one version is never one of the other. A package is as it was signed if it has
//! exactly these files, and no links or special files. Modes but the x bit, owners, times and empty
//! directories are not covered. The [limits] hold for signing and verifying.
//!
//! A package can have both: sign the binary in version 1 first, for hosts that know only that. A
//! package with a `plugin.sig` is judged by that alone.
//!
//! # Run what was verified
//!
//! A path that was checked and is then executed can lead to another file by then, and an open file
//! can be written to. So the binary is opened without following a link, inside of the package's
//! directory, and read once into a memory file with all seals (nobody can write, grow, shrink or
//! unseal it, nor change its x bit where the kernel has that seal); the digest is taken from the
//! memory file after it was sealed, and that digest is what signatures and revocations are held
//! against. The manifest is read once and kept, other files are compared when they are
//! [read](VerifiedArtifact::read).
//!
//! A [`Cache`] keeps the memory files of verified binaries by their digest. A restart reads and
//! hashes the package again and judges signature, trust and revocation anew; it spares the copy.
//!
//! Not on Linux: a private copy (mode 0500, in a directory 0700) stands for the memory file.
//! Whoever runs as the host's user can change that copy.
//!
//! # What a signature does not say
//!
//! - That the plugin is harmless. It says whose it is; what it may do is for the policy and the sandbox.
//! - That it is the newest. An old signed package is valid as long as neither key nor files are revoked;
//!   [`Claims::version`] and [`Claims::date`] are there for a policy that refuses to go back. The
//!   date is the signer's word: who has the key writes any date.
//! - That its loader, its libraries and its interpreter are what the author had: a dynamic binary is pinned itself, the
//!   rest is the system's.
//! - Anything about what a running plugin loads. Files it opens itself are no longer compared.
//! - Anything, to an attacker who runs as the host's user or root: who can change the trusted keys or the host's memory
//!   needs no signature. Anybody who can write into a package can also take its signatures away; only
//!   [`Requirement::Enforce`] makes that a refusal, and only [`Policy::without_version_1`] closes the
//!   way down to version 1.
#![forbid(unsafe_code)]

mod artifact;
mod cache;
mod digest;
mod key;
pub mod limits;
mod links;
mod package;
mod path;
mod pin;
#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(
    target_os = "linux",
    allow(dead_code, reason = "compiled here for its test alone")
)]
mod private_copy;
mod refusal;
#[cfg(target_os = "linux")]
mod sealed;
mod sign;
#[cfg(test)]
mod testing;
mod threads;
mod trust;
mod v1;
mod v2;
mod verify;

#[cfg(not(target_os = "linux"))]
use private_copy::Pinned;
#[cfg(target_os = "linux")]
use sealed::Pinned;

pub use artifact::VerifiedArtifact;
pub use cache::Cache;
pub use digest::{Digest, HexError};
pub use key::{BadSignature, KeyError, KeyId, PublicKey, SecretKey};
pub use package::FileError;
pub use path::PathError;
pub use refusal::{Problem, Refusal, State, VerifyError};
pub use sign::{PackageToSign, SignError, sign_binary, sign_package};
pub use trust::{
    REQUIRE_SIGNATURES, Requirement, TRUSTED_KEYS, TRUSTED_KEYS_FILE, TrustError, TrustStore,
};
pub use v1::BinarySignature;
pub use v2::{Claims, FormatError, FormatProblem, PACKAGE_SIGNATURE, PackageSignature, SignedFile};
pub use verify::{Policy, Request, verify};
