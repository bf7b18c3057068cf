#!/bin/sh
# The C tests under valgrind, with a small model:
#
#     Tests/c/valgrind.sh [TEST_INTERFACE [WEIGHTS...]]
#
# Any wrong access, use of a value never set, or lost memory fails.  The library
# must be stripped: valgrind 3.19 cannot read the debug information of Swift.
# OpenBLAS runs the kernels of Haswell, as valgrind has no AVX-512.
set -eu

here=$(dirname "$0")
test=${1:-build/c/test_interface}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- "$here/../golden/tiny-f32.gguf" "$here/../golden/tiny-q8.gguf"

for weights; do
  OPENBLAS_CORETYPE=Haswell OPENBLAS_NUM_THREADS=1 valgrind \
    --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,possible \
    --errors-for-leak-kinds=definite,possible --num-callers=25 \
    --child-silent-after-fork=yes \
    "$test" "$weights" --quick
done
