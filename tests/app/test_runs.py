"""Runs that have ended are opened again, predict, and leave nothing but strict files."""

import json
import pickle

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import geodescent as gd
from geodescent.app import load
from geodescent.app.cli import app
from geodescent.app.fitted import ACTIVATIONS, mlp
from geodescent.app.runs import RunFolder

COMMON = {"config.json", "split.json", "history.jsonl", "certificate.json", "report.html", "result.json"}
FILES = {
    "exact": COMMON | {"weights.safetensors", "calibration.json", "curve.png", "state"},
    "posterior": COMMON | {"posterior.safetensors", "curve.png"},
}


def fit(*words):
    done = CliRunner().invoke(app, ["fit", *map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def made_table(rows=60, seed=0):
    random = np.random.default_rng(seed)
    size, colour = random.uniform(0.0, 9.0, rows), random.choice(["red", "blue"], rows)
    price = 3.0 * size + 5.0 * (colour == "red") + random.normal(size=rows)
    return pl.DataFrame({"size": size, "colour": colour, "price": price})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each mode on the same table, and one of classes in each."""
    folder = tmp_path_factory.mktemp("runs")
    table = made_table()
    table.write_csv(folder / "prices.csv")
    table.with_columns(dear=pl.col("price") > 15.0).write_csv(folder / "dear.csv")
    quick = ("--hidden", "6", "--max-steps", 4)
    fit(folder / "prices.csv", "--out", folder / "posterior")
    fit(folder / "prices.csv", *quick, "--out", folder / "exact")
    fit(folder / "dear.csv", "--out", folder / "posterior of classes")
    fit(folder / "dear.csv", *quick, "--out", folder / "exact classes")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["posterior", "exact"])
def test_a_run_predicts_tables_of_any_kind(runs, mode):
    run, table = load(runs / mode), made_table(7, seed=1)
    expected = run.predict(table)
    assert expected.shape == (7,) and np.corrcoef(expected, table["price"])[0, 1] > 0.8
    columns = {name: table[name].to_list() for name in ("colour", "size")}
    for same in (
        table.select("colour", "size"),
        columns,
        np.column_stack([np.array(table["size"], dtype=object), np.array(table["colour"], dtype=object)]),
    ):
        assert np.array_equal(run.predict(same), expected)
    assert run.columns == ("size", "colour")


@pytest.mark.parametrize("mode", ["posterior", "exact"])
def test_intervals_widen_with_their_level_and_hold_the_mean(runs, mode):
    run, table = load(runs / mode), made_table(7, seed=1)
    mean = run.predict(table)
    (low, high), (lower, upper) = run.predict_interval(table, level=0.5), run.predict_interval(table)
    assert (lower < low).all() and (low < mean).all() and (mean < high).all() and (high < upper).all()
    with pytest.raises(gd.InputError, match="predicts numbers, not classes: use predict and predict_interval"):
        run.predict_proba(table)
    with pytest.raises(gd.InputError, match=r"level = 2\.0: a share between 0 and 1"):
        run.predict_interval(table, level=2.0)


def test_intervals_of_a_run_are_those_of_its_posterior(runs):
    run, table = load(runs / "posterior"), made_table(7, seed=1)
    expected = run.fitted.posterior.interval(run.inputs(table), 0.8)
    for ours, theirs in zip(run.predict_interval(table, level=0.8), expected, strict=True):
        assert ours == pytest.approx(theirs.numpy(), rel=1e-12)


@pytest.mark.parametrize("mode", ["posterior of classes", "exact classes"])
def test_a_run_of_classes_predicts_labels_and_probabilities(runs, mode):
    run, table = load(runs / mode), made_table(7, seed=1)
    shares = run.predict_proba(table)
    assert shares.shape == (7, 2) and np.allclose(shares.sum(axis=1), 1.0)
    assert run.config.target.classes == ("false", "true")
    assert run.predict(table).tolist() == [("false", "true")[i] for i in shares.argmax(axis=1)]
    with pytest.raises(gd.InputError, match="predicts classes, which have no intervals: use predict_proba"):
        run.predict_interval(table)


@pytest.mark.parametrize("mode", ["posterior", "exact", "posterior of classes", "exact classes"])
def test_no_rows_are_predicted_too(runs, mode):
    run, none = load(runs / mode), made_table(7, seed=1)[:0]
    assert run.predict(none).shape == (0,)
    if run.config.target.classes:
        assert run.predict_proba(none).shape == (0, 2)
    else:
        assert [end.shape for end in run.predict_interval(none)] == [(0,), (0,)]


def test_the_network_of_the_exact_mode_is_a_plain_module(runs):
    run = load(runs / "exact")
    scaled, table = run.config.scaled, made_table(7, seed=1)
    outputs = run.model(torch.tensor(scaled.inputs.apply(run.inputs(table)))).detach().numpy()
    assert np.array_equal(scaled.targets.invert(outputs)[:, 0], run.predict(table))
    with pytest.raises(gd.InputError, match="holds a posterior, which is no single network"):
        _ = load(runs / "posterior").model


@pytest.mark.parametrize(("mode", "files"), FILES.items())
def test_a_run_holds_the_files_that_were_promised_and_no_others(runs, mode, files):
    assert {path.name for path in (runs / mode).iterdir()} == files


@pytest.mark.parametrize("mode", ["posterior", "exact"])
def test_every_json_file_is_strict(runs, mode):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for path in [*(runs / mode).glob("*.json"), *(runs / mode).glob("*.jsonl")]:
        for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("mode", ["posterior", "exact"])
def test_the_answer_is_kept_in_the_folder(runs, mode):
    run = load(runs / mode)
    assert run.result["mode"] == mode and run.result["test"]["rmse"] > 0.0
    assert {"mean", "ridge regression", "gradient boosting"} == set(run.result["baselines"])
    assert repr(run) == f"Run({str(runs / mode)!r}, {mode}, 'price' of 'prices.csv')"


def test_the_same_table_and_seed_give_the_same_run(runs, tmp_path):
    fit(runs / "prices.csv", "--out", tmp_path / "again")
    table = made_table(7, seed=1)
    assert np.array_equal(load(tmp_path / "again").predict(table), load(runs / "posterior").predict(table))


def test_a_torn_last_line_of_the_history_is_dropped(runs):
    history = load(runs / "exact").history
    with (runs / "exact" / "history.jsonl").open("a") as file:
        file.write('{"step": 30, "co')
    again = load(runs / "exact").history
    assert {name: values.tolist() for name, values in again.items()}["step"] == history["step"].tolist()
    assert again["step"].tolist() == [1.0, 2.0, 3.0, 4.0] and "block_rms.data" in again


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"No run folder at .*nowhere"):
        load(tmp_path / "nowhere")


def test_what_does_not_fit_the_columns_is_refused(runs):
    run = load(runs / "posterior")
    with pytest.raises(gd.InputError, match=r"an array of 2 columns is needed, \(n, 2\), .*got shape \(2, 4\)"):
        run.predict(np.zeros((2, 4)))
    with pytest.raises(gd.InputError, match="lacks 1 column that the fit used: 'colour'"):
        run.predict({"size": [1.0]})
    with pytest.raises(gd.InputError, match="one entry for every row"):
        run.predict({"size": [1.0, 2.0], "colour": ["red"]})


def test_a_run_can_be_pickled_for_other_processes(runs):
    run, table = load(runs / "posterior"), made_table(7, seed=1)
    assert np.array_equal(pickle.loads(pickle.dumps(run)).predict(table), run.predict(table))


def test_a_file_is_written_whole_or_not_at_all(runs, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    fit(runs / "prices.csv", "--hidden", "4", "--max-steps", 2, "--out", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def fail(*names):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        RunFolder(folder).describe(certificate={"rank": 3}, curve=b"another picture", report="another page")
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_null_is_written_for_what_is_no_number(tmp_path):
    value = {"a": float("nan"), "b": [np.float64("inf"), 1.5], "c": (np.int64(3), np.array([1.0, -np.inf]))}
    RunFolder(tmp_path).describe(certificate=value, curve=None, report=None)
    written = json.loads((tmp_path / "certificate.json").read_text())
    assert written == {"a": None, "b": [None, 1.5], "c": [3, [1.0, None]]}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_is_fixed_by_its_seed_and_leaves_the_random_state_alone(activation):
    before = torch.random.get_rng_state()
    first, again, other = (mlp(3, (4,), 2, activation, dtype=torch.float64, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    assert isinstance(first[1], ACTIVATIONS[activation])
    assert [tuple(parameter.shape) for parameter in first.parameters()] == [(4, 3), (4,), (2, 4), (2,)]


def test_a_network_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"Unknown activation 'sine'\. Available: tanh, relu"):
        mlp(3, (4,), 2, "sine", dtype=torch.float64, seed=0)
    with pytest.raises(ValueError, match="at least 1: got 3-0-2"):
        mlp(3, (0,), 2, "tanh", dtype=torch.float64, seed=0)
