#!/bin/sh
# Builds ./{{name}}, from any directory. Arguments go to `cargo build`.
set -eu
CDPATH= cd -- "$(dirname -- "$0")"
cargo build --release "$@"
# Renamed into place, so that a running plugin is never written to.
cp "${CARGO_TARGET_DIR:-target}/release/{{crate}}" .{{name}}.new
mv -f .{{name}}.new {{name}}
