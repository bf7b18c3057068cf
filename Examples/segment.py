"""Video in, masks out, with ctypes and the standard library alone.

    ffmpeg -i video.mp4 -pix_fmt yuv420p -f yuv4mpegpipe - | python3 segment.py MODEL MASKS/

Every mask is an indexed PNG whose indices are object ids: 0 is background, and an object
keeps its id for the whole video.  The library is libcovey.so.0, or what COVEY_LIBRARY names.
"""

import ctypes
import os
import struct
import sys
import zlib
from ctypes import POINTER, byref, c_char_p, c_uint16, c_void_p

I420, OK = 6, 0


class Frame(ctypes.Structure):  # covey_frame
    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("format", ctypes.c_int32),
        ("width", ctypes.c_int32), ("height", ctypes.c_int32),
        ("planes", c_void_p * 3), ("strides", ctypes.c_ssize_t * 3), ("timestamp", ctypes.c_int64),
    ]  # fmt: skip


covey = ctypes.CDLL(os.environ.get("COVEY_LIBRARY", "libcovey.so.0"))
# Without these, ctypes would pass and return addresses as 32-bit numbers.
covey.covey_last_error.restype = c_char_p
covey.covey_model_load.argtypes = [c_char_p, c_void_p, POINTER(c_void_p)]
covey.covey_session_create.argtypes = [c_void_p, c_void_p, POINTER(c_void_p)]
covey.covey_session_push.argtypes = [c_void_p, POINTER(Frame)]
covey.covey_session_finish.argtypes = [c_void_p]
covey.covey_session_next.argtypes = [c_void_p, POINTER(c_void_p)]
covey.covey_result_labels.argtypes = [c_void_p]
covey.covey_result_labels.restype = POINTER(c_uint16)
for kind in ("model", "session", "result"):
    getattr(covey, f"covey_{kind}_free").argtypes = [c_void_p]
    getattr(covey, f"covey_{kind}_free").restype = None


def check(status):
    if status < 0:
        sys.exit(f"segment.py: {covey.covey_last_error().decode(errors='replace')}")
    return status


def read_header(file):
    fields = file.readline(1024).decode("ascii", "replace").split()
    sizes = {field[0]: field[1:] for field in fields[1:]}
    colour, width, height = sizes.get("C", "420"), sizes.get("W", ""), sizes.get("H", "")
    known = colour in ("420", "420jpeg", "420mpeg2", "420paldv")
    if fields[:1] != ["YUV4MPEG2"] or not (known and width.isdecimal() and height.isdecimal()):
        sys.exit("segment.py: standard input is not YUV4MPEG2 of 8-bit 4:2:0; make it with\n"
                 "  ffmpeg -i VIDEO -pix_fmt yuv420p -f yuv4mpegpipe -")
    return int(width), int(height)


def push_all(session, file, width, height):
    luma, chroma = width * height, ((width + 1) // 2) * ((height + 1) // 2)
    pixels = ctypes.create_string_buffer(luma + 2 * chroma)
    start = ctypes.addressof(pixels)
    frame = Frame(ctypes.sizeof(Frame), I420, width, height)
    frame.planes[:] = start, start + luma, start + luma + chroma
    while file.readline(1024).startswith(b"FRAME"):
        if file.readinto(pixels) != len(pixels):
            sys.exit(f"segment.py: standard input ends in the middle of frame {frame.timestamp}")
        check(covey.covey_session_push(session, byref(frame)))
        frame.timestamp += 1


def colour(number):
    """Of PASCAL VOC and DAVIS: the bits of the id, dealt to red, green and blue in turn."""
    def channel(first):
        return sum((number >> 3 * bit + first & 1) << 7 - bit for bit in range(3))

    return bytes(map(channel, range(3)))


def png(width, height, labels):
    if max(labels) > 255:
        sys.exit(f"segment.py: id {max(labels)}: an 8-bit mask has 255")

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    # Every row begins with its filter: none.
    rows = b"".join(b"\0" + bytes(labels[y * width : (y + 1) * width]) for y in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", b"".join(map(colour, range(256))))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    width, height = read_header(sys.stdin.buffer)
    model, session, result = c_void_p(), c_void_p(), c_void_p()
    check(covey.covey_model_load(os.fsencode(sys.argv[1]), None, byref(model)))
    check(covey.covey_session_create(model, None, byref(session)))
    covey.covey_model_free(model)  # the session keeps it alive
    push_all(session, sys.stdin.buffer, width, height)
    check(covey.covey_session_finish(session))
    os.makedirs(sys.argv[2], exist_ok=True)
    count = 0
    while check(covey.covey_session_next(session, byref(result))) == OK:
        labels = covey.covey_result_labels(result)[: width * height]
        covey.covey_result_free(result)
        with open(os.path.join(sys.argv[2], f"{count:05}.png"), "wb") as file:
            file.write(png(width, height, labels))
        count += 1
    covey.covey_session_free(session)
    print(f"{count} masks in {sys.argv[2]}", file=sys.stderr)


if __name__ == "__main__":
    main()
