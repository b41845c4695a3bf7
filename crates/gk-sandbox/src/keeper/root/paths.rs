//! The paths of the system that a program needs.

use std::path::{Component, Path, PathBuf};

use crate::elf::Needs;
use crate::keeper::message::Plan;

/// Configuration of the system that every program sees.
const CONFIGURATION: &[&str] = &["/etc/localtime", "/usr/share/zoneinfo"];
/// Configuration that a program on the host's network sees besides.
const NETWORK_CONFIGURATION: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/pki",
    "/usr/share/ca-certificates",
];
/// Directories and files from which a dynamic program is loaded.
const LIBRARIES: &[&str] = &[
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/lib",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
];
/// Directories of the programs that a script runs.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/etc/alternatives"];
/// The paths of the system that a plan's program needs, beside those that the plan names.
pub(crate) fn system_paths(plan: &Plan) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = CONFIGURATION.iter().map(PathBuf::from).collect();
    let mut add = |more: &[&str]| paths.extend(more.iter().map(PathBuf::from));
    if plan.network {
        add(NETWORK_CONFIGURATION);
    }
    match &plan.needs {
        Needs::Nothing => {}
        Needs::Libraries(loader) => {
            add(LIBRARIES);
            let loader = loader.iter().map(|loader| loader.path());
            paths.extend(
                loader
                    .filter(|loader| may_show_loader(loader, plan))
                    .map(Path::to_owned),
            );
        }
        Needs::Programs => {
            add(LIBRARIES);
            add(PROGRAMS);
        }
    }
    paths
}

/// Returns `true` if a program's loader may be added to the paths that are shown.
///
/// The program's author wrote the loader's path. A path that cannot be shown must not cost the
/// whole root, and a path that the program can write to must not become executable. A loader that
/// is passed over is executed all the same if another path shows it.
fn may_show_loader(loader: &Path, plan: &Plan) -> bool {
    let shown = plan.read_only.iter().chain(&plan.writable);
    is_plain(loader)
        && !["/tmp", "/dev", "/proc"]
            .iter()
            .any(|dir| loader.starts_with(dir))
        && !shown
            .chain([&plan.temp_dir])
            .any(|dir| loader.starts_with(dir.path()) || dir.path().starts_with(loader))
}

/// Returns `true` if a path is absolute and has no `.` or `..`, so that it leads where it seems to.
pub(super) fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}
