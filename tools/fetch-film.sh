#!/usr/bin/env bash
# Fetches a real film, vtest.avi of OpenCV's samples: fetch-film.sh PATH.  It is in the Debian
# package opencv-doc, which is fetched for it, from Debian's or Ubuntu's archive, and not
# installed.
set -euo pipefail

film=$(realpath -m "$1")
tools=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "film: fetching the Debian package opencv-doc (96 MB) for its film of 795 frames"
"$tools/debian-root.sh" "$(dpkg --print-architecture)" "$work" opencv-doc || {
  echo "film: not found; try a video of your own: .venv/bin/covey segment VIDEO -o out --sheet" >&2
  exit 1
}
mkdir -p "$(dirname "$film")"
mv "$work/usr/share/doc/opencv-doc/examples/data/vtest.avi" "$film"
