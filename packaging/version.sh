#!/usr/bin/env bash
# The version of covey, as Include/covey.h has it: 0.1.0.
set -euo pipefail
header="$(dirname "$0")/../Include/covey.h"
awk '/^#define COVEY_VERSION_(MAJOR|MINOR|PATCH) / { v = v (v ? "." : "") $3 } END { print v }' \
  "$header"
