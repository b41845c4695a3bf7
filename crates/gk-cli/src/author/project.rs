//! A plugin's directory, with a manifest that was read.

use std::path::{Path, PathBuf};

use gk_manifest::{Manifest, ManifestError};

use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// A plugin's directory whose manifest is valid.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) directory: PathBuf,
    pub(crate) manifest: Manifest,
    /// The binary's path in the package.
    pub(crate) binary: String,
}

impl Project {
    /// Reads the manifest in `directory`. Findings are shown as `gk validate` shows them.
    pub(crate) fn open(directory: &Path, terminal: &Terminal) -> Result<Self, Failure> {
        let project = |manifest| Project::new(directory.to_owned(), manifest);
        let file = inside(directory, gk_package::MANIFEST);
        // The name's default is that of the directory, which `.` does not say.
        let real = directory
            .canonicalize()
            .map_err(|error| Failure::file("read", directory, &error))?;
        match Manifest::load(real.join(gk_package::MANIFEST)) {
            Ok((manifest, _)) => Ok(project(manifest)),
            Err(ManifestError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Err(Failure::new(
                    Exit::NotFound,
                    format!("there is no {}", file.display()),
                    "name the plugin's directory, or make one with: gk init NAME --type grpc",
                ))
            }
            Err(error) => Err(super::finding::unusable(&file, &error, terminal)),
        }
    }

    pub(crate) fn new(directory: PathBuf, manifest: Manifest) -> Self {
        let binary = manifest.binary.to_string_lossy().into_owned();
        Project {
            directory,
            manifest,
            binary,
        }
    }

    /// The path of a file of the package, as people write it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        inside(&self.directory, path)
    }

    /// The path of the binary.
    pub(crate) fn program(&self) -> PathBuf {
        self.path(&self.binary)
    }

    /// The binary must be there.
    pub(crate) fn built(&self) -> Result<(), Failure> {
        let program = self.program();
        match program.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(Failure::new(
                Exit::Failed,
                format!("{} is not a regular file", program.display()),
                "correct `binary` in plugin.yaml, or remove what is in the way",
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::new(
                Exit::NotFound,
                format!("{} does not exist", program.display()),
                format!("build it with: gk build {}", self.directory.display()),
            )),
            Err(error) => Err(Failure::file("read", &program, &error)),
        }
    }
}

/// A path in a directory, without a `./` in front.
pub(super) fn inside(directory: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = directory.join(path);
    path.strip_prefix(".").map(Path::to_owned).unwrap_or(path)
}
