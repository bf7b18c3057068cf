#!/usr/bin/env bash
# Unpacks Debian packages, of another architecture too, into a folder:
#
#     debian-root.sh ARCHITECTURE FOLDER PACKAGE...
#
# Neither root nor a change of this system is needed: apt is run with a state of its
# own.  Dependencies are not followed; name what is wanted.
set -euo pipefail

architecture=$1 folder=$2
shift 2
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/{lists,cache/archives,packages} "$folder"
touch "$state/status"
chmod -R a+rX "$state"
options=(-o APT::Architecture="$architecture" -o APT::Architectures::="$architecture"
  -o Dir::State::Lists="$state/lists" -o Dir::State::status="$state/status"
  -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root)

apt-get "${options[@]}" -qq update
(cd "$state/packages" && apt-get "${options[@]}" -qq download "$@")
for package in "$state"/packages/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done
