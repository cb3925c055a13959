"""What ends a fit of the command: the cost, or the cost of validation data where regression data look noisy."""

import json

import numpy as np
import pytest
from sklearn import datasets
from sklearn.utils import Bunch
from typer.testing import CliRunner

import geodescent as gd
from geodescent.app.cli import app
from geodescent.app.fitted import FittedNetwork

SENTENCE = "stop: by the cost of a fifth of the training samples, drawn for validation"


def fit(*words):
    done = CliRunner().invoke(app, ["fit", "diabetes", "--json", *map(str, words)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_noisy_regression_is_ended_by_validation_cost_unless_asked_otherwise(tmp_path):
    """diabetes is noise by half: fitted to the end the network predicts worse than the mean."""
    (stopped, words), (ended, silent) = (
        fit("--activation", "tanh", "--out", tmp_path / s, "--stop", s) for s in ("auto", "cost")
    )
    assert stopped["result"] == "validation_rose" and stopped["test"]["r2"] > 0.25
    assert ended["result"] == "target_reached" and ended["test"]["r2"] < 0.0
    assert SENTENCE in words and SENTENCE not in silent
    run = gd.load(tmp_path / "auto")
    assert run.config.options["stop"] == "auto"
    best = np.nanargmin(run.history["validation_cost"])
    assert run.history["cost"][best] == pytest.approx(stopped["cost"], rel=1e-12)
    assert len(run.history["step"]) - 1 - best >= 6  # it had not fallen for six steps


@pytest.fixture
def noise(monkeypatch):
    """Puts a table of noise in the place of scikit-learn's diabetes."""

    def put(rows, spread):
        random = np.random.default_rng(0)
        table = Bunch(data=random.normal(size=(rows, 1)), feature_names=["x"])
        table.target = 5.0 + spread * random.normal(size=rows)
        monkeypatch.setattr(datasets, "load_diabetes", lambda: table)

    return put


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "spread", "expected"),
    [(54, 1.0, True), (12, 1.0, False)],
    ids=["noise", "few"],
)
def test_where_no_validation_data_can_be_drawn_the_fit_goes_to_the_end(noise, tmp_path, rows, spread, expected):
    noise(rows, spread)
    quick = ("--hidden", "8", "--max-steps", 3, "--out")
    answer, words = fit(*quick, tmp_path / "auto")
    assert (SENTENCE in words) is expected
    drawn = any("were drawn for validation" in note for note in answer["stats"]["notes"])
    assert drawn is expected


@pytest.mark.parametrize(("stop", "expected"), [("validation", True), ("cost", False)])
def test_what_was_asked_for_is_done_without_a_look_at_the_data(noise, tmp_path, stop, expected):
    noise(54, 1.0)
    asked = ("--stop", stop, "--start", "torch", "--hidden", "8", "--max-steps", 3, "--out", tmp_path / "run")
    answer, words = fit(*asked)
    assert any("were drawn for validation" in note for note in answer["stats"]["notes"]) is expected
    assert SENTENCE not in words and answer["start"] is None


def test_auto_without_a_look_at_the_data_and_for_classes_is_by_cost(noise, tmp_path):
    noise(54, 1.0)
    answer, words = fit("--start", "torch", "--hidden", "8", "--max-steps", 3, "--out", tmp_path / "run")
    assert not answer["stats"]["notes"] and SENTENCE not in words


@pytest.mark.slow
@pytest.mark.parametrize("expected", ["exact", "posterior"])
def test_without_noise_the_one_predicts_that_misses_rows_left_out_by_less(expected, tmp_path, monkeypatch):
    """The network on a smooth function; the posterior, where the network is said to miss by more."""
    random = np.random.default_rng(0)
    X = random.uniform(-1.0, 1.0, (300, 2))
    np.savez(tmp_path / "rows.npz", X=X, y=np.sin(3.0 * X[:, 0]) * np.cos(2.0 * X[:, 1]))
    if expected == "posterior":
        monkeypatch.setattr(FittedNetwork, "left_out", 1.0)
    done = CliRunner().invoke(app, ["fit", str(tmp_path / "rows.npz"), "--out", str(tmp_path / "run"), "--json"])
    answer, words = json.loads(done.stdout), " ".join(done.stderr.split())
    assert answer["mode"] == expected and "no noise was found" in words
    assert answer["test"]["rmse"] < {"exact": 1e-5, "posterior": 1e-2}[expected] * answer["baselines"]["mean"]["rmse"]
    assert ("Mode: posterior after all" in words) is (expected == "posterior")
    assert (tmp_path / "run" / "weights.safetensors").exists() is (expected == "exact")
    assert gd.load(tmp_path / "run").config.mode == expected
    assert len(gd.load(tmp_path / "run").history["cost"]) == answer["steps"]
