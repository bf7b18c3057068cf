"""The arguments of ``covey segment``, which are also those of each video of a batch."""

from __future__ import annotations

from typing import Any

from ._arguments import index, positive
from ._method_arguments import add_method, add_running


def add_segment(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "segment",
        help="a video or a folder of pictures to label maps",
        usage="covey segment SOURCE -o OUT [OPTIONS]",
        description="Writes OUT/masks/NAME.png for every frame: indexed PNG with the DAVIS "
        "palette, 0 is background, an object has the same id in all frames. NAME is the "
        "picture's, or the number of the frame in five digits. Masks of an earlier run that "
        "this one does not write, named by a number or as a picture of the source, are removed "
        "from OUT/masks; with other PNG files in there, nothing is written. OUT/result.json, the "
        "settings and figures, is written last: without it, a run was broken off.",
    )
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="a video file; a folder of pictures, or a pattern (\"shots/*.jpg\", frame_%%04d.png); "
        "and, which imply --stream: - for YUV4MPEG2 on standard input, a camera (/dev/video0), an "
        "input device of FFmpeg (x11grab::0), a URL (rtsp://...); Ctrl-C ends these",
    )
    command.add_argument("-o", "--output", metavar="OUT", help="folder to write to")
    command.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, no progress"
    )
    add_segment_options(command)


def add_segment_options(command: Any) -> None:
    """Those that do not say which video, and where to."""
    command.add_argument(
        "--resume",
        action="store_true",
        help="keep what is in OUT if it is whole and of the same source, model and options; else "
        "begin anew",
    )
    command.add_argument(
        "-m",
        "--model",
        metavar="FILE",
        help="weight file; default: $COVEY_MODEL, else the one that came with covey",
    )
    command.add_argument("--overlay", action="store_true", help="also OUT/overlay.mp4")
    command.add_argument(
        "--sheet", action="store_true", help="also OUT/sheet.png: frames beside their overlays"
    )
    command.add_argument(
        "--report",
        action="store_true",
        help="also OUT/report.html: frames, when objects are seen, settings and times in one file",
    )
    command.add_argument(
        "--coco",
        action="store_true",
        help="also OUT/coco.json: images, and run lengths of the objects with their track_id",
    )
    command.add_argument(
        "--ytvis",
        action="store_true",
        help="also OUT/ytvis.json: the objects as YouTube-VIS has results",
    )
    command.add_argument(
        "--npz", action="store_true", help="also OUT/labels.npz: labels [T, H, W] and names [T]"
    )
    command.add_argument(
        "--clusters", action="store_true", help="every cluster gets an id, background too"
    )
    command.add_argument(
        "--kinds", action="store_true", help="objects that look alike get one id together"
    )
    reading = command.add_argument_group("reading")
    reading.add_argument(
        "--first", type=index, default=0, metavar="N", help="begin with frame N; the first is 0"
    )
    reading.add_argument("--last", type=index, metavar="N", help="end with frame N")
    reading.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    reading.add_argument(
        "--every", type=positive, default=1, metavar="N", help="take each N-th frame only"
    )
    reading.add_argument(
        "--resize",
        action="store_true",
        help="frames of another size than the first are made as large as it; default: refused",
    )
    reading.add_argument(
        "--stream",
        action="store_true",
        help="write masks while frames are read, at most a window late: memory does not grow with "
        "the video; edge mode only",
    )
    add_method(command)
    add_running(command)
