#!/usr/bin/env bash
# Installs covey below $DESTDIR$PREFIX:
#
#     install.sh LIBRARY [MANUAL]
#
# LIBDIR, INCLUDEDIR, DATADIR, DOCDIR and MANDIR, where set, lie elsewhere; the documents that
# WITHOUT names are left out.  What is installed may
# be moved as a whole: covey.pc and the CMake files find the rest from where they are.
# PC_PREFIX=/usr writes fixed paths into covey.pc, as distributions have them; HOMEPAGE, where
# set, stands in there.
set -euo pipefail

library=$1 manual=${2:-}
top=$(cd "$(dirname "$0")/.." && pwd)
here=$top/packaging
version=$("$here/version.sh")
prefix=${PREFIX:-/usr/local}
lib=${LIBDIR:-$prefix/lib}
include=${INCLUDEDIR:-$prefix/include}
data=${DATADIR:-$prefix/share}/covey
doc=${DOCDIR:-$prefix/share/doc/covey}
man=${MANDIR:-$prefix/share/man}/man1
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
put "$include" "$top"/Include/covey.h*
put "$data" "$top/models/covey-nano.gguf"
"$here/documents.py" --include "$root$include" ${WITHOUT:+$(printf -- '--without %s ' $WITHOUT)} \
  "$root$doc"
[[ -z $manual ]] || put "$man" "$manual"

fill() { # TEMPLATE FILE
  sed -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|${version%%.*}|g" \
    -e "s|@PC_PREFIX@|${PC_PREFIX:-\${pcfiledir\}/$(from "$lib/pkgconfig" "$prefix")}|" \
    -e "s|@PC_INCLUDEDIR@|\${prefix}/$(from "$prefix" "$include")|" \
    -e "s|@PC_LIBDIR@|\${prefix}/$(from "$prefix" "$lib")|" \
    -e "s|@PC_DATADIR@|\${prefix}/$(from "$prefix" "$data")|" \
    -e "s|@CMAKE_INCLUDEDIR@|$(from "$lib/cmake/covey" "$include")|" \
    -e "s|@CMAKE_LIBDIR@|$(from "$lib/cmake/covey" "$lib")|" \
    -e "s|@CMAKE_DATADIR@|$(from "$lib/cmake/covey" "$data")|" \
    ${HOMEPAGE:+-e "s|^Version:|URL: $HOMEPAGE\nVersion:|"} "$here/$1.in" > "$root$2"
  chmod 644 "$root$2"
}
from() { realpath -m -s --relative-to="$1" "$2"; }

install -d -m 755 "$root$lib/pkgconfig" "$root$lib/cmake/covey"
fill covey.pc "$lib/pkgconfig/covey.pc"
fill covey-config.cmake "$lib/cmake/covey/covey-config.cmake"
fill covey-config-version.cmake "$lib/cmake/covey/covey-config-version.cmake"
