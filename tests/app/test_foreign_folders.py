"""Folders of runs that are not ours, or not alone ours, and a disk that is full when the work is done."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import geodescent as gd
from geodescent import doors
from geodescent.app.cli import app
from geodescent.app.commands import _close
from geodescent.app.runs import CONFIG, RunFolder

RUN_FILES = (
    "config.json", "split.json", "weights.safetensors", "history.jsonl", "certificate.json", "curve.png",
    "calibration.json", "report.html", "result.json",
)  # fmt: skip
QUICK = ("--hidden", "4", "--max-steps", "2")
FLOW = ("flow", "wine", "--test-size", "0.8", "--hidden", "16", "--until", "0.5", "--tol", "1e-6")


def geodescent(*words):
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.stdout.count("\n") == 1, done.output
    return done, json.loads(done.stdout)


@pytest.fixture(autouse=True)
def no_baselines(monkeypatch):
    """They take most of the time of a command, and are not what these tests are about."""
    monkeypatch.setattr(_close, "baselines", lambda table: ([], []))


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """The files of a run."""
    folder = tmp_path_factory.mktemp("iris") / "run"
    done, _ = geodescent("fit", "iris", *QUICK, "--out", folder)
    assert done.exit_code == 0
    return {name: (folder / name).read_bytes() for name in RUN_FILES}


@pytest.fixture
def run(iris, tmp_path):
    """A run in a folder of its own, which a test may spoil."""
    for name, content in iris.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


# --- stray and linked files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.parametrize("command", ["fit", "flow"])
def test_stray_files_of_a_run_are_neither_used_nor_overwritten(command, name, tmp_path):
    (tmp_path / name).write_text('{"junk": 1}\n')
    done, answer = geodescent(command, "iris", "--hidden", 4, "--out", tmp_path)
    assert done.exit_code == 1 and "another folder with --out" in answer["error"]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, '{"junk": 1}\n')]


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
@pytest.mark.parametrize("name", RUN_FILES)
def test_links_in_the_place_of_files_are_not_followed(name, there, tmp_path):
    precious, folder = tmp_path / "precious", tmp_path / "run"
    folder.mkdir()
    (folder / name).symlink_to(precious)
    if there:
        precious.write_text("precious")
    done, _ = geodescent("fit", "iris", *QUICK, "--out", folder)
    assert done.exit_code == 1
    assert precious.exists() is there and (not there or precious.read_text() == "precious")


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done, _ = geodescent("fit", "iris", *QUICK, "--out", tmp_path)
    assert done.exit_code == 0 and (tmp_path / "notes.txt").read_text() == "mine"
    assert len(gd.load(tmp_path).history["step"]) == 2


def test_a_link_that_comes_meanwhile_is_not_written_through(tmp_path, monkeypatch):
    precious, folder = tmp_path / "precious", tmp_path / "run"
    precious.write_text("precious")
    begin = RunFolder.begin

    def link(self, config, split):
        begin(self, config, split)
        if not os.path.lexists(folder / "history.jsonl"):
            (folder / "history.jsonl").symlink_to(precious)

    monkeypatch.setattr(RunFolder, "begin", link)
    done, answer = geodescent("fit", "iris", *QUICK, "--out", folder)
    assert done.exit_code == 0 and precious.read_text() == "precious"
    assert any("history.jsonl" in note for note in answer["stats"]["notes"])


@pytest.mark.parametrize("name", ["config.json", "split.json", "weights.safetensors", "history.jsonl"])
def test_a_run_with_a_link_in_it_is_not_opened(name, run):
    (run / name).rename(run.parent / f"{run.name}-{name}")
    (run / name).symlink_to(run.parent / f"{run.name}-{name}")
    with pytest.raises(gd.InputError, match=rf"{name} is a link, which is not followed: put the file itself"):
        gd.load(run)


# --- another version, another hand ------------------------------------------------------------------------------------


def changed(name, change):
    def spoil(folder):
        entries = json.loads((folder / name).read_text())
        change(entries)
        (folder / name).write_text(json.dumps(entries))

    return spoil


def line(text):
    def spoil(folder):
        with (folder / "history.jsonl").open("a") as file:
            file.write(text + "\n")

    return spoil


SPOILT = {
    "one entry more": ("config.json", changed("config.json", lambda c: c.update(depth=3))),
    "a list": ("config.json", lambda folder: (folder / "config.json").write_text("[1, 2]")),
    "an older format": ("config.json", changed("config.json", lambda c: c.update(format=1))),
    "an entry less": ("config.json", changed("config.json", lambda c: c["data"].pop("digest"))),
    "no network": ("config.json", changed("config.json", lambda c: c.update(network=[4, 4]))),
    "no target": ("config.json", changed("config.json", lambda c: c.update(target={}))),
    "no columns": ("config.json", changed("config.json", lambda c: c["encoding"].update(columns=[]))),
    "columns that are none": ("config.json", changed("config.json", lambda c: c["encoding"].update(columns=[1, 2]))),
    "the other mode": ("config.json", changed("config.json", lambda c: c.update(mode="posterior"))),
    "a mode of its own": ("config.json", changed("config.json", lambda c: c.update(mode="magic"))),
    "no missed rows": ("calibration.json", changed("calibration.json", lambda c: c.update(missed=["one"]))),
    "a shift of other classes": ("calibration.json", changed("calibration.json", lambda c: c.update(shift=[1.0]))),
    "a slope in words": ("calibration.json", changed("calibration.json", lambda c: c.update(slope="steep"))),
    "widths in words": ("config.json", changed("config.json", lambda c: c["network"].update(hidden=["four"]))),
    "half a width": ("config.json", changed("config.json", lambda c: c["network"].update(hidden=[4.5]))),
    "another dtype": ("config.json", changed("config.json", lambda c: c["network"].update(dtype="float16"))),
    "a seed in words": ("config.json", changed("config.json", lambda c: c["data"].update(seed="one"))),
    "no scaling": ("config.json", changed("config.json", lambda c: c.update(scaled={}))),
    "a scaling of other columns": (
        "config.json",
        changed("config.json", lambda c: c["scaled"]["inputs"].update(mean=[1.0, 2.0])),
    ),
    "no training part": ("split.json", changed("split.json", lambda s: s.pop("train"))),
    "an empty training part": ("split.json", changed("split.json", lambda s: s.update(train=[]))),
    "rows in words": ("split.json", changed("split.json", lambda s: s.update(train=["one"]))),
    "half a row": ("split.json", changed("split.json", lambda s: s.update(test=[0.5]))),
    "rows in both parts": ("split.json", changed("split.json", lambda s: s.update(test=s["train"][:3]))),
    "rows in a square": ("split.json", changed("split.json", lambda s: s.update(train=[[1, 2], [3, 4]]))),
    "junk in the history": ("history.jsonl", line('{"junk": 1}')),
    "words in the history": ("history.jsonl", line("words")),
    "a list in the history": ("history.jsonl", line("[1]")),
    "text for numbers": ("history.jsonl", line('{"step": "a", "cost": "b"}')),
}


@pytest.mark.parametrize("what", SPOILT)
def test_files_that_no_run_has_written_are_refused(what, run):
    name, spoil = SPOILT[what]
    spoil(run)
    with pytest.raises(gd.InputError, match=rf"{name} is of another version, or was changed .*Run the fit again\.$"):
        gd.load(run)
    for words in (("certify", run), ("predict", run, "iris")):
        done, answer = geodescent(*words)
        assert done.exit_code == 1 and name in answer["error"] and "Traceback" not in done.output


@pytest.mark.parametrize("path", [None, 1, b"run", ["run"]])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(gd.InputError, match="the path of a run's folder is needed"):
        gd.load(path)


# --- two runs ---------------------------------------------------------------------------------------------------------


def test_a_second_run_into_the_folder_is_refused(tmp_path, monkeypatch):
    folder, fit, answers = tmp_path / "run", doors.fit, []

    def both(*arguments, **options):
        monkeypatch.setattr(doors, "fit", fit)
        answers.append(geodescent("fit", "iris", *QUICK, "--out", folder))
        return fit(*arguments, **options)

    monkeypatch.setattr(doors, "fit", both)
    done, _ = geodescent("fit", "iris", *QUICK, "--out", folder)
    ((second, answer),) = answers
    assert done.exit_code == 0 and second.exit_code == 1
    assert "another run is writing to" in answer["error"] and "wait until it has ended" in answer["error"]
    assert gd.load(folder).history["step"].tolist() == [1.0, 2.0]


def test_a_run_that_was_refused_leaves_no_folder(tmp_path):
    done, answer = geodescent("fit", "iris", "--target-cost", -1, "--out", tmp_path / "run")
    assert done.exit_code == 1 and "--target-cost -1.0" in answer["error"]
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    done, answer = geodescent("fit", "iris", "--out", tmp_path / "file" / "run")
    assert done.exit_code == 1 and "cannot be made" in answer["error"]


# --- what is lost and what is not -------------------------------------------------------------------------------------


@pytest.fixture
def full_disk():
    """No file may grow beyond 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("command", [("fit", "iris", *QUICK), FLOW])
def test_a_full_disk_costs_the_folder_and_not_the_answer(command, full_disk, tmp_path):
    done, answer = geodescent(*command, "--out", tmp_path / "run")
    assert done.exit_code == 0 and answer["steps"] >= 1 and answer["certificate"]["rank"] is not None
    notes = " ".join(answer["stats"]["notes"])
    for lost in ("config.json", "history.jsonl", "What was fitted is not saved", "picture and report are not saved"):
        assert lost in notes and str(tmp_path) in notes
    assert len(answer["stats"]["notes"]) == len(set(answer["stats"]["notes"])) < 8


@pytest.mark.parametrize(
    ("what", "note"),
    [
        ("png", "There is no picture"),
        ("page", "There is no report"),
        ("baselines", "The test rows have no scores"),
    ],
)
def test_what_cannot_be_shown_is_a_note(what, note, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError("in a picture")

    monkeypatch.setattr(_close, what, fail)
    done, answer = geodescent("fit", "iris", *QUICK, "--out", tmp_path / "run")
    assert done.exit_code == 0
    assert f"{note} (ZeroDivisionError: in a picture)." in answer["stats"]["notes"]
    assert len(gd.load(tmp_path / "run").history["step"]) == 2


def test_the_weights_are_saved_before_anything_that_takes_time(tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_close, "png", interrupt)
    done, _ = geodescent("fit", "iris", *QUICK, "--out", tmp_path / "run")
    assert done.exit_code == 130
    assert len(gd.load(tmp_path / "run").history["step"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_and_saves_it(number, tmp_path):
    words = ["fit", "iris", "--hidden", "16", "--target-cost", "0", "--stop", "cost", "--out", "run", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "geodescent", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    history, deadline = tmp_path / "run" / "history.jsonl", time.monotonic() + 120.0
    while not (history.exists() and history.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    answer = json.loads(out)
    assert process.returncode == 130, err
    assert answer["result"] == "interrupted"
    assert len(gd.load(tmp_path / "run").history["step"]) == answer["steps"] >= 2


def test_a_network_that_memory_does_not_hold_is_an_error_object(tmp_path):
    done, answer = geodescent("fit", "iris", "--hidden", "2000000,2000000", "--out", tmp_path / "run")
    assert done.exit_code == 1 and not (tmp_path / "run").exists()
    assert "the network 4-2000000-2000000-3 needs" in answer["error"] and "--hidden 64,64" in answer["error"]
    done, _ = geodescent("fit", "iris", "--hidden", "64,64", "--max-steps", 1, "--out", tmp_path / "run")
    assert done.exit_code == 0  # the way out


@pytest.mark.parametrize("error", [RuntimeError("of an allocator"), MemoryError("no more"), ZeroDivisionError("ours")])
def test_whatever_goes_wrong_is_an_error_object(error, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(doors, "fit", fail)
    done, answer = geodescent("fit", "iris", *QUICK, "--out", tmp_path / "run")
    assert done.exit_code == 1 and f"{type(error).__name__}: {error}" in answer["error"]
    assert CONFIG not in os.listdir(tmp_path)


# --- 80 columns -------------------------------------------------------------------------------------------------------


def lines(text: str, folder: Path) -> list[str]:
    return [line for line in text.splitlines() if str(folder) not in line]


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "iris", *QUICK, "--out", "run"),
        (*FLOW, "--out", "run"),
        ("certify", "breast_cancer", "--hidden", "8"),
        ("certify", "iris", "--hidden", "2"),
        ("fit", "iris", "--hidden", "2000000,2000000"),
        ("fit", "iris", "--test-size", "0.001"),
        ("fit", "mnist"),
        ("fit", "iris", "--target-cost", "-1", "--out", "run"),
        ("fit", "--help"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_what_people_read_has_80_columns(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code in (0, 1)
    assert done.output and max(map(len, done.output.splitlines())) <= 80
