#!/bin/sh
# Builds ./{{name}}, from any directory. Arguments go to `go build`.
set -eu
CDPATH= cd -- "$(dirname -- "$0")"
# Static, so that the program needs nothing of the system that it runs on. Renamed into place, so that a running plugin
# is never written to.
CGO_ENABLED="${CGO_ENABLED:-0}" go build -trimpath -o .{{name}}.new "$@" .
mv -f .{{name}}.new {{name}}
