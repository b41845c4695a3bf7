//! What the commands say of themselves, and how they refuse what they do not know.

use crate::Place;

/// Those that are shown whole. What all commands say stands in docs/cli.md, which `cargo xtask docs
/// --check` compares.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["init"],
    &["plugin", "init"],
    &["build"],
    &["validate"],
    &["keys"],
    &["keys", "generate"],
    &["sign"],
    &["verify"],
    &["package"],
    &["dev"],
    &["test"],
    &["install"],
    &["ps"],
];

#[test]
fn help() {
    let place = Place::new();
    for command in COMMANDS {
        let help = place.gk(command.iter().chain(&["--help"])).ok();
        let name = [&["help"], *command].concat().join("-");
        insta::assert_snapshot!(name, help);
    }
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    for command in COMMANDS.iter().filter(|command| **command != ["keys"]) {
        place
            .gk(command.iter().chain(&["--no-such-option"]))
            .fails(2);
    }
    place.gk(["keys", "lose"]).fails(2);
    place.gk(["build", "--release", "--debug"]).fails(2);
    place.gk(["validate", "-o", "xml"]).fails(2);
}
