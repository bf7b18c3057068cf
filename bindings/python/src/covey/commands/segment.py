"""``covey segment``: a video or a folder of pictures to label maps."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import socket
import time
from pathlib import Path
from typing import Any

from ..arguments.method import check_mode, check_size, session_options
from ..arguments.values import UsageError
from ..interface.model import Model
from ..mirror.abi import VERSION
from ..reading.sources import is_picture_name
from ..reading.video import Video
from ..segmenting.forecast import Forecast, with_less
from ..segmenting.options import add_options, check_wanted
from ..segmenting.output import KINDS, Output, knobs_as_text
from ..segmenting.passes import segment_stream, segment_whole
from ..segmenting.reader import Reader
from ..segmenting.run_result import Made, differences, read_made, settings_of, write_made
from ..segmenting.writer import Writer, sinks_of
from ..system.display import Display, counted, mebibytes
from ..system.machine import peak_memory
from ..system.terminal import say
from ..writing.report import Report
from ..writing.sinks import Masks


def add(command: argparse.ArgumentParser) -> None:
    """The arguments; those that a batch has too are in segmenting/options.py."""
    command.usage = "covey segment SOURCE -o OUT [OPTIONS]"
    command.description = (
        "Writes OUT/masks/NAME.png for every frame: indexed PNG with the DAVIS "
        "palette, 0 is background, an object has the same id in all frames. NAME is the "
        "picture's, or the number of the frame in five digits. Masks of an earlier run that "
        "this one does not write, named by a number or as a picture of the source, are removed "
        "from OUT/masks; with other PNG files in there, nothing is written. OUT/result.json, the "
        "settings and figures, is written last: without it, a run was broken off."
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
    add_options(command)


def take_up(arguments: argparse.Namespace, left: list[str]) -> str | None:
    """What is wrong with more than one source, in words."""
    if left and all(is_picture_name(each) for each in [arguments.source, *left]):
        return (
            f"one SOURCE, found {1 + len(left)} pictures; for those of one video name their "
            "folder, or their pattern in quotes, as 'shots/*.jpg'"
        )
    if left:
        some = shlex.join([arguments.source, *left[:2]]) + (" ..." if left[2:] else "")
        return (
            f"one SOURCE at a time, found {1 + len(left)}; many, with the same options: "
            f"covey batch {some} -o {shlex.quote(arguments.output or 'OUT')}"
        )
    if arguments.output is None:
        return "the following arguments are required: -o/--output"
    return None


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, or raises."""
    check_wanted(arguments)
    output = Output(arguments.output, [kind for kind in KINDS if getattr(arguments, kind)])
    video = Video(
        arguments.source,
        arguments.max_frames,
        arguments.every,
        arguments.first,
        arguments.last,
        arguments.resize,
    )
    output.check(video)
    # What is read only once, and may have no end, is segmented as it comes.
    arguments.stream |= video.is_live
    check_mode(arguments)
    if video.is_live and arguments.resume:
        raise UsageError("argument --resume: not with a source that can be read only once")
    with output.taken():
        try:
            _segment(arguments, output, video)
        except MemoryError as error:
            raise MemoryError(f"{error or 'out of memory'}; {with_less(arguments)}") from None
    return 0


def _segment(arguments: argparse.Namespace, output: Output, video: Video) -> None:
    """With the folder of the output to itself."""
    start = time.perf_counter()
    earlier = read_made(output.folder)
    settings = None if video.is_live else settings_of(arguments, arguments.source)
    if arguments.resume and earlier is not None:
        if earlier.settings == settings and earlier.is_complete(output.folder):
            if not arguments.json:
                say(f"{output.folder}: is whole, and of these settings; kept")
            _tell(arguments, output.folder, earlier.figures)
            return
    began = time.time()
    with Model(arguments.model) as model, Display(arguments.json) as display:
        if arguments.resume and earlier is not None and settings is not None:
            why = differences(earlier.settings, settings) or "files are missing"
            display.note(f"{output.folder}: {why}; begun anew")
        options = session_options(arguments)
        options["output"] = (
            "clusters" if arguments.clusters else "kinds" if arguments.kinds else "objects"
        )
        check_size(arguments.working_size, model)
        forecast = Forecast(model, options, display, with_less(arguments))
        # The fractions of a stream are of one push: frames tell more.
        progress = None if arguments.stream else display.stage
        with (
            model.session(**{**options, "progress": progress}) as session,
            contextlib.ExitStack() as stack,
        ):
            # Before the work: what cannot be written need not be computed.
            output.try_out()
            reader = Reader(video, display, forecast, arguments.stream)
            by_kind = sinks_of(output, video, reader)
            writer = Writer(output, [stack.enter_context(each) for each in by_kind.values()])
            if arguments.stream:
                times = segment_stream(session, reader, video, writer)
            else:
                times = segment_whole(session, reader, video, writer, display)
            memory = session.memory
        name = model.info.name
    summary = writer.summary
    figures = {
        "source": video.name,
        "model": name,
        "frames": summary.frames,
        "objects": summary.total_objects,
        "clusters": summary.total_clusters,
        "shots": summary.shots,
        "mode": arguments.mode or "edge",
        "streaming": arguments.stream,
        "clustering": {
            **summary.knobs,
            "target_clusters": arguments.target_clusters,
            "max_clusters": arguments.max_clusters,
            "bank_clusters": arguments.bank_clusters,
        },
        "seconds": time.perf_counter() - start,
        "seconds_encode": times.encode,
        "seconds_cluster": times.cluster,
        "seconds_write": times.writing,
        "seconds_per_frame": times.computing / summary.frames,
        "estimated_peak_bytes": forecast.bytes,
        "memory_limit_bytes": forecast.limit,
        "session_peak_bytes": memory.peak,
        "process_peak_bytes": peak_memory(),
        "masks_removed": writer.removed,
        "warnings": display.warnings,
    }
    report = by_kind.get("report")
    if isinstance(report, Report):
        report.write_report(figures, summary.objects())
    masks = by_kind["masks"]
    figures |= {
        "tracks": summary.objects(),
        "mask_bits": 16 if isinstance(masks, Masks) and masks.wide else 8,
        "output": {
            kind: str(each.path.relative_to(output.folder)) for kind, each in by_kind.items()
        },
    }
    if settings is not None:
        worker = f"{socket.gethostname()}-{os.getpid()}"
        made = Made(VERSION, worker, began, time.time() - began, settings, figures)
        write_made(output.folder, made, [each.path for each in by_kind.values()])
    _tell(arguments, output.folder, figures)


#: What shows most of a run, first.
_TO_LOOK_AT = ("report", "overlay", "sheet")


def _tell(arguments: argparse.Namespace, folder: Path, figures: dict[str, Any]) -> None:
    """``figures``: with their paths relative to ``folder``."""
    written = {kind: str(folder / name) for kind, name in figures["output"].items()}
    if arguments.json:
        say(json.dumps({**figures, "output": written}, ensure_ascii=False))
        return
    kind = "cluster" if arguments.clusters else "object"
    # Not in results of before it was told.
    writing = figures.get("seconds_write")
    say(
        f"{counted(figures['frames'], 'frame')}, {counted(figures[f'{kind}s'], kind)}, "
        f"{figures['seconds_per_frame']:.3f} s a frame"
        + ("" if writing is None else f" and {writing / figures['frames']:.3f} s to write it")
        + f", {figures['seconds']:.1f} s in all"
    )
    if not arguments.clusters and figures["objects"] == 0:
        say(
            "nothing moves by itself or stands out enough to be an object: "
            "--least-objectness 0.1 finds more, --clusters shows all there is"
        )
    if figures["shots"] > 1:
        say(f"{figures['shots']} shots, each with ids of its own (--keep-shots: as one)")
    kind = f"{figures['mode']} mode{', streaming' if figures['streaming'] else ''}"
    # None: not asked for; of this one: no bound.
    knobs = {
        name: value
        for name, value in figures["clustering"].items()
        if value is not None or name == "key_budget"
    }
    say(f"{kind}: {knobs_as_text(knobs)}")
    say(
        f"peak memory: session {mebibytes(figures['session_peak_bytes'])}, "
        f"process {mebibytes(figures['process_peak_bytes'])}"
    )
    if figures["masks_removed"]:
        say(f"removed {counted(figures['masks_removed'], 'mask')} of an earlier run")
    for what, where in written.items():
        say(f"{what}: {where}")
    others = [each.file for kind, each in KINDS.items() if kind not in written]
    if left := [name for name in others if (folder / name).exists()]:
        say(f"of an earlier run, not this one: {', '.join(left)}")
    if figures["mask_bits"] > 8:
        say("ids beyond 255: masks are 16-bit gray where they have one", error=True)
    if first := next((written[kind] for kind in _TO_LOOK_AT if kind in written), None):
        say(f"look first at {first}")
