#!/usr/bin/env bash
# Installs the Debian packages that covey is built with, where they are missing, or those
# named as arguments.
set -euo pipefail

for tool in swift cc python3; do
  command -v "$tool" >/dev/null && continue
  echo "$tool is missing; Swift for Linux is at https://www.swift.org/install/linux/," >&2
  echo "the others come with the system (Debian: build-essential, python3)." >&2
  exit 1
done

packages=("$@")
if (( $# == 0 )); then
  # locales: one with decimal commas, for a test.
  packages=(libopenblas-dev libpng-dev pkg-config binutils valgrind locales)
  # Debian's Python comes without the means to make an environment.
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
  # The header and an example are compiled as C++, too.
  command -v c++ >/dev/null || packages+=(g++)
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if (( ${#missing[@]} == 0 )); then
  echo "Debian packages: ${packages[*]} are installed"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "Please install, with your system's package manager: ${missing[*]}" >&2
  exit 1
fi
root=()
if (( EUID != 0 )); then
  command -v sudo >/dev/null || { echo "Please install as root: apt-get install ${missing[*]}" >&2; exit 1; }
  root=(sudo)
fi
echo "Debian packages: installing ${missing[*]}${root:+ with sudo}"
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
