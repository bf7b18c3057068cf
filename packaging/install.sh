#!/usr/bin/env bash
# Installs covey below $DESTDIR$PREFIX:
#
#     install.sh LIBRARY
#
# LIBDIR, INCLUDEDIR, DATADIR and DOCDIR, where set, lie elsewhere.  What is installed may
# be moved as a whole: covey.pc and the CMake files find the rest from where they are.
# PC_PREFIX=/usr writes fixed paths into covey.pc, as distributions have them.
set -euo pipefail

library=$1
top=$(cd "$(dirname "$0")/.." && pwd)
here=$top/packaging
version=$("$here/version.sh")
prefix=${PREFIX:-/usr/local}
lib=${LIBDIR:-$prefix/lib}
include=${INCLUDEDIR:-$prefix/include}
data=${DATADIR:-$prefix/share}/covey
doc=${DOCDIR:-$prefix/share/doc/covey}
root=${DESTDIR:-}

put() { # FOLDER FILE...
  local folder=$root$1
  shift
  install -d -m 755 "$folder"
  install -m 644 "$@" "$folder"
}

install -d -m 755 "$root$lib"
install -m 755 "$library" "$root$lib/libcovey.so.$version"
ln -sfn "libcovey.so.$version" "$root$lib/libcovey.so.0"
ln -sfn libcovey.so.0 "$root$lib/libcovey.so"
put "$include" "$top/Include/covey.h"
put "$data" "$top/models/covey-nano.gguf"
put "$doc" "$top/LICENSE" "$top/CHANGELOG.md" "$top/docs/INSTALLING.md"
install -m 644 "$top/models/README.md" "$root$doc/covey-nano.md"
put "$doc/examples" "$top"/Examples/*.{c,cpp}

fill() { # TEMPLATE FILE
  sed -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|${version%%.*}|g" \
    -e "s|@PC_PREFIX@|${PC_PREFIX:-\${pcfiledir\}/$(from "$lib/pkgconfig" "$prefix")}|" \
    -e "s|@PC_INCLUDEDIR@|\${prefix}/$(from "$prefix" "$include")|" \
    -e "s|@PC_LIBDIR@|\${prefix}/$(from "$prefix" "$lib")|" \
    -e "s|@PC_DATADIR@|\${prefix}/$(from "$prefix" "$data")|" \
    -e "s|@CMAKE_INCLUDEDIR@|$(from "$lib/cmake/covey" "$include")|" \
    -e "s|@CMAKE_LIBDIR@|$(from "$lib/cmake/covey" "$lib")|" \
    -e "s|@CMAKE_DATADIR@|$(from "$lib/cmake/covey" "$data")|" \
    "$here/$1.in" > "$root$2"
  chmod 644 "$root$2"
}
from() { realpath -m -s --relative-to="$1" "$2"; }

install -d -m 755 "$root$lib/pkgconfig" "$root$lib/cmake/covey"
fill covey.pc "$lib/pkgconfig/covey.pc"
fill covey-config.cmake "$lib/cmake/covey/covey-config.cmake"
fill covey-config-version.cmake "$lib/cmake/covey/covey-config-version.cmake"
