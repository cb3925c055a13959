"""Checkpoints that are not those of the run: refused with a sentence, never obeyed, never followed."""

import json
import math
import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.diabetes import diabetes, theta_of
from torch import Tensor

import geodescent as gd
from geodescent.descent import _checkpoint

STATE, PREVIOUS = "state.safetensors", "state.previous.safetensors"
Numbers, Points = dict[str, Any], dict[str, Tensor]


def saved(folder: Path) -> Path:
    gd.fit(*diabetes(20), max_steps=3, checkpoint=folder)
    return folder / STATE


def read(path: Path) -> tuple[dict[str, str], Numbers, Points]:
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
        return (
            metadata,
            json.loads(metadata["state"]),
            {name: file.get_tensor(name).clone() for name in list(file.keys())},
        )


def write(path: Path, metadata: dict[str, str], numbers: Numbers, points: Points) -> None:
    save_file(points, path, metadata=metadata | {"state": json.dumps(numbers)})


def resumed(folder: Path) -> gd.Solution:
    return gd.fit(*diabetes(20), max_steps=5, checkpoint=folder)


CHANGES: dict[str, Callable[[Numbers, Points], object]] = {
    "no records": lambda numbers, points: numbers.pop("records"),
    "an empty history": lambda numbers, points: numbers.update(records=[]),
    "one entry more": lambda numbers, points: numbers.update(extra=1),
    "one entry less": lambda numbers, points: numbers.pop("damping"),
    "another name": lambda numbers, points: numbers.update(loss=numbers.pop("cost")),
    "records with more": lambda numbers, points: numbers["records"][0].update(foo=1),
    "records with less": lambda numbers, points: numbers["records"][0].pop("damping"),
    "records that are none": lambda numbers, points: numbers.update(records=[1, 2]),
    "a damping of one number": lambda numbers, points: numbers.update(damping=[1.0]),
    "a state of another control": lambda numbers, points: numbers.update(control={"speed": 1.0}),
    "no best point": lambda numbers, points: points.pop("best"),
    "a short point": lambda numbers, points: points.update(best=points["best"][:3].clone()),
    "a point in a square": lambda numbers, points: points.update(theta=points["theta"][:, None].clone()),
    "a point of another precision": lambda numbers, points: points.update(theta=points["theta"].float()),
}
FORGERIES: dict[str, Callable[[Numbers, Points], object]] = {
    "a floor that ends the run": lambda numbers, points: numbers.update(floor=1e300),
    "another cost": lambda numbers, points: numbers.update(cost=0.0),
    "a reference": lambda numbers, points: numbers.update(reference=math.nan),
    "returns": lambda numbers, points: numbers.update(returns=-5),
    "a stage": lambda numbers, points: numbers.update(stage=7),
    "a time": lambda numbers, points: numbers["records"][-1].update(seconds=1e9),
    "a point": lambda numbers, points: points["theta"].add_(1.0),
    "NaN": lambda numbers, points: points["best"].fill_(math.nan),
}


def refused(folder: Path, sentence: str) -> None:
    """A fit is refused with that sentence; model and files stay as they are."""
    model, x, y = diabetes(20)
    before, files = theta_of(model), {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(gd.InputError, match=sentence):
        gd.fit(model, x, y, max_steps=5, checkpoint=folder)
    assert torch.equal(theta_of(model), before)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == files


@pytest.mark.parametrize("change", [*CHANGES, *FORGERIES])
def test_contents_of_another_hand_are_refused(change: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    metadata, numbers, points = read(path)
    (CHANGES | FORGERIES)[change](numbers, points)
    write(path, metadata, numbers, points)
    refused(tmp_path, r"was changed since it was saved, .*: remove it, or choose another folder\.$")
    path.unlink(), (tmp_path / PREVIOUS).unlink(missing_ok=True)  # the way out
    assert resumed(tmp_path).steps == 5


@pytest.mark.parametrize("change", CHANGES)
def test_contents_of_another_version_are_refused(change: str, tmp_path: Path) -> None:
    """A version with other entries, which says so by no number, saves them with a digest of its own."""
    path = saved(tmp_path)
    metadata, numbers, points = read(path)
    CHANGES[change](numbers, points)
    metadata["digest"] = _checkpoint._digest(json.dumps(numbers), points)
    write(path, metadata, numbers, points)
    refused(tmp_path, r"Choose another folder\.$")


@pytest.mark.parametrize("number", [None, 1, 2, 99, "3"])
def test_another_format_is_refused(number: object, tmp_path: Path) -> None:
    path = saved(tmp_path)
    metadata, numbers, points = read(path)
    numbers.pop("format") if number is None else numbers.update(format=number)
    write(path, metadata, numbers, points)
    refused(tmp_path, r"has format \w+ and this version writes 3: it cannot be resumed\. Choose another folder\.$")


@pytest.mark.parametrize("metadata", [None, {}, {"state": ""}, {"state": "[1]"}, {"state": "{"}, {"other": "1"}])
def test_a_file_of_another_program_is_neither_read_nor_overwritten(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / STATE, metadata=metadata)
    refused(tmp_path, "is no checkpoint of a run: remove it, or choose another folder")


@pytest.mark.parametrize("name", [STATE, PREVIOUS])
def test_links_are_not_followed(name: str, tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "run"
    target = saved(elsewhere)
    before = target.read_bytes()
    folder.mkdir()
    (folder / name).symlink_to(target)
    refused(folder, "is a link, which is not followed: put the file itself in its place, or remove it")
    assert target.read_bytes() == before
    (folder / name).unlink()
    (folder / name).write_bytes(before)  # the way out
    assert resumed(folder).steps == 5


def test_a_link_in_the_place_of_the_draft_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("precious")
    for name in (f".{STATE}.{os.getpid()}", STATE + ".part"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
    saved(tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "run" / STATE).is_symlink()


def test_a_folder_in_the_place_of_the_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / STATE).mkdir()
    refused(tmp_path, "is no file: remove it, or choose another folder")


# --- two runs ---------------------------------------------------------------------------------------------------------

IN_USE = r"another run is writing to .*: wait until it has ended, or choose another folder\.$"


@dataclass
class Nested:
    """A callback that starts another run in the same folder."""

    folder: Path
    sentence: str = ""

    def __call__(self, record: gd.StepRecord) -> None:
        with pytest.raises(gd.InputError, match=IN_USE) as error:
            resumed(self.folder)
        self.sentence = str(error.value)


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    nested = Nested(tmp_path)
    solution = gd.fit(*diabetes(20), max_steps=3, checkpoint=tmp_path, callback=nested)
    assert solution.steps == 3 and nested.sentence
    assert resumed(tmp_path).steps == 5  # the first has ended


def test_a_run_that_failed_leaves_the_folder_free(tmp_path: Path) -> None:
    def fail(record: gd.StepRecord) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        gd.fit(*diabetes(20), checkpoint=tmp_path, callback=fail)
    assert resumed(tmp_path).steps == 5


def hold(folder: Path, begun: Any, go_on: Any) -> None:
    """A run that says when it has begun and ends when it is told to."""

    def wait(record: gd.StepRecord) -> None:
        begun.set()
        go_on.wait(120)

    gd.fit(*diabetes(20), max_steps=3, checkpoint=folder, callback=wait)


def test_of_two_threads_one_is_refused(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(tmp_path, begun, go_on))
    thread.start()
    assert begun.wait(60)
    with pytest.raises(gd.InputError, match=IN_USE):
        resumed(tmp_path)
    go_on.set()
    thread.join()
    assert resumed(tmp_path).steps == 5


@pytest.mark.slow
def test_a_process_that_was_killed_leaves_the_folder_free(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    begun, go_on = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(tmp_path, begun, go_on))
    other.start()
    assert begun.wait(120)
    with pytest.raises(gd.InputError, match=IN_USE):
        resumed(tmp_path)
    other.kill()
    other.join()
    assert resumed(tmp_path).steps == 5
