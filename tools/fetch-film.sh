#!/usr/bin/env bash
# Fetches a real film, vtest.avi of OpenCV's samples: fetch-film.sh PATH.  It is in the Debian
# package opencv-doc, which is fetched for it, from Debian's or Ubuntu's archive, and not
# installed.
set -euo pipefail

film=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt's own user fetches, and writes here.
chmod 755 "$work"
cd "$work"

echo "film: fetching the Debian package opencv-doc (96 MB) for its film of 795 frames"
if ! apt-get download -qq opencv-doc 2>"$work/said"; then
  # Where its lists of packages are missing or old.
  root=()
  if (( EUID != 0 )); then root=(sudo); fi
  "${root[@]}" apt-get update -qq && apt-get download -qq opencv-doc || {
    cat "$work/said" >&2
    echo "film: not found; try a video of your own: .venv/bin/covey segment VIDEO -o out --sheet" >&2
    exit 1
  }
fi
mkdir -p "$(dirname "$film")"
dpkg-deb --fsys-tarfile opencv-doc_*.deb |
  tar -xO ./usr/share/doc/opencv-doc/examples/data/vtest.avi >"$film.tmp"
mv "$film.tmp" "$film"
