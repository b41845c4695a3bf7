//! A keeper for hosts that cannot begin their own `main` with `gk_sandbox::run_if_keeper`:
//! `Spawner::with_keeper(KeeperProgram::at("…/gk-sandbox-keeper"))`.

fn main() {
    gk_sandbox::run_if_keeper();
}
