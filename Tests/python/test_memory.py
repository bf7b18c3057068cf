"""The memory estimate: never less than what a session takes, and not much more."""

import pytest
import scenes

import covey

#: Frames; working size; options.
CASES = {
    "whole video": (20, (0, 0), {}),
    "one frame": (1, (0, 0), {}),
    "nearest masks": (9, (0, 0), {"mask": "nearest"}),
    "large": (6, (320, 480), {}),
    "every patch a leaf": (6, (128, 256), {"query_pool": 1}),
    "stream": (30, (0, 0), {"streaming": True}),
    "reference, pooled keys": (12, (0, 0), {"mode": "reference", "key_pool": 4}),
    "reference": (6, (128, 256), {"mode": "reference"}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_estimate_is_near_the_peak(name, threads):
    count, (height, width), options = CASES[name]
    frames, _ = scenes.film("cluttered", 1, count, 120, 213)
    options = {**options, "working_height": height, "working_width": width, "threads": threads}
    with covey.Model() as model, model.session(**options) as session:
        estimate = model.estimate_memory(213, 120, count, **options)
        for frame in frames:
            session.push(frame)
            if options.get("streaming"):
                list(session.results())
        session.finish()
        list(session.results())
        measured = session.memory
    # It counts on one prototype for four blocks and 64 centres, which made-up
    # scenes do not reach: up to 23 % more than measured was observed.
    assert measured.peak <= estimate.peak <= 1.3 * measured.peak
