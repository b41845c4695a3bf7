//! Every limit of this crate, by name. They hold for packing and for unpacking. Sizes are bytes.

/// Most files of a package.
pub const FILES_MAX: usize = 1000;
/// Most directories of a package.
pub const DIRECTORIES_MAX: usize = 1000;
/// Largest single file of a package, uncompressed.
pub const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Largest package: the uncompressed sizes of its files added up.
pub const PACKAGE_BYTES_MAX: u64 = 500 * 1024 * 1024;
/// Longest path of a file, relative to its package.
pub const PATH_BYTES_MAX: usize = 512;
/// Deepest nesting: most parts of a file's path.
pub const PATH_PARTS_MAX: usize = 16;

/// Largest ZIP file. A package of the largest size fits when nothing of it can be compressed.
pub const ARCHIVE_BYTES_MAX: u64 = PACKAGE_BYTES_MAX + 8 * 1024 * 1024;
/// Largest central directory of a ZIP file; it is held in memory.
pub const CENTRAL_DIRECTORY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest `.gkignore`.
pub const IGNORE_BYTES_MAX: u64 = 64 * 1024;
