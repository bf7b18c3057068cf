#!/usr/bin/env bash
# The oldest glibc that has all a library asks of it: glibc.sh LIBRARY prints 2.34.
set -euo pipefail
LC_ALL=C readelf -VW "$1" | grep -oE 'GLIBC_2\.[0-9]+' | cut -d_ -f2 | sort -uV | tail -1
