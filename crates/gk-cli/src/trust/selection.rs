//! Which files of a plugin's directory become its package, and that no private key is among them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gk_package::Selection;
use gk_sign::SecretKey;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// Larger files are no keys, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// The files that are the package.
pub(crate) fn selected(directory: &Path) -> Result<Selection, Failure> {
    let selection = Selection::of(directory).map_err(|error| {
        Failure::new(
            Exit::Failed,
            error.to_string(),
            "`gk package --list` shows what belongs to the package",
        )
    })?;
    let small = selection.files().iter();
    for file in small.filter(|file| file.size <= KEY_FILE_BYTES_MAX) {
        let path = directory.join(&file.path);
        if is_private_key(&path) {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{} is a private key, and would be in the package for everybody to read",
                    path.display()
                ),
                "move it out of the plugin's directory (gk keys generate puts keys into ~/.config/gk/keys), or name it in .gkignore",
            ));
        }
    }
    Ok(selection)
}

fn is_private_key(path: &Path) -> bool {
    let mut text = Zeroizing::new(String::new());
    let read =
        File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text));
    // A plugin.yaml that cannot be read, or is no text, is reported by the caller that packs it.
    read.is_ok() && text.lines().any(|line| SecretKey::from_hex(line).is_ok())
}
