"""``covey evaluate``, as a user runs it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from small_datasets import FRAMES, SIZE, davis2017, plain_folders, write_masks, ytvis

from covey import evaluation
from covey.checkpoints.convert import Settings, convert
from covey.commands.main import main
from covey.writing import coco


def test_predictions_that_are_the_truth(tmp_path, capsys):
    truth = davis2017(tmp_path / "data")
    for name, ids in truth.items():
        write_masks(tmp_path / "found" / name, np.where(ids == 255, 9, ids))
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--predictions",
               str(tmp_path / "found"), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "mean of 3 objects" in shown and "1.000" in shown
    told = json.loads((tmp_path / "out/results.json").read_text())
    assert told["protocol"] == "davis" and told["rows"] == 3
    assert told["means"]["J&F"] == 1 and told["intervals"]["J"] == [1, 1]
    rows = list(csv.DictReader((tmp_path / "out/results.csv").open()))
    assert [(row["video"], row["object"], row["J"]) for row in rows] == [
        ("bear", "1", "1.0"), ("dogs-jump", "1", "1.0"), ("dogs-jump", "2", "1.0")]
    assert "| dogs-jump | 1.000 |" in (tmp_path / "out/results.md").read_text()


@pytest.mark.parametrize("protocol", ["davis", "ba", "best", "instances", "tracking"])
def test_saved_labels_give_the_same_figures(tmp_path, model_path, protocol):
    davis2017(tmp_path / "data")
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--protocol", protocol]
    assert main([*command, "--model", str(model_path), "--save", "--json",
                 "-o", str(tmp_path / "one")]) == 0
    assert main([*command, "--predictions", str(tmp_path / "one/masks"), "--json",
                 "-o", str(tmp_path / "two")]) == 0
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert one["means"] == two["means"]
    for each, other in zip(one["figures"], two["figures"], strict=True):
        assert {**each, "seconds": 0} == {**other, "seconds": 0}


def test_results_for_youtube_vis(tmp_path, model_path):
    ytvis(tmp_path / "data")
    assert main(["evaluate", "ytvis2019", str(tmp_path / "data"), "--model", str(model_path),
                 "--save", "--json", "-o", str(tmp_path / "out")]) == 0
    entries = json.loads((tmp_path / "out/ytvis.json").read_text())
    assert {entry["video_id"] for entry in entries} == {11, 12}
    covered = np.zeros((FRAMES, *SIZE), int)
    for entry in entries:
        assert 0 <= entry["score"] <= 1 and len(entry["segmentations"]) == FRAMES
        if entry["video_id"] == 11:
            for t, mask in enumerate(entry["segmentations"]):
                covered[t] += 0 if mask is None else coco.decode(mask)
    # Clusters: every pixel is in one.
    assert (covered == 1).all()


def test_a_broken_run_goes_on(tmp_path, model_path, capsys):
    davis2017(tmp_path / "data")
    out = tmp_path / "out"
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--model", str(model_path),
               "--json", "-o", str(out)]
    damaged = tmp_path / "data/JPEGImages/480p/dogs-jump/00002.jpg"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"no picture")
    assert main(command) == 1
    assert "00002.jpg" in capsys.readouterr().err
    lines = (out / "videos.jsonl").read_text().splitlines()
    assert [json.loads(line)["video"] for line in lines] == ["bear"]
    marked = {**json.loads(lines[0]), "seconds": 123.0}
    # Its second half is what a crash would leave.
    (out / "videos.jsonl").write_text(json.dumps(marked) + "\n" + lines[0][:40])
    damaged.write_bytes(whole)
    assert main([*command, "--resume"]) == 0
    figures = json.loads((out / "results.json").read_text())["figures"]
    assert [each["video"] for each in figures] == ["bear", "dogs-jump"]
    assert figures[0]["seconds"] == 123.0 and figures[1]["seconds"] != 123.0
    capsys.readouterr()
    assert main([*command, "--resume", "--tau", "0.5"]) == 1
    assert "was run with tau None, now 0.5: not the same" in capsys.readouterr().err
    assert main(command) == 0
    assert json.loads((out / "results.json").read_text())["figures"][0]["seconds"] != 123.0


def test_what_a_run_goes_on_with(tmp_path, model_path, make_checkpoint, capsys):
    """The same settings, whatever JSON makes of them; not those of another model, nor what a
    crash left, nor labels that were not saved."""
    davis2017(tmp_path / "data")
    out, model = tmp_path / "out", tmp_path / "a.gguf"
    model.write_bytes(model_path.read_bytes())
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--model", str(model),
               "--working-size", "32x48", "--json", "-o", str(out)]

    def seconds():
        told = json.loads((out / "results.json").read_text())
        return [each["seconds"] for each in told["figures"]]

    assert main(command) == 0
    first = seconds()
    assert main([*command, "--resume"]) == 0
    assert seconds() == first
    assert main([*command, "--resume", "--threads", "1"]) == 0
    assert seconds() == first
    # Where a name is cut in the middle of a character; and without the file.
    whole = (out / "videos.jsonl").read_bytes()
    (out / "videos.jsonl").write_bytes(whole + b'{"video": "caf\xc3')
    assert main([*command, "--resume"]) == 0
    assert seconds() == first
    (out / "videos.jsonl").unlink()
    assert main([*command, "--resume"]) == 0
    assert seconds()[0] != first[0]
    # Labels are wanted now: they are made.
    first = seconds()
    assert main([*command, "--resume", "--save"]) == 0
    assert seconds()[0] != first[0]
    assert len(list((out / "masks").rglob("*.png"))) == 2 * FRAMES
    first = seconds()
    assert main([*command, "--resume", "--save"]) == 0
    assert seconds() == first
    # A frame fewer.
    (tmp_path / "data/JPEGImages/480p/bear/00003.jpg").unlink()
    assert main([*command, "--resume"]) == 0
    assert seconds()[0] != first[0] and seconds()[1] == first[1]
    capsys.readouterr()
    # Another model of the same name; what is there stays.
    left = (out / "videos.jsonl").read_bytes()
    convert(make_checkpoint(seed=5), model, settings=Settings(heads=2, correlator_heads=3))
    assert main([*command, "--resume"]) == 1
    assert "was run with model" in capsys.readouterr().err
    model.unlink()
    assert main(command) == 1
    assert (out / "videos.jsonl").read_bytes() == left


def test_folders_of_other_commands_are_left_alone(tmp_path, capsys):
    truth = davis2017(tmp_path / "data")
    out = tmp_path / "out"
    for name, ids in truth.items():
        write_masks(out / "masks" / name, ids)
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "-o", str(out),
               "--predictions", str(out / "masks")]
    assert main([*command, "--save"]) == 2
    assert "--save: would write over --predictions" in capsys.readouterr().err
    for text, message in (('{"steps": 5}', "run.json: not of an evaluation"), ("{", "run.json: E")):
        (out / "run.json").write_text(text)
        for more in ([], ["--resume"]):
            assert main([*command, *more]) == 1
            assert message in capsys.readouterr().err
        assert (out / "run.json").read_text() == text


def test_tracks_of_an_earlier_run_are_not_in_the_results(tmp_path, model_path):
    ytvis(tmp_path / "data")
    command = ["evaluate", "ytvis2019", str(tmp_path / "data"), "--model", str(model_path),
               "--save", "--json", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert main([*command, "--only", "ffee", "ffee"]) == 0
    entries = json.loads((tmp_path / "out/ytvis.json").read_text())
    assert {entry["video_id"] for entry in entries} == {12}
    assert json.loads((tmp_path / "out/results.json").read_text())["videos"] == 1


def test_no_videos_or_two_of_a_name(tmp_path):
    ytvis(tmp_path)
    told = json.loads((tmp_path / "train.json").read_text())
    told["videos"].append({**told["videos"][0], "id": 99})
    (tmp_path / "train.json").write_text(json.dumps(told))
    with pytest.raises(evaluation.DatasetError, match="two videos are named 0a1b"):
        evaluation.open_dataset("ytvis2019", tmp_path)
    (tmp_path / "train.json").write_text(json.dumps({**told, "videos": []}))
    with pytest.raises(evaluation.DatasetError, match="expected videos, found none"):
        evaluation.open_dataset("ytvis2019", tmp_path)


def test_colour_and_position(tmp_path):
    plain_folders(tmp_path / "data")
    assert main(["evaluate", "folders", str(tmp_path / "data"), "--colour-and-position", "6",
                 "--json", "-o", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out/results.json").read_text())
    (video,) = evaluation.open_dataset("folders", tmp_path / "data")
    labels = evaluation.colour_and_position(6)(video).labels
    # Every pixel is in a cluster: none is background.
    assert labels.shape == (FRAMES - 1, *SIZE) and set(np.unique(labels)) <= {*range(1, 7)}
    # Squares of one colour: k-means finds at least one of the two.
    assert 0.4 < told["means"]["J"] <= 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--protocol", "davis16"], "expected one of davis, ba, best, instances, tracking"),
        (["--predictions", "nowhere"], "nowhere: no such folder"),
        (["--split", "test"], "test.txt: no such file"),
        (["--only", "cat"], "no video cat"),
        (["--working-size", "33x48"], "expected multiples of the model's patch size"),
        (["--mode", "reference", "--stream"], "argument --stream: not with --mode reference"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_arguments(tmp_path, model_path, capsys, arguments, message):
    davis2017(tmp_path / "data")
    model = [] if "--predictions" in arguments else ["--model", str(model_path)]
    assert main(["evaluate", "davis2017", str(tmp_path / "data"), "-o", str(tmp_path / "out"),
                 *model, *arguments]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_mask_of_another_size(tmp_path, capsys):
    truth = davis2017(tmp_path / "data")
    for name, ids in truth.items():
        write_masks(tmp_path / "found" / name, ids[:, :-1])
    assert main(["evaluate", "davis2017", str(tmp_path / "data"), "--predictions",
                 str(tmp_path / "found"), "-o", str(tmp_path / "out")]) == 1
    message = "bear: labels: expected [4, 32, 48] as the truth's, found [4, 31, 48]"
    assert message in capsys.readouterr().err
