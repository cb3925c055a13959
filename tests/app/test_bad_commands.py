"""What cannot be done is refused in every command: a sentence, a way out, and nothing left behind."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from geodescent.app import cli
from geodescent.app.commands import _close, _posterior

N = 30
RUN_OF_NUMBERS, RUN_OF_CLASSES, RUN_OF_A_NETWORK = "posterior", "classes", "network"


@pytest.fixture(autouse=True)
def no_baselines(monkeypatch):
    """They take most of the time of a command, and are not what these tests are about; nor is a device."""
    monkeypatch.setattr(_close, "baselines", lambda table: ([], []))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def called(monkeypatch, capsys):
    """Runs the command as a shell does: its status, its standard output and its standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["geodescent", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return call


def columns() -> dict[str, list[object]]:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=N).round(3), draw.normal(size=N).round(3)
    return {"a": a.tolist(), "b": b.tolist(), "y": (a - 2.0 * b + 0.3 * draw.normal(size=N)).round(3).tolist()}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tables of all kinds and three runs."""
    folder, good = tmp_path_factory.mktemp("bad"), columns()
    tables = {
        "good": good,
        "other": {**good, "a": good["b"]},
        "classes": {**good, "y": ["p" if value > 0.0 else "q" for value in good["y"]]},
        "names": {"n": [f"x{k}" for k in range(N)], "y": good["y"]},
        "one_class": {**good, "y": ["p"] * N},
        "infinite": {**good, "y": ["inf", *map(str, good["y"][1:])]},
        "constant": {**good, "y": [2.5] * N},
        "same": {**good, "a": [1] * N, "b": ["x"] * N},
    }
    for name, table in tables.items():
        pl.DataFrame(table, strict=False).write_csv(folder / f"{name}.csv")
    texts = {
        "empty": "",
        "blank": "\n\n",
        "header": "a,b,y\n",
        "one": "a,b,y\n1,2,3\n",
        "ragged": "a,b,y\n1,2,3\n4,5\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)
    (folder / "junk.csv").write_bytes(bytes(range(256)) * 9)
    (folder / "table.xlsx").write_text("a,b,y\n")
    (folder / "cut.parquet").write_bytes(b"PAR1" + bytes(99))
    np.savez(folder / "pickled.npz", X=np.array([[{}] * 3] * 20), y=np.arange(20.0))
    (folder / "folder.csv").mkdir()
    return folder


@pytest.fixture(scope="module")
def runs(place) -> Path:
    """A run of each kind beside the tables."""
    words = {
        RUN_OF_NUMBERS: ("good.csv", "--mode", "posterior"),
        RUN_OF_CLASSES: ("classes.csv",),
        RUN_OF_A_NETWORK: ("good.csv", "--hidden", "4", "--max-steps", "2"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(_close, "baselines", lambda table: ([], []))
        for name, options in words.items():
            cli.app(["fit", *options, "--out", name], standalone_mode=False)
    return place


FILES = {
    "empty.csv": "is empty",
    "blank.csv": "is empty",
    "header.csv": "no row below them: add rows",
    "one.csv": "has 1 row, and at least 10 are needed",
    "names.csv": "No column of the table can be used as an input",
    "same.csv": "No column of the table can be used as an input",
    "one_class.csv": "has one class alone, 'p': two are needed",
    "infinite.csv": "infinite or beyond 1e100: correct them",
    "constant.csv": "there is nothing to learn",
    "ragged.csv": "Line 3 of ragged.csv has 2 entries",
    "junk.csv": "is no text",
    "folder.csv": "is a folder: give the path of one file",
    "table.xlsx": "save the table as one of these",
    "cut.parquet": "cannot be read as parquet",
    "pickled.npz": "holds Python objects in 'X.npy', which are never unpickled",
    "missing.csv": "There is no file missing.csv",
    "nul\0.csv": "There is no file",
}
OF_A_TABLE = (
    "empty.csv",
    "header.csv",
    "ragged.csv",
    "junk.csv",
    "folder.csv",
    "table.xlsx",
    "cut.parquet",
    "missing.csv",
)
FIT, FLOW = ("fit", "good.csv"), ("flow", "good.csv")
POSTERIOR, NETWORK = ("--resume", "--out", RUN_OF_NUMBERS), ("--resume", "--out", RUN_OF_A_NETWORK)
PREDICT = ("predict", RUN_OF_NUMBERS, "good.csv")
OPTIONS = {
    (*FIT, "--target", "zzz"): "has no column 'zzz'. Name one of these with --target: 'a', 'b', 'y'",
    (*FIT, "--out", "good.csv"): "is a file: choose a folder with --out",
    (*FIT, "--out", "good.csv/run"): "cannot be made: Not a directory",
    (*FIT, "--out", "/proc/none/run"): "cannot be made",
    (*FIT, "--out", ""): "--out needs the name of a folder",
    (*FIT, "--out", RUN_OF_NUMBERS): "holds a run already: go on with it by --resume",
    (*FIT, "--test-size", "0"): "must lie between 0 and 1",
    (*FIT, "--test-size", "1"): "must lie between 0 and 1",
    (*FIT, "--test-size", "nan"): "Give --test-size 0.25, for example",
    (*FIT, "--test-size", "0.99"): "leaves 0 of 30 rows to train on",
    (*FIT, "--seed", "-1"): "--seed",
    (*FIT, "--max-seconds", "nan"): "--max-seconds",
    (*FIT, "--max-seconds", "-1"): "--max-seconds",
    (*FIT, "--max-steps", "0"): "--max-steps",
    (*FIT, "--hidden", "0"): "Every width must be at least 1: got 2-0-1. Give --hidden 64,64",
    (*FIT, "--hidden", "a"): "--hidden takes widths such as 64,64: got 'a'. See geodescent fit --help",
    (*FIT, "--hidden", "3,-4"): "Every width must be at least 1",
    (*FIT, "--device", "cuda"): "torch sees no CUDA device here. Use --device cpu or auto",
    (*FIT, "--device", "gpu"): "--device gpu: cpu, cuda, cuda:0 … or auto are known",
    (*FIT, "--task", "classification"): "take --task regression",
    (*FIT, "--task", "guess"): "--task",
    (*FIT, "--mode", "posterior", "--max-steps", "3"): "--max-steps cannot be used with --mode posterior",
    (*FIT, "--mode", "posterior", *NETWORK): "--resume cannot be used with --mode posterior",
    (*FIT, "--target-cost", "nan"): "a cost of zero or above is needed",
    (*FIT, "--resume"): "--resume needs --out DIR",
    (*FIT, *NETWORK): "--hidden 4 there and 64,64 here",
    (*FIT, *NETWORK, "--hidden", "4", "--seed", "1"): "--seed 0 there and 1 here",
    (*FIT, *POSTERIOR, "--mode", "exact"): "--mode posterior there and exact here",
    (*FIT, *POSTERIOR, "--hidden", "8"): "the posterior mode, which --hidden would not change",
    (*FIT, "--no-such-option"): "No such option",
    ("fit", "other.csv", *POSTERIOR): "holds a run of another table, good.csv",
    ("fit", "classes.csv", *POSTERIOR): "--task regression there and classification here",
    ("fit", "classes.csv", "--task", "regression"): "a regression needs numbers. Take --task classification",
    ("fit",): "Missing argument 'DATA'",
    ("walk", "good.csv"): "No such command 'walk'",
    (*FLOW, "--until", "nan"): "must be positive and finite",
    (*FLOW, "--until", "0"): "must be positive and finite",
    (*FLOW, "--tol", "0"): "a relative tolerance between 0 and 1 is needed",
    (*FLOW, "--until", "1", "--target-cost", "1e-3"): "both say when to stop",
    (*FLOW, "--resume"): "No such option",
    ("certify", "good.csv", "--target-cost", "nan"): "a cost of zero or above is needed",
    ("certify", "folder.csv"): "is no run folder: it has no config.json. Give the folder",
    ("certify", RUN_OF_NUMBERS, "--hidden", "8"): "--hidden would change nothing: leave it out",
    ("certify", RUN_OF_NUMBERS, "--seed", "0"): "--seed would change nothing",
    (*PREDICT, "--level", "2"): "a share between 0 and 1 is needed, such as --level 0.9",
    (*PREDICT, "--level", "nan"): "a share between 0 and 1 is needed",
    ("predict", RUN_OF_CLASSES, "classes.csv", "--level", "0.5"): "predicts classes, with a probability each: leave it",
    (*PREDICT, "--out", "there.xls"): "choose --out FILE with .csv, .tsv, .parquet",
    (*PREDICT, "--out", "none/there.csv"): "There is no folder none for there.csv",
    (*PREDICT, "--out", "good.csv"): "is there already: remove it, or choose another file",
    ("predict", RUN_OF_NUMBERS, "names.csv"): "lacks 2 columns that the fit used: 'a', 'b'",
    ("predict", "nowhere", "good.csv"): "No run folder at nowhere: give the folder",
    ("predict", "good.csv", "good.csv"): "No run folder at good.csv",
    ("predict", "folder.csv", "good.csv"): "is no run folder",
    ("predict", RUN_OF_NUMBERS): "Missing argument 'DATA'",
}
CASES: dict[tuple[str, ...], str] = {
    **{(command, file): sentence for file, sentence in FILES.items() for command in ("fit", "flow", "plan")},
    **{("certify", file): sentence for file, sentence in FILES.items() if file != "folder.csv"},
    **{("predict", RUN_OF_A_NETWORK, file): FILES[file] for file in OF_A_TABLE},
    **OPTIONS,
}


@pytest.mark.slow
@pytest.mark.parametrize("words", CASES, ids=lambda words: " ".join(words).replace("\0", "NUL"))
def test_what_cannot_be_done_is_a_sentence_and_leaves_nothing(words, called, runs, monkeypatch):
    monkeypatch.chdir(runs)
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    status, said, told = called(*words)
    sentence = " ".join(told.split("error: ")[-1].split())
    assert status in (1, 2) and CASES[words] in sentence
    assert told.count("error: ") == 1 and sentence.endswith(".") and "Traceback" not in told
    assert max(map(len, (said + told).splitlines())) <= 80
    status_of_json, answer, _ = called(*words, "--json")
    assert status_of_json == status and answer.count("\n") == 1
    found = json.loads(answer)
    assert set(found) == {"error"} and CASES[words] in found["error"]
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


# --- runs that were cut or swapped ------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def swapped(with_file: str) -> Callable[[Path], None]:
    return lambda file: file.write_bytes((file.parents[1] / with_file).read_bytes())


SPOILT = {
    (RUN_OF_NUMBERS, "config.json", cut): "config.json is not valid JSON",
    (RUN_OF_NUMBERS, "config.json", Path.unlink): "is no run folder: it has no config.json",
    (RUN_OF_NUMBERS, "split.json", cut): "split.json is not valid JSON",
    (RUN_OF_NUMBERS, "split.json", Path.unlink): "has no split.json, which every finished run has. Run the fit again",
    (RUN_OF_NUMBERS, "split.json", swapped("network/config.json")): "was changed .*Run the fit again",
    (RUN_OF_NUMBERS, "posterior.safetensors", cut): "it was cut or changed. Run the fit again",
    (RUN_OF_NUMBERS, "posterior.safetensors", Path.unlink): "holds a run that was not finished",
    (RUN_OF_NUMBERS, "posterior.safetensors", swapped("classes/posterior.safetensors")): "is not of this run",
    (RUN_OF_NUMBERS, "result.json", cut): "result.json is not valid JSON",
    (RUN_OF_A_NETWORK, "weights.safetensors", cut): "it was cut or changed. Run the fit again",
    (RUN_OF_A_NETWORK, "weights.safetensors", Path.unlink): "holds a run that was not finished",
    (RUN_OF_A_NETWORK, "weights.safetensors", swapped("posterior/posterior.safetensors")): "does not fit the network",
    (RUN_OF_A_NETWORK, "calibration.json", cut): "calibration.json is not valid JSON",
    (RUN_OF_A_NETWORK, "calibration.json", Path.unlink): "has no calibration.json",
}


@pytest.fixture
def copied(runs, tmp_path, monkeypatch) -> Path:
    """All of it in a folder that a test may spoil."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("run", "name", "spoil"), SPOILT)
def test_a_run_that_is_not_whole_predicts_nothing(run, name, spoil, called, copied):
    spoil(copied / run / name)
    for words in (("predict", run, "good.csv"), ("certify", run)):
        status, answer, told = called(*words, "--json")
        assert status == 1 and "Traceback" not in told
        with pytest.raises(ValueError, match=SPOILT[run, name, spoil]):
            raise ValueError(json.loads(answer)["error"])
    assert not (copied / "good-predicted.csv").exists()


def test_a_posterior_that_was_lost_is_fitted_again_by_resume(called, copied):
    lost = copied / RUN_OF_NUMBERS / "posterior.safetensors"
    before = lost.read_bytes()
    lost.unlink()
    assert called(*FIT, *POSTERIOR)[0] == 0 and lost.read_bytes() == before


def test_a_run_that_has_ended_says_its_result_again(called, copied):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    status, said, _ = called(*FIT, *POSTERIOR)
    assert status == 0 and "has ended; this is its result again" in " ".join(said.split())
    result = json.loads((copied / RUN_OF_NUMBERS / "result.json").read_text())
    assert json.loads(called(*FIT, *POSTERIOR, "--json")[1]) == result
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_a_network_goes_on_where_it_stopped(called, copied):
    status, answer, _ = called(*FIT, *NETWORK, "--hidden", "4", "--max-steps", "4", "--json")
    assert status == 0 and json.loads(answer)["resumed_from"] == 2 and json.loads(answer)["steps"] == 4


# --- interrupts, a full disk, panics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--out", "deep/er/run")], ids=["runs", "a folder of its own"])
def test_an_interrupt_while_the_posterior_is_tuned_leaves_nothing(words, called, place, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(place)
    monkeypatch.setattr(_posterior, "posterior_of", interrupt)
    before = set(place.rglob("*"))
    status, answer, told = called(*FIT, *words, "--json")
    assert status == 130 and "nothing had been saved" in json.loads(answer)["error"] and "Traceback" not in told
    assert set(place.rglob("*")) == before


@pytest.fixture
def full_disk():
    """No file may grow beyond 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_files_of_a_posterior_and_not_its_answer(called, place, monkeypatch, full_disk):
    monkeypatch.chdir(place)
    status, answer, _ = called(*FIT, "--mode", "posterior", "--out", "full", "--json")
    found = json.loads(answer)
    assert status == 0 and found["test"]["rmse"] > 0.0 and found["report"] is None
    assert any("What was fitted is not saved in full" in note for note in found["stats"]["notes"])
    shutil.rmtree(place / "full")


def test_predictions_that_a_disk_has_no_room_for_leave_no_half_of_a_file(called, copied, full_disk):
    status, _, told = called(*PREDICT, "--out", "half.csv")
    assert (
        status == 1 and "half.csv could not be written" in told and "another file with --out" in " ".join(told.split())
    )
    assert not [name for name in os.listdir(copied) if "half" in name]


@pytest.mark.parametrize("target", [["p"] * N, ["inf", *["1"] * (N - 1)]], ids=["text", "infinite"])
def test_a_target_that_is_no_number_is_no_reason_to_predict_nothing(target, called, copied):
    pl.DataFrame({**columns(), "y": target}).write_csv("new.csv")
    status, said, _ = called("predict", RUN_OF_NUMBERS, "new.csv")
    assert status == 0 and "The errors are not measured." in said
    assert pl.read_csv("new-predicted.csv")["prediction"].is_finite().all()


PANIC = """
import os
from polars.exceptions import PanicException
from geodescent.app.cli import main
from geodescent.app.tables.reading import _parquet

def panics(path, name):
    os.write(2, b"thread 'async-executor-0' panicked at row_group_decode.rs")
    raise PanicException("assertion `left == right` failed")

_parquet._plain_columns = panics
main()
"""
"""What a damaged file does to polars, which no version of it does for the same bytes."""


@pytest.mark.slow
def test_what_rust_prints_of_a_damaged_file_is_not_shown(place):
    words = [sys.executable, "-c", PANIC, "fit", "cut.parquet"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, timeout=120)
    assert done.returncode == 1 and done.stdout == ""
    told = "error: cut.parquet cannot be read as parquet: it is damaged or of another kind. Write the file again."
    assert " ".join(done.stderr.split()) == told
