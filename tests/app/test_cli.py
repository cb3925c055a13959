import json
import re

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error
from typer.testing import CliRunner

import geodescent as gd
from geodescent import doors
from geodescent.app.cli import app, main
from geodescent.app.tables import prepare

COMMON_KEYS = {
    "cost", "cost0", "target_cost", "result", "steps", "seconds", "peak_mb", "test", "certificate", "stats", "run",
    "mode", "left_out", "baselines", "verdict", "report", "resumed_from",
}  # fmt: skip
QUICK = ["--hidden", "12", "--seed", "1"]


def geodescent(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def strict_object(text):
    """The one JSON object that all of standard output is."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert text.count("\n") == 1, text
    return json.loads(text, parse_constant=refuse)


def opened(folder, name, part):
    """The run, and inputs of its network with raw targets of one part of the table."""
    run = gd.load(folder)
    table = prepare(name, test_size=0.25, seed=1)
    rows = run.train_index if part == "train" else run.test_index
    X = torch.tensor(run.config.scaled.inputs.apply(table.inputs[rows]))
    return run, X, table.targets[rows]


def half_mean_square(model, X, y):
    with torch.no_grad():
        return float(((model(X) - y) ** 2).sum() / (2 * len(X)))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For the runs that the tests of this module share: they are made before a test sets its threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def wine_fit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wine") / "run"
    done = geodescent("fit", "wine", *QUICK, "--max-steps", 5, "--out", folder, "--json")
    assert done.exit_code == 0, done.output
    return folder, strict_object(done.stdout)


@pytest.fixture(scope="module")
def wine_flow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wine") / "run"
    done = geodescent(
        "flow", "wine", "--test-size", 0.8, "--hidden", 16, "--until", 1, "--tol", 1e-6, "--out", folder, "--json"
    )
    assert done.exit_code == 0, done.output
    return folder, strict_object(done.stdout)


@pytest.mark.slow
def test_fit_answers_with_one_strict_object(wine_fit):
    folder, answer = wine_fit
    assert set(answer) == COMMON_KEYS | {"start"}
    assert answer["start"]["gain"] in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    assert answer["run"] == str(folder)
    assert answer["cost"] < answer["cost0"]
    assert 1 <= answer["steps"] <= 5
    assert answer["target_cost"] == 1e-12
    assert answer["seconds"] > 0.0
    assert 50.0 < answer["peak_mb"] < 20_000.0
    assert answer["result"] in gd.Result.__members__


def test_the_folder_of_a_fit_holds_the_run(wine_fit):
    folder, answer = wine_fit
    names = {
        "config.json", "split.json", "weights.safetensors", "history.jsonl", "certificate.json", "curve.png",
        "calibration.json", "report.html", "result.json",
    }  # fmt: skip
    assert names <= {path.name for path in folder.iterdir()}
    history = gd.load(folder).history
    assert history["cost"].min() == pytest.approx(answer["cost"], rel=1e-12)
    assert len(np.unique(history["step"])) == len(history["step"])


def test_the_cost_shown_is_that_of_the_run_opened_again(wine_fit):
    folder, answer = wine_fit
    run, X, targets = opened(folder, "wine", "train")
    one_hot = torch.nn.functional.one_hot(torch.tensor(targets)).double()
    cost = half_mean_square(run.model, X, one_hot)
    assert cost == pytest.approx(answer["cost"], rel=1e-9)


def test_the_accuracy_shown_is_that_of_the_run_opened_again(wine_fit):
    folder, answer = wine_fit
    run, _, targets = opened(folder, "wine", "test")
    table = prepare("wine", test_size=0.25, seed=1).raw.frame[run.test_index]
    assert answer["test"]["accuracy"] == accuracy_score(table["target"].to_numpy(), run.predict(table))
    assert answer["test"]["log_loss"] == pytest.approx(log_loss(targets, run.predict_proba(table)), rel=1e-10)


def test_rmse_and_r2_shown_are_those_of_the_run_opened_again(tmp_path):
    done = geodescent("fit", "diabetes", *QUICK, "--max-steps", 2, "--out", tmp_path / "run", "--json")
    answer = strict_object(done.stdout)
    _, _, training = opened(tmp_path / "run", "diabetes", "train")
    run, X, truth = opened(tmp_path / "run", "diabetes", "test")
    raw = run.model(X).detach().numpy()[:, 0] * training.std() + training.mean()
    table = prepare("diabetes", test_size=0.25, seed=1).raw.frame[run.test_index]
    assert run.predict(table) == pytest.approx(raw, rel=1e-12)
    assert answer["test"]["rmse"] == pytest.approx(root_mean_squared_error(truth, raw), rel=1e-10)
    assert answer["test"]["r2"] == pytest.approx(r2_score(truth, raw), rel=1e-10)


@pytest.mark.slow
def test_flow_answers_with_its_deviation_and_points(wine_flow):
    folder, answer = wine_flow
    assert set(answer) == COMMON_KEYS - {"resumed_from"} | {"max_relative_deviation", "points"}
    assert answer["points"] >= 20
    assert answer["cost"] == pytest.approx(answer["cost0"] * np.exp(-2.0), rel=1e-4)
    assert answer["max_relative_deviation"] < 1e-4
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_deviation_shown_is_that_of_the_costs_saved(wine_flow):
    folder, answer = wine_flow
    history = gd.load(folder).history
    deviation = np.abs(history["cost"] / (answer["cost0"] * np.exp(-2.0 * history["time"])) - 1.0)
    assert deviation.max() == pytest.approx(answer["max_relative_deviation"], rel=1e-6, abs=1e-14)


def test_certify_of_data_speaks_of_the_start():
    answer = strict_object(geodescent("certify", "wine", *QUICK, "--json").stdout)
    assert answer["run"] is None
    assert answer["certificate"]["n_residuals"] == 133 * 3
    assert answer["certificate"]["n_params"] == 13 * 12 + 12 + 12 * 3 + 3
    assert answer["certificate"]["guaranteed"] is False  # K < m


def test_certify_of_a_run_speaks_of_its_end(wine_fit):
    folder, _ = wine_fit
    answer = strict_object(geodescent("certify", folder, "--json").stdout)
    run, X, targets = opened(folder, "wine", "train")
    one_hot = torch.nn.functional.one_hot(torch.tensor(targets)).double()
    expected = gd.certify(run.model, X, one_hot, target_cost=1e-12).as_dict()
    assert answer["run"] == str(folder)
    assert answer["certificate"]["sigma_max"] == pytest.approx(expected["sigma_max"], rel=1e-9)


def test_without_json_a_summary_of_80_columns_stands_on_standard_output(tmp_path):
    done = geodescent("fit", "iris", *QUICK, "--max-steps", 2, "--out", tmp_path / "run")
    assert done.exit_code == 0
    summary = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, summary)) <= 80
    for name in ("cost", "result", "steps", "test", "left out", "In short", "run", "report"):
        assert re.search(rf"^{name}\b", done.stdout, re.MULTILINE), name


def test_the_default_folder_is_named_after_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = strict_object(geodescent("fit", "iris", *QUICK, "--max-steps", 1, "--json").stdout)
    assert re.fullmatch(r"runs/iris-fit-[\d-]+", answer["run"])
    assert gd.load(answer["run"]).config.network.hidden == (12,)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fit", "mnist"], "mnist"),
        (["flow", "table.csv"], "table.csv"),
        (["certify", "nowhere"], "nowhere"),
        (["fit", "iris", "--test-size", "2"], "--test-size must lie between 0 and 1"),
        (["fit", "iris", "--hidden", "0"], "at least 1: got 4-0-3"),
        (["certify", "."], "no config.json"),
    ],
)
def test_bad_input_ends_with_status_1_and_an_error_object(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = geodescent(*words, "--json")
    assert done.exit_code == 1
    assert sentence in strict_object(done.stdout)["error"]
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_written_over(wine_fit):
    folder, _ = wine_fit
    before = (folder / "weights.safetensors").read_bytes()
    done = geodescent("fit", "wine", "--out", folder)
    assert done.exit_code == 1
    assert "holds a run already" in done.stderr
    assert (folder / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "words", [["fit"], ["fit", "iris", "--hidden", "a,b"], ["fit", "iris", "--activation", "sine"], ["walk", "iris"]]
)
def test_usage_errors_end_with_status_2(words):
    done = geodescent(*words)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_a_usage_error_under_json_is_an_object_too(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["geodescent", "fit", "iris", "--no-such-option", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "error" in strict_object(capsys.readouterr().out)


def test_an_interrupt_ends_with_status_130(monkeypatch, tmp_path):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(doors, "fit", interrupt)
    done = geodescent("fit", "iris", *QUICK, "--out", tmp_path / "run", "--json")
    assert done.exit_code == 130
    said = "interrupted: nothing had been saved. The same command begins again."
    assert strict_object(done.stdout) == {"error": said}


@pytest.mark.parametrize("command", ["fit", "flow", "certify"])
def test_help_names_every_option(command):
    done = geodescent(command, "--help")
    assert done.exit_code == 0
    for option in (
        "--hidden",
        "--activation",
        "--target-cost",
        "--test-size",
        "--dtype",
        "--device",
        "--seed",
        "--json",
    ):
        assert option in done.stdout
