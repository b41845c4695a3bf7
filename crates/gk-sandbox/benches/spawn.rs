//! What a sandbox costs: from the order to the end of a program that does nothing. Compare the
//! figures of one run with each other only.

use std::hint::black_box;

use criterion::Criterion;
use gk_sandbox::{Confinement, KeeperProgram, Layer, SandboxSpec, Spawner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    gk_sandbox::run_if_keeper();
    let spawner = Spawner::with_keeper(KeeperProgram::this()?)?;
    let plain = SandboxSpec::new("/bin/true", "/");
    let mut all = plain.clone();
    let mut confinement = Confinement::new("bench", "/tmp/bench");
    confinement.resources.cpu_millis = Some(1000);
    all.confinement = Some(confinement);
    let mut criterion = Criterion::default().configure_from_args();
    let mut measure = |name: &str, spec: &SandboxSpec| {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut child = spawner.spawn(spec.clone()).expect("/bin/true starts");
                black_box(child.reap().expect("it ends"))
            });
        });
    };
    measure("plain", &plain);
    measure("all layers", &all);
    for &layer in Layer::ALL {
        let mut spec = all.clone();
        if let Some(confinement) = &mut spec.confinement {
            confinement.without = confinement.without.with(layer);
        }
        measure(&format!("without {layer}"), &spec);
    }
    criterion.final_summary();
    Ok(())
}
