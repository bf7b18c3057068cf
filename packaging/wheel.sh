#!/usr/bin/env bash
# The Python package with library and weights inside, documents and manual beside it: wheel.sh
# PYTHON ARCHITECTURE LIBRARY MANUAL FOLDER.  PYTHON has pip and what
# packaging/requirements.txt names.  The same bytes for the same input and SOURCE_DATE_EPOCH.
set -euo pipefail

python=$1 architecture=$2 manual=$4 out=$5
export COVEY_LIBRARY=$(realpath "$3")
here=$(cd "$(dirname "$0")" && pwd)
platform=manylinux_$("$here/glibc.sh" "$COVEY_LIBRARY" | tr . _)_$architecture
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# A copy: what earlier builds left behind must not get in.
tar -C "$here/.." --exclude='*.egg-info' --exclude=__pycache__ --exclude='.*_cache' \
  --exclude='libcovey.so*' --exclude=bindings/python/build \
  -cf - Include/covey.h models/covey-nano.gguf bindings/python | tar -C "$stage" -xf -
cp "$here/../LICENSE" "$stage/bindings/python"
"$here/documents.py" "$stage/bindings/python/share/doc/covey"
install -D -m 644 "$manual" "$stage/bindings/python/share/man/man1/covey.1"
chmod -R u=rwX,go=rX "$stage"
umask 022
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
  --no-cache-dir --config-settings="--build-option=--plat-name=$platform" \
  -w "$out" "$stage/bindings/python"
ls "$out/covey-$("$here/version.sh")-py3-none-$platform.whl"
