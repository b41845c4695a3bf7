//! A copy of what belongs to a package: what is judged or signed is what is packed.

use gk_package::{SelectError, Selection};
use tempfile::TempDir;

use super::selection::selected;
use crate::author::Project;
use crate::failure::{Exit, Failure};

/// A plugin's package as files in a temporary directory.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) directory: TempDir,
    pub(crate) selection: Selection,
}

impl Staged {
    /// Copies what belongs to the plugin's package, which its binary must.
    pub(crate) fn of(project: &Project) -> Result<Self, Failure> {
        let selection = selected(&project.directory)?;
        project.built()?;
        if !selection.has(&project.binary) {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "the plugin's program {} does not belong to its package",
                    project.program().display()
                ),
                format!(
                    "take it out of .gkignore, for example with a line !/{}",
                    project.binary
                ),
            ));
        }
        let directory = tempfile::Builder::new()
            .prefix("gk-")
            .tempdir()
            .map_err(|error| Failure::file("make a directory in", &std::env::temp_dir(), &error))?;
        let selection = selection
            .copy_to(directory.path())
            .map_err(|error| unselected(&error))?;
        Ok(Staged {
            directory,
            selection,
        })
    }

    /// A text about the copies, with the paths of the originals.
    pub(crate) fn originals(&self, project: &Project, text: &str) -> String {
        let copy = format!("{}/", self.directory.path().display());
        let original = project.path("").display().to_string();
        let original = match original.as_str() {
            "" => original,
            _ => format!("{}/", original.trim_end_matches('/')),
        };
        text.replace(&copy, &original)
    }
}

fn unselected(error: &SelectError) -> Failure {
    Failure::new(
        Exit::Failed,
        error.to_string(),
        "`gk package --list` shows what belongs to the package",
    )
}
