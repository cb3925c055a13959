"""`geodescent plan`: the plan of the fit that `geodescent fit --mode exact` would make."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import geodescent as gd
from geodescent.app.cli import app


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    a = draw.normal(size=60)
    pl.DataFrame({"a": a, "y": np.sin(a)}).write_csv("n.csv")

    def call(*words):
        done = CliRunner().invoke(app, [*words])
        return done.exit_code, done.stdout, done.stderr

    return call


def test_it_says_in_80_columns_what_would_be_fitted_and_leaves_nothing(told, tmp_path):
    status, said, complaints = told("plan", "n.csv", "--hidden", "6")
    assert (status, complaints) == (0, "")
    assert max(map(len, said.splitlines())) <= 80
    assert "geodescent fit n.csv --mode exact --stop cost would fit a network 1-6-1, gelu." in said
    assert "problem  45 samples × 1 output: 45 rows m, 19 parameters K, float64" in said
    assert "exact solves with DᵀD of order 19" in said
    assert [path.name for path in tmp_path.iterdir()] == ["n.csv"]


def test_with_json_it_is_one_object(told):
    status, said, beside = told("plan", "n.csv", "--hidden", "30", "--dtype", "float32", "--json")
    assert status == 0 and said.count("\n") == 1 and "rows m" in beside
    answer = json.loads(said)
    assert set(answer) == {"plan", "seconds", "peak_mb", "data"}
    assert (answer["plan"]["dtype"], answer["plan"]["n_params"]) == ("float32", 91)
    assert [stage["lift"] for stage in answer["plan"]["stages"]][-1] == "gram"


@pytest.mark.slow
def test_the_fit_then_uses_what_was_foretold(told):
    for words in (("--hidden", "6"), ("--hidden", "30"), ("--hidden", "20", "--stop", "validation")):
        planned = json.loads(told("plan", "n.csv", *words, "--json")[1])["plan"]
        exact = ("fit", "n.csv", "--mode", "exact", "--max-steps", "2", "--out", "-".join(words), "--json")
        stop = () if "--stop" in words else ("--stop", "cost")
        stats = json.loads(told(*exact, *words, *stop)[1])["stats"]
        assert stats["lift"] == planned["stages"][-1]["lift"]
        assert (stats["n_residuals"], stats["n_params"]) == (planned["n_residuals"], planned["n_params"])


def test_a_part_put_aside_for_validation_is_said(told):
    _, said, _ = told("plan", "n.csv", "--stop", "validation", "--hidden", "4")
    assert "--mode exact --stop validation would fit" in said
    assert "Of the 45 samples 9 were drawn for validation." in said


def test_what_cannot_be_planned_is_a_sentence(told):
    assert "nowhere" in told("plan", "nowhere")[2]
    status, said, _ = told("plan", "n.csv", "--hidden", "0", "--json")
    assert status == 1 and "at least 1" in json.loads(said)["error"]
    assert told("plan", "n.csv", "--stop", "auto")[0] == 2
    assert told("plan", "n.csv", "--resume")[0] == 2


def test_the_network_is_that_of_the_fit(told):
    from geodescent.app.fitted import mlp

    torch.manual_seed(0)
    answer = json.loads(told("plan", "n.csv", "--json")[1])["plan"]
    model = mlp(1, (64, 64), 1, "gelu", dtype=torch.float64, seed=0)
    assert answer["n_params"] == len(gd.SampleMap(model, torch.zeros(3, 1, dtype=torch.float64)).theta)
