//! `cargo xtask build-plugins`: the sample plugins, ready to be loaded; `cargo xtask test-go`: the
//! Go modules' tests.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, root, run, say};
use crate::go::Go;

/// The samples in Go; each is a module of its own in `plugins`.
pub(crate) const GO_SAMPLES: &[&str] = &["hello-go", "tickets-go"];

/// Builds every sample into `<out>/<name>/{plugin.yaml,<name>}`.
pub(crate) fn build(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let go = Go::find()?;
    for sample in GO_SAMPLES {
        let source = root().join("plugins").join(sample);
        install(out, sample, &source, |binary| {
            go.build(&source, ".", binary)
        })?;
    }
    let source = root().join("plugins/hello-rust");
    if source.join("Cargo.toml").is_file() {
        install(out, "hello-rust", &source, |binary| {
            build_rust("hello-rust", binary)
        })?;
    }
    Ok(())
}

/// Vets and tests every Go module of the repository.
pub(crate) fn test_go() -> Result<()> {
    go_tests()?.iter_mut().try_for_each(run)
}

/// Vets every Go module, and returns the commands that test them.
pub(crate) fn go_tests() -> Result<Vec<Command>> {
    let go = Go::find()?;
    let mut tests = Vec::new();
    for module in [
        "plugins/sdk-go",
        "plugins/hello-go",
        "plugins/tickets-go",
        "tests/plugins",
        "tests/traced-go",
        "tests/otelcol",
    ] {
        let directory = root().join(module);
        say(format!("go vet in {module}"));
        run(go.command(&directory).args(["vet", "./..."]))?;
        let mut test = go.command(&directory);
        test.args(["test", "-v", "-count=1", "-timeout", "300s", "./..."]);
        tests.push(test);
    }
    Ok(tests)
}

fn build_rust(package: &str, binary: &Path) -> Result<()> {
    let target = root().join("target");
    run(cargo()
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            package,
            "--target-dir",
        ])
        .arg(&target))?;
    let built = target.join("release").join(package);
    fs::copy(&built, binary).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(())
}

/// Puts a plugin in place. Files are moved in by rename, so that a host that watches the directory,
/// or a running plugin whose binary this is, never meets half a file; the manifest comes last,
/// because it announces the plugin.
fn install(
    out: &Path,
    name: &str,
    source: &Path,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let manifest = source.join("plugin.yaml");
    ensure!(
        manifest.is_file(),
        "{} has no plugin.yaml",
        source.display()
    );
    // Beside the plugin, not in it: on the same file system, so that a rename is possible, and not
    // watched.
    let staging = out.join(format!(".staging-{name}-{}", std::process::id()));
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let result: Result<()> = (|| {
        build(&staging.join(name))?;
        fs::copy(&manifest, staging.join("plugin.yaml"))?;
        let directory = out.join(name);
        fs::create_dir_all(&directory)?;
        for file in [name, "plugin.yaml"] {
            fs::rename(staging.join(file), directory.join(file))?;
        }
        Ok(())
    })();
    // Left-overs in staging harm nobody, and the first error is the one to show.
    let _ = fs::remove_dir_all(&staging);
    result.with_context(|| format!("cannot build {name}"))?;
    say(format!("{name} is in {}", out.join(name).display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn files_are_replaced_not_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let (source, out) = (temp.path().join("source"), temp.path().join("out"));
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("plugin.yaml"), "name: x\n").unwrap();
        let inode = |file: &str| fs::metadata(out.join("x").join(file)).unwrap().ino();
        install(&out, "x", &source, |binary| Ok(fs::write(binary, "one")?)).unwrap();
        let keep_open = fs::File::open(out.join("x/x")).unwrap();
        let first = (inode("x"), inode("plugin.yaml"));
        install(&out, "x", &source, |binary| Ok(fs::write(binary, "two")?)).unwrap();
        assert_ne!(first.0, inode("x"), "the running binary was written to");
        assert_eq!(fs::read_to_string(out.join("x/x")).unwrap(), "two");
        drop(keep_open);

        let error = install(&out, "x", &source, |_| anyhow::bail!("does not compile")).unwrap_err();
        assert!(format!("{error:#}").contains("does not compile"));
        assert_eq!(
            fs::read_to_string(out.join("x/x")).unwrap(),
            "two",
            "a failed build must change nothing"
        );
        assert_eq!(
            fs::read_dir(&out).unwrap().count(),
            1,
            "staging is left behind"
        );
    }
}
