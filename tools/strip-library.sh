#!/usr/bin/env bash
# Strips a library: strip-library.sh INPUT OUTPUT.  Swift's hash of the module, which
# nothing reads and which differs from build to build, becomes zeros.  (Removing the
# section would cost the library its GNU_RELRO.)
set -euo pipefail

zeros=$(mktemp)
trap 'rm -f "$zeros" "$2.whole"' EXIT
objcopy --dump-section .swift_modhash="$zeros" "$1" "$2.whole"
size=$(stat -c %s "$zeros")
truncate -s 0 "$zeros"
truncate -s "$size" "$zeros"
objcopy --strip-unneeded --update-section .swift_modhash="$zeros" "$1" "$2"
