//! Every limit of this crate, by name. Sizes are bytes.

/// Largest single file of a package, the binary included.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest package: the sizes of its files added up.
pub const PACKAGE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Most files of a package, the signature file not counted.
pub const FILES_MAX: usize = 1000;
/// Most directories of a package.
pub const DIRECTORIES_MAX: usize = 1000;
/// Deepest nesting: most parts of a file's path.
pub const PATH_PARTS_MAX: usize = 16;
/// Longest path of a file, relative to its package.
pub const PATH_BYTES_MAX: usize = 512;
/// Largest manifest; its bytes are held in memory.
pub const MANIFEST_BYTES_MAX: u64 = 256 * 1024;

/// Longest plugin name in a signature.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest version in a signature.
pub const VERSION_BYTES_MAX: usize = 128;

/// Largest `plugin.sig`. A thousand files with the longest paths fit.
pub const PACKAGE_SIGNATURE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest `<binary>.sig`: 128 digits and some white space.
pub const BINARY_SIGNATURE_BYTES_MAX: u64 = 1024;

/// Most trusted keys.
pub const KEYS_MAX: usize = 256;
/// Most revoked keys and most revoked digests, each.
pub const REVOKED_MAX: usize = 10_000;
/// Largest list of keys or revocations that is read.
pub const LIST_BYTES_MAX: u64 = 1024 * 1024;

/// Most binaries a [`Cache`](crate::Cache) keeps unless told otherwise.
pub const CACHE_ENTRIES: usize = 64;
/// Most bytes a [`Cache`](crate::Cache) keeps unless told otherwise. They are memory of the host.
pub const CACHE_BYTES: u64 = 512 * 1024 * 1024;
