//! State of a plugin that persists across starts of the host: one small file each, in the data
//! directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gk_manifest::PluginName;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// The directory of these files, in the data directory.
const DIR: &str = "plugin-state";

/// Persistent state of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The operator wants the plugin to run.
    pub(crate) enabled: bool,
    /// Crashes of the plugin, and the digest of the binary that crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crashes: Option<(String, CrashHistory)>,
}

/// The crashes of a plugin. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CrashHistory {
    /// Number of times in a row that the plugin ended by itself.
    pub(crate) in_a_row: u32,
    /// The crashes count as a crash loop.
    pub(crate) looping: bool,
    /// Times of the latest crashes.
    pub(crate) recent_ms: Vec<u64>,
    pub(crate) last_ms: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            enabled: true,
            crashes: None,
        }
    }
}

/// The file of one plugin.
#[derive(Debug)]
pub(crate) struct KeptFile {
    path: PathBuf,
}

impl KeptFile {
    pub(crate) fn new(data_dir: &Path, plugin: &PluginName) -> Self {
        Self {
            path: data_dir.join(DIR).join(format!("{plugin}.json")),
        }
    }

    /// Reads the state; the default if there is no file. Blocks.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub(crate) fn load(&self) -> io::Result<Kept> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the state durably. The file is complete at any moment, even if another process writes
    /// it, such as a host that ends while the next one starts. Blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store(&self, kept: &Kept) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        if *kept == Kept::default() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                removed => removed?,
            }
        } else {
            fs::create_dir_all(dir)?;
            // Readable for the host alone, and gone again if anything fails.
            let mut file = NamedTempFile::new_in(dir)?;
            file.write_all(&serde_json::to_vec(kept)?)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
        }
        File::open(dir)?.sync_all()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_nothing_leaves_no_file() {
        let data = tempfile::tempdir().unwrap();
        let file = KeptFile::new(data.path(), &PluginName::new("goat").unwrap());
        assert_eq!(file.load().unwrap(), Kept::default());
        let disabled = Kept {
            enabled: false,
            crashes: None,
        };
        file.store(&disabled).unwrap();
        assert_eq!(file.load().unwrap(), disabled);
        fs::write(file.path(), "{").unwrap();
        file.load().unwrap_err();
        file.store(&Kept::default()).unwrap();
        assert!(!file.path().exists());
        file.store(&Kept::default()).unwrap();
    }

    #[test]
    fn what_two_write_at_once_is_always_whole() {
        let data = tempfile::tempdir().unwrap();
        let file = KeptFile::new(data.path(), &PluginName::new("goat").unwrap());
        let crashed = |times| Kept {
            enabled: true,
            crashes: Some((
                "digest".repeat(times),
                CrashHistory {
                    in_a_row: 1,
                    looping: false,
                    recent_ms: vec![7; times],
                    last_ms: 7,
                },
            )),
        };
        std::thread::scope(|scope| {
            let writers = [1, 500].map(|times| {
                let kept = crashed(times);
                let file = &file;
                scope.spawn(move || (0..200).for_each(|_| file.store(&kept).unwrap()))
            });
            while !writers.iter().all(|writer| writer.is_finished()) {
                file.load().unwrap();
            }
        });
    }
}
