"""Many videos: ``covey batch``, and what it is made of.

A ``Task`` is one video with all that a worker must know, and ``segment_video`` does it,
in a process of its own and whole or not at all; ``map_videos`` has tasks done by any
executor: threads of this machine, or workers of a Dask cluster::

    from concurrent.futures import ThreadPoolExecutor
    from covey import batch

    entries = [batch.Entry("/videos/a.mp4"), batch.Entry("/videos/b.mp4", name="second")]
    plan = batch.plan(entries, "out", options=["--tau", "0.8"])
    folder = batch.BatchFolder("out")
    with folder.locked(), ThreadPoolExecutor(4) as threads:
        for outcome in batch.map_videos(plan.tasks, threads.submit):
            folder.add(outcome)
            print(outcome.name, outcome.status, outcome.error)

What enters: what is about several videos.  Public.  Knows: mirror, interface, system, reading,
writing, arguments, segmenting.
"""

from .folder import BatchFolder
from .manifest import Entry, read_manifest, unique_names
from .mapping import map_videos
from .planning import Plan, plan
from .task import Outcome, Task
from .work import segment_video

__all__ = [
    "BatchFolder",
    "Entry",
    "Outcome",
    "Plan",
    "Task",
    "map_videos",
    "plan",
    "read_manifest",
    "segment_video",
    "unique_names",
]
