//! Says what the embedded SDKs are made of: a new file is embedded with the next build.

fn main() {
    for path in [
        "templates",
        "../../plugins/sdk-go",
        "../gk-plugin",
        "../gk-protocol",
        "../gk-manifest",
        "../gk-wire",
        "../../Cargo.toml",
        "../../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
}
