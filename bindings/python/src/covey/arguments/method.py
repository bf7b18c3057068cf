"""The arguments of commands that run sessions: how, and with what."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, cast

from ..mirror.options import Options
from ..system.machine import usable_cores
from .values import (
    OF_FRAME,
    UsageError,
    above_zero,
    fraction_or_none,
    height_by_width_or_frame,
    size_in_bytes,
    whole,
)

if TYPE_CHECKING:
    from ..interface.model import Model


def add_method(command: Any) -> None:
    """The options of the method.  Nothing has a default here."""
    method = command.add_argument_group("method; default: the model's, as covey info shows")
    method.add_argument(
        "--mode",
        choices=("edge", "reference"),
        help="how maps are clustered: at a fraction of the cost, and steadily, or as the authors' "
        "code does; default: edge",
    )
    method.add_argument(
        "--working-size",
        type=height_by_width_or_frame,
        metavar="HxW",
        help="height and width in pixels that frames are resized to, multiples of the patch "
        "size; 0x0: the model's; one of them 0: from the other, keeping the aspect; frame: the "
        "frames' own, to whole patches",
    )
    method.add_argument(
        "--tau",
        type=above_zero(1000),
        help="clustering distance threshold, nats, above 0; smaller: more objects",
    )
    method.add_argument("--window", type=whole(64), metavar="N", help="frames clustered together")
    method.add_argument(
        "--key-stride", type=whole(10000), metavar="N", help="every N-th frame serves as key"
    )
    method.add_argument(
        "--key-pool", type=whole(64), metavar="N", help="keys are averaged over N x N patches"
    )
    method.add_argument(
        "--key-budget", type=whole(1000000), metavar="N", help="at most N key frames are used"
    )
    method.add_argument(
        "--query-pool",
        type=whole(64),
        metavar="N",
        help="prototypes are of queries averaged over N x N patches; edge mode only",
    )
    method.add_argument(
        "--target-clusters",
        type=whole(1024),
        metavar="N",
        help="N clusters, background included, as nearly as the tree allows, whatever tau; edge "
        "mode only, not with --stream",
    )
    method.add_argument(
        "--max-clusters",
        type=whole(65535),
        metavar="N",
        help="no more than N clusters, whatever tau; edge mode only",
    )
    method.add_argument(
        "--bank-clusters",
        type=whole(1024),
        metavar="N",
        help="clusters that a stream remembers, in sight or not; default: 64",
    )
    method.add_argument(
        "--key-rounding",
        choices=("ceil", "floor"),
        help="how many key frames T / --key-stride are; default: ceil, in reference mode floor",
    )
    method.add_argument(
        "--affinity",
        choices=("correlator", "features", "attention"),
        help="what is compared: the trained block's queries and keys (default), the features "
        "themselves, or the backbone's own attention; each needs a --tau of its own",
    )
    method.add_argument(
        "--keep-shots",
        action="store_true",
        default=None,
        help="do not look for cuts and fades; else each shot is clustered on its own, and no id is "
        "in two; reference mode never does",
    )
    method.add_argument("--max-objects", type=whole(65535), metavar="N", help="keep the best N")
    method.add_argument(
        "--least-objectness",
        type=above_zero(0.999),
        metavar="SCORE",
        help="what is less an object than this is background; default: 0.3; less finds more",
    )
    method.add_argument(
        "--min-area",
        type=fraction_or_none,
        metavar="FRACTION",
        help="objects that never cover more of a frame are background; default: 0.001; 0 or "
        "less: none",
    )
    method.add_argument(
        "--mask",
        choices=("refined", "bilinear", "nearest"),
        help="how masks are drawn at the size of the frame: along its edges, by interpolation, "
        "or patch by patch; default: refined",
    )
    method.add_argument(
        "--min-region",
        type=fraction_or_none,
        metavar="FRACTION",
        help="connected regions of less than this of a frame get the id around them; default: "
        "holes in objects, and specks that no patch has the id of; 0 or less: all stay",
    )


def add_running(command: Any) -> None:
    """Threads and memory."""
    running = command.add_argument_group("running")
    running.add_argument(
        "--threads", type=whole(256), metavar="N", help="default: one per usable core"
    )
    running.add_argument(
        "--memory-limit",
        type=size_in_bytes,
        metavar="SIZE",
        help="for all but the model: 500M, 2G; where more would be taken, the run fails; where "
        "more may be needed, a warning comes first",
    )


def session_options(arguments: argparse.Namespace) -> Options:
    """What was given, as options of a session; all but their output."""
    # Those of the command have the names of the session's, but for two.
    options: dict[str, Any] = {
        name: getattr(arguments, name, None)
        for name in Options.__annotations__
        if name != "output"  # the command's is a folder
    }
    options["streaming"] = arguments.stream
    options["threads"] = arguments.threads or min(usable_cores(), 256)
    if arguments.working_size:
        options["working_height"], options["working_width"] = arguments.working_size
    given = {name: value for name, value in options.items() if value is not None}
    return cast(Options, given)


def check_mode(arguments: argparse.Namespace) -> None:
    """Raises UsageError for what does not go together."""
    refused = {"--stream": arguments.stream, "--target-clusters": arguments.target_clusters}
    if arguments.mode == "reference":
        refused["--max-clusters"] = arguments.max_clusters
        refused["--query-pool"] = arguments.query_pool
        for name, value in refused.items():
            if value:
                raise UsageError(f"argument {name}: not with --mode reference")
    elif all(refused.values()):
        raise UsageError("argument --target-clusters: not with --stream; --max-clusters limits")


def check_size(working_size: tuple[int, int] | None, model: Model) -> None:
    """Raises UsageError for a working size that is not of the model's patches."""
    height, width = working_size or (0, 0)
    patch = model.info.patch_size
    if working_size == OF_FRAME:
        return
    if height % patch or width % patch:
        raise UsageError(
            f"argument --working-size: expected multiples of the model's patch size, {patch}, "
            f"found {height}x{width}"
        )
