//! Runs a program in a sandbox: `confine [--without LAYER]… [--required] PROGRAM [ARGUMENT]…`.
//! Without a program it prints what this machine can enforce.

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    // In a keeper this does not return.
    gk_sandbox::run_if_keeper();
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "confine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut confinement = gk_sandbox::Confinement::new("example", "/tmp/example");
    let mut args = std::env::args().skip(1).peekable();
    while let Some(option) = args.next_if(|arg| arg.starts_with("--")) {
        match option.as_str() {
            "--required" => confinement.level = gk_sandbox::Strictness::Required,
            "--without" => {
                let layer = args.next().ok_or("--without needs the name of a layer")?;
                confinement.without = confinement.without.with(layer.parse()?);
            }
            "--memory" => {
                let megabytes: u64 = args.next().ok_or("--memory needs a number")?.parse()?;
                confinement.resources.memory_bytes = megabytes << 20;
            }
            other => return Err(format!("{other} is no option of this example").into()),
        }
    }
    let spawner = gk_sandbox::Spawner::with_keeper(gk_sandbox::KeeperProgram::this()?)?;
    let Some(program) = args.next() else {
        let mut out = std::io::stdout();
        for entry in spawner.probe(&confinement)?.layers {
            writeln!(
                out,
                "{:18} {:9} {}",
                entry.layer.name(),
                entry.state,
                entry.detail
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut spec = gk_sandbox::SandboxSpec::new(program, "/");
    spec.args = args.map(Into::into).collect();
    spec.env.insert("PATH".into(), "/usr/bin:/bin".into());
    spec.confinement = Some(confinement);
    let mut child = spawner.spawn(spec)?;
    writeln!(std::io::stderr(), "confine: {}", child.report())?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out, err) = child.clone_pipes()?;
    std::fs::File::from(out).read_to_end(&mut stdout)?;
    std::fs::File::from(err).read_to_end(&mut stderr)?;
    std::io::stdout().write_all(&stdout)?;
    std::io::stderr().write_all(&stderr)?;
    let status = child.reap()?;
    writeln!(std::io::stderr(), "confine: {status}")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
