import json

import numpy as np
import pytest
import torch

import geodescent as gd
from geodescent.app import ACTIVATIONS, Config, NetworkChoice, RunFolder, TableFacts, load, mlp, prepare


def made_config(prepared, dtype="float64"):
    table, target_scaling = prepared.table, prepared.target_scaling
    scalings = {"inputs": prepared.input_scaling.as_dict()}
    return Config(
        command="fit",
        table=TableFacts(table.name, table.task, table.class_names, table.feature_names),
        network=NetworkChoice((8, 5), "tanh", dtype, "cpu"),
        seed=1,
        test_size=0.25,
        scalings=scalings | ({"targets": target_scaling.as_dict()} if target_scaling else {}),
        options={"target_cost": 1e-12, "max_seconds": None},
        versions={},
    )


def finished_run(folder, name="wine", dtype="float64"):
    prepared = prepare(name, test_size=0.25, seed=1)
    config = made_config(prepared, dtype)
    model = config.model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    run = RunFolder(folder, config, prepared.split)
    run.append(gd.StepRecord(1, 1.0, 0.5, 0.4, block_rms={"data": 1.0, "size": 3.0}))
    run.append(gd.StepRecord(2, 2.0, float("nan"), 0.3, validation_cost=0.25, block_rms={"data": 0.5, "size": 2.0}))
    run.keep(model)
    run.describe(certificate={"rank": None, "sigma_min": float("inf")}, curve=b"\x89PNG")
    return prepared, config, model


@pytest.mark.parametrize("name", ["wine", "diabetes", "digits"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_run_opens_as_the_module_that_was_trained(tmp_path, name, dtype):
    prepared, config, model = finished_run(tmp_path / "run", name, dtype)
    run = load(tmp_path / "run")
    assert run.config == config
    assert np.array_equal(run.train_index, prepared.split.train)
    assert np.array_equal(run.test_index, prepared.split.test)
    X, y = prepared.tensors(prepared.split.train, dtype=config.network.torch_dtype)
    raw = prepared.table.inputs[run.train_index]
    assert torch.equal(run.inputs(raw), X)
    assert torch.equal(run.model(run.inputs(raw)), model(X))
    assert all(torch.equal(a, b) for a, b in zip(run.training_tensors(), (X, y), strict=True))


def test_the_history_holds_one_record_per_step(tmp_path):
    finished_run(tmp_path)
    history = load(tmp_path).history
    assert history["step"].tolist() == [1.0, 2.0]
    assert np.array_equal(history["cost"], [0.5, np.nan], equal_nan=True)
    assert np.array_equal(history["validation_cost"], [np.nan, 0.25], equal_nan=True)
    assert set(history) == {*gd.StepRecord.__dataclass_fields__} - {"block_rms"} | {"block_rms.data", "block_rms.size"}


def test_every_block_of_rows_has_a_column_of_the_history(tmp_path):
    finished_run(tmp_path)
    history = load(tmp_path).history
    assert history["block_rms.data"].tolist() == [1.0, 0.5]
    assert history["block_rms.size"].tolist() == [3.0, 2.0]


def test_a_torn_last_line_of_the_history_is_dropped(tmp_path):
    finished_run(tmp_path)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 3, "co')
    assert load(tmp_path).history["step"].tolist() == [1.0, 2.0]


def test_every_json_file_is_strict(tmp_path):
    finished_run(tmp_path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    for text in [*lines, *(path.read_text() for path in tmp_path.glob("*.json"))]:
        json.loads(text, parse_constant=refuse)
    assert json.loads((tmp_path / "certificate.json").read_text()) == {"rank": None, "sigma_min": None}


def test_a_run_holds_the_files_that_were_promised_and_no_others(tmp_path):
    finished_run(tmp_path)
    names = {"config.json", "split.json", "weights.safetensors", "history.jsonl", "certificate.json", "curve.png"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("config.json", r"is no run folder: it has no config\.json"),
        ("split.json", r"is no run folder: it has no split\.json"),
        ("weights.safetensors", r"not finished: it has no weights\.safetensors"),
    ],
)
def test_half_a_run_is_refused_by_the_file_it_lacks(tmp_path, lost, sentence):
    finished_run(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"No run folder at .*nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", "{", r"config\.json is not valid JSON"),
        ("config.json", '{"command": "fit"}', r"config\.json lacks table, network, seed"),
        ("split.json", "", r"split\.json is not valid JSON"),
        ("weights.safetensors", "torn", r"weights\.safetensors cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, sentence):
    finished_run(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path)


def with_network(folder, **changes):
    """Rewrites what config.json says of the network."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "network": {**config["network"], **changes}}))


@pytest.mark.parametrize("changes", [{"depth": 3}, {"hidden": 8}])
def test_a_config_of_another_version_is_named(tmp_path, changes):
    finished_run(tmp_path)
    with_network(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"config\.json is of another version"):
        load(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    finished_run(tmp_path)
    with_network(tmp_path, hidden=[8])
    with pytest.raises(ValueError, match=r"weights\.safetensors does not fit the network 13-8-3 of config\.json"):
        load(tmp_path)


def test_raw_rows_of_another_shape_or_with_nan_are_refused(tmp_path):
    finished_run(tmp_path)
    run = load(tmp_path)
    with pytest.raises(ValueError, match=r"shape \(n, 13\): got \(2, 4\)"):
        run.inputs(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="1 values that are not finite"):
        run.inputs([[float("nan")] + [0.0] * 12])


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    prepared, config, _ = finished_run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*names):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        RunFolder(tmp_path, config, prepared.split).describe(certificate={"rank": 3}, curve=b"another picture")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_null_is_written_for_what_is_no_number(tmp_path):
    prepared, config, _ = finished_run(tmp_path)
    value = {"a": float("nan"), "b": [np.float64("inf"), 1.5], "c": (np.int64(3), np.array([1.0, -np.inf]))}
    RunFolder(tmp_path, config, prepared.split).describe(certificate=value, curve=b"")
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
