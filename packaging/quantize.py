#!/usr/bin/env python3
"""Makes a weight file int8, with nothing but Python and the library.

    quantize.py build/libcovey.so INPUT OUTPUT
"""

import ctypes
import sys

COVEY_DTYPE_Q8 = 3


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    library = ctypes.CDLL(sys.argv[1])
    source, target = (argument.encode() for argument in sys.argv[2:])
    library.covey_last_error.restype = ctypes.c_char_p
    model = ctypes.c_void_p()
    if (
        library.covey_model_load(source, None, ctypes.byref(model)) < 0
        or library.covey_model_save(model, target, COVEY_DTYPE_Q8) < 0
    ):
        sys.exit(f"quantize.py: {library.covey_last_error().decode()}")


if __name__ == "__main__":
    main()
