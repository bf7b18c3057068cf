#!/usr/bin/env bash
# The Debian packages libcovey0 and libcovey-dev: deb.sh ARCHITECTURE LIBRARY MANUAL FOLDER.
# Needs dpkg-deb alone of Debian's tools.  The same bytes for the same input and
# SOURCE_DATE_EPOCH.  MAINTAINER="Name <address>" says whose packages they are, HOMEPAGE where
# more about them is.
set -euo pipefail

architecture=$1 library=$2 manual=$3 out=$4
here=$(cd "$(dirname "$0")" && pwd)
upstream=$("$here/version.sh")
version=$upstream-1
maintainer=${MAINTAINER:-covey maintainers <maintainers@covey.invalid>}
case $architecture in
  x86_64) debian=amd64 ;;
  aarch64) debian=arm64 ;;
  *) echo "deb.sh: $architecture: expected x86_64 or aarch64" >&2; exit 1 ;;
esac
triplet=$architecture-linux-gnu
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
runtime=$stage/libcovey0 dev=$stage/libcovey-dev

# All of it is installed as for libcovey-dev; what programs run with moves out.
DESTDIR=$dev PREFIX=/usr LIBDIR=/usr/lib/$triplet DOCDIR=/usr/share/doc/libcovey-dev \
  PC_PREFIX=/usr WITHOUT='LICENSE CHANGELOG.md' "$here/install.sh" "$library" "$manual"
install -d "$runtime/usr/lib/$triplet" "$runtime/usr/share/doc/libcovey0"
mv "$dev/usr/lib/$triplet"/libcovey.so.* "$runtime/usr/lib/$triplet"
mv "$dev/usr/share/covey" "$runtime/usr/share"
"$here/documents.py" --only models/README.md "$runtime/usr/share/doc/libcovey0"
gzip -9n "$dev/usr/share/man/man1/covey.1"
chmod 644 "$runtime/usr/lib/$triplet/libcovey.so.$upstream"

# What Debian wants of every package.
cat > "$stage/changelog.Debian" <<END
covey ($version) unstable; urgency=medium

  * Packages of covey $upstream.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END
for package in libcovey0 libcovey-dev; do
  doc=$stage/$package/usr/share/doc/$package
  install -m 644 "$here/debian/copyright" "$doc"
  gzip -9nc "$here/../CHANGELOG.md" > "$doc/changelog.gz"
  gzip -9nc "$stage/changelog.Debian" > "$doc/changelog.Debian.gz"
done

# What programs that are packaged against the library then depend on.
install -d "$runtime/DEBIAN" "$dev/DEBIAN"
echo "libcovey 0 libcovey0 (>= $upstream)" > "$runtime/DEBIAN/shlibs"
{
  echo "libcovey.so.0 libcovey0 #MINVER#"
  LC_ALL=C nm -D --defined-only --extern-only "$library" |
    awk -v since="$upstream" '{ print " " $3 "@Base " since }' | LC_ALL=C sort
} > "$runtime/DEBIAN/symbols"
echo "activate-noawait ldconfig" > "$runtime/DEBIAN/triggers"

for package in libcovey0 libcovey-dev; do
  tree=$stage/$package
  (cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) \
    > "$tree/DEBIAN/md5sums"
  size=$(cd "$tree" && find usr -type f -printf '%s\n' | awk '{ s += int(($1 + 1023) / 1024) } END { print s }')
  sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$debian|" -e "s|@SIZE@|$size|" \
    -e "s|@MAINTAINER@|$maintainer|" -e "s|@GLIBC@|$("$here/glibc.sh" "$library")|" \
    ${HOMEPAGE:+-e "s|^Section:|Homepage: $HOMEPAGE\nSection:|"} \
    "$here/debian/$package.control.in" > "$tree/DEBIAN/control"
  chmod -R u=rwX,go=rX "$tree"
  # One thread: xz cuts its blocks by their number.
  DPKG_DEB_THREADS_MAX=1 dpkg-deb --root-owner-group -Zxz --build "$tree" \
    "$out/${package}_${version}_$debian.deb" > /dev/null
  echo "$out/${package}_${version}_$debian.deb"
done
