"""What comes out for one frame: labels, objects, run lengths, outlines."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..mirror import abi
from ..mirror.abi import Mode
from ..mirror.errors import check
from ..mirror.handle import Handle
from ..mirror.library import lib
from ..mirror.options import integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypedDict

    class RunLengths(TypedDict):
        """COCO's uncompressed form: column by column, zeros first."""

        size: list[int]
        counts: list[int]


#: What the library reports as key_budget where every key frame is used.
_NO_BOUND = 2**31 - 1


@dataclass(frozen=True)
class Object:
    """One object in one frame.

    id: from 1, the same for the whole video.  area: pixels.  x, y, width,
    height: bounding box in pixels.  centroid_x, centroid_y: pixels, a pixel's
    centre being at its index.  confidence: how clearly its patches, or those
    that its pixels lie in, belong to one object rather than the next best, in
    [0, 1].  objectness: of the object over the whole video, of a stream so far,
    in [0, 1].
    first_frame: index where it first has a patch.  motion_x, motion_y: pixels since
    the frame before, to the right and down, less the camera's motion; 0 in the first
    frame of a shot.
    """

    id: int
    area: int
    x: int
    y: int
    width: int
    height: int
    centroid_x: float
    centroid_y: float
    confidence: float
    objectness: float
    first_frame: int
    motion_x: float
    motion_y: float


class _Borrowed:
    """What an array of the result's memory is a view of: keeps the result
    alive."""

    __slots__ = ("__array_interface__", "_handle")

    def __init__(
        self, handle: Handle, address: int, shape: tuple[int, ...], kind: type[np.generic]
    ) -> None:
        self._handle = handle
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": np.dtype(kind).str,
            "data": (address, True),
        }


class Result:
    """The segmentation of one frame.

    index counts from 0; timestamp is the one pushed; total_objects is the
    number of ids of the video (1 to this), total_clusters that of objects and
    background together; of a stream both are of what came so far.  mode,
    streaming and the six after them are what was used, defaults filled in: the
    session options of the same names.  key_budget is None where there is no
    bound; tau is that of the last cut, where a number of clusters decided that of the
    last merge made (0: none).  shot: that the frame is of, from 0 on.
    Depends on neither session nor model.
    """

    index: int
    timestamp: int
    width: int
    height: int
    object_count: int
    total_objects: int
    total_clusters: int
    mode: Mode
    streaming: bool
    window: int
    key_stride: int
    key_pool: int
    query_pool: int
    key_budget: int | None
    tau: float
    shot: int

    def __init__(self, address: int) -> None:
        self._handle = Handle(address, lib().covey_result_free, "result")
        info = abi.sized("covey_result_info")
        check(lib().covey_result_get_info(address, ctypes.byref(info)))
        self.index = info.frame_index
        self.timestamp = info.timestamp
        self.width = info.width
        self.height = info.height
        self.object_count = info.object_count
        self.total_objects = info.total_objects
        self.total_clusters = info.total_clusters
        self.mode = Mode(info.mode)
        self.streaming = bool(info.streaming)
        self.window = info.window
        self.key_stride = info.key_stride
        self.key_pool = info.key_pool
        self.query_pool = info.query_pool
        self.key_budget = None if info.key_budget == _NO_BOUND else info.key_budget
        self.tau = info.tau
        self.shot = info.shot

    @cached_property
    def labels(self) -> NDArray[np.uint16]:
        """[height, width] ids, read-only: the library's own memory, which lives
        as long as this array or any view of it."""
        with self._handle.using() as address:
            pixels = lib().covey_result_labels(address)
        shape = (self.height, self.width)
        return np.asarray(_Borrowed(self._handle, pixels, shape, np.uint16))

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """[rows, columns] of patches, read-only and borrowed as ``labels``: how
        clearly each belongs to its cluster rather than to the next best, in
        [0, 1]."""
        return self._of_patches(lib().covey_result_get_confidence)

    @cached_property
    def motion(self) -> NDArray[np.float32]:
        """[rows, columns, 2] of patches, read-only and borrowed as ``labels``: x, y, how
        far each moved since the frame before, in pixels, to the right and down, less what
        the camera's motion explains; zeros in the first frame of a shot."""
        return self._of_patches(lib().covey_result_get_motion, 2)

    def _of_patches(self, function: Callable[..., int], *each: int) -> NDArray[np.float32]:
        rows, columns = ctypes.c_int32(), ctypes.c_int32()
        with self._handle.using() as address:
            values = function(address, ctypes.byref(rows), ctypes.byref(columns))
        shape = (rows.value, columns.value, *each)
        return np.asarray(_Borrowed(self._handle, values, shape, np.float32))

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """The objects in this frame, by decreasing area."""
        # One at least: where there is none, nothing is written.
        structs = (abi.STRUCTS["covey_object"] * max(self.object_count, 1))()
        structs[0].struct_size = ctypes.sizeof(structs[0])
        count = ctypes.c_size_t()
        with self._handle.using() as address:
            check(lib().covey_result_get_objects(
                address, structs, self.object_count, ctypes.byref(count)))  # fmt: skip
        return tuple(Object(**abi.values(struct)) for struct in structs[: count.value])

    def mask(self, object_id: int) -> NDArray[np.bool_]:
        """[height, width], True where ``object_id`` is."""
        return np.equal(self.labels, object_id)

    def rle(self, object_id: int) -> RunLengths:
        """COCO run lengths of one id (0 is allowed).

        ``{"size": [height, width], "counts": [zeros, ones, zeros, ...]}``,
        column by column.  An id that is not in the frame gives one run of
        zeros.
        """
        number = integer("object_id", object_id)
        length = ctypes.c_size_t()
        with self._handle.using() as address:
            status = lib().covey_result_get_rle(address, number, None, 0, ctypes.byref(length))
            if status != abi.Status.ERROR_CAPACITY:
                check(status)
            counts = np.zeros(length.value, np.uint32)
            check(
                lib().covey_result_get_rle(
                    address, number, counts.ctypes.data, counts.size, ctypes.byref(length)
                )
            )
        return {"size": [self.height, self.width], "counts": counts.tolist()}

    def polygons(self, object_id: int, tolerance: float = 0.0) -> list[NDArray[np.float32]]:
        """The closed outlines of one id (0 is allowed), each [points, 2] of x, y.

        Pixel (x, y) is the square from (x, y) to (x + 1, y + 1).  Outer rings
        run clockwise on a screen, holes the other way round.  ``tolerance``
        pixels simplify them; with 0 they are exact.  An id that is not in the
        frame has none.
        """
        number = integer("object_id", object_id)
        points, rings = ctypes.c_size_t(), ctypes.c_size_t()
        xy, ends = np.empty((0, 2), np.float32), np.empty(0, np.uint32)
        with self._handle.using() as address:
            while True:
                status = lib().covey_result_get_polygons(
                    address,
                    number,
                    tolerance,
                    xy.ctypes.data if len(xy) else None,
                    len(xy),
                    ctypes.byref(points),
                    ends.ctypes.data if len(ends) else None,
                    len(ends),
                    ctypes.byref(rings),
                )
                if status != abi.Status.ERROR_CAPACITY:
                    break
                xy = np.empty((points.value, 2), np.float32)
                ends = np.empty(rings.value, np.uint32)
        check(status)
        return np.split(xy, ends[:-1]) if len(ends) else []

    def __repr__(self) -> str:
        return (
            f"<covey.Result index={self.index} size={self.width}x{self.height} "
            f"objects={self.object_count} of {self.total_objects}>"
        )
