#!/usr/bin/env bash
# covey as a folder to unpack anywhere: tarball.sh ARCHITECTURE LIBRARY MANUAL FOLDER.  The
# same bytes for the same input and SOURCE_DATE_EPOCH.
set -euo pipefail

architecture=$1 library=$2 manual=$3 out=$4
here=$(cd "$(dirname "$0")" && pwd)
name=covey-$("$here/version.sh")-linux-$architecture
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

DESTDIR=$stage PREFIX=/$name "$here/install.sh" "$library" "$manual"
chmod -R u=rwX,go=rX "$stage"
tar -C "$stage" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner \
  --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" | gzip -9n > "$out/$name.tar.gz"
echo "$out/$name.tar.gz"
