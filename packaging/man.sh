#!/usr/bin/env bash
# The manual page of the command, from its arguments: man.sh PYTHON FILE.  PYTHON has what
# packaging/requirements.txt names.  The same bytes for the same sources and SOURCE_DATE_EPOCH.
set -euo pipefail

python=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$out")"
# Of a terminal's width, whatever it is here.
COLUMNS=80 PYTHONPATH=$here/../bindings/python/src PYTHONDONTWRITEBYTECODE=1 \
  "$python" -c "from argparse_manpage.cli import main; main()" \
  --module covey.commands.main --function build_parser --format single-commands-section \
  --prog covey --project-name covey --version "$("$here/version.sh")" --manual-title covey \
  --description "object segmentation of video, without supervision" \
  --include "$here/covey.1.in" --output "$out.tmp"
mv "$out.tmp" "$out"
