import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error

from geodescent.app import DATA_SETS, Scaling, Split, SplitTable, Table, load_table, prepare


@pytest.mark.parametrize(
    ("name", "shape", "n_outputs"),
    [
        ("digits", (1797, 64), 10),
        ("wine", (178, 13), 3),
        ("iris", (150, 4), 3),
        ("breast_cancer", (569, 30), 2),
        ("diabetes", (442, 10), 1),
    ],
)
def test_every_data_set_has_its_real_samples(name, shape, n_outputs):
    table = load_table(name)
    assert table.inputs.shape == shape
    assert table.targets.shape == shape[:1]
    assert table.n_outputs == n_outputs
    assert len(table.feature_names) == shape[1]
    assert table.task == DATA_SETS[name]
    assert table.image == (name == "digits")


def test_an_unknown_name_lists_the_data_there_is():
    with pytest.raises(
        ValueError, match=r"Unknown data 'mnist'. Available: digits, wine, iris, .*\.csv.* not read yet"
    ):
        load_table("mnist")


def test_the_split_is_a_partition_fixed_by_the_seed():
    first, again, other = (prepare("wine", test_size=0.25, seed=seed).split for seed in (3, 3, 4))
    assert np.array_equal(np.sort(np.concatenate([first.train, first.test])), np.arange(178))
    assert len(first.test) == 45
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_the_split_keeps_the_share_of_every_class():
    digits = prepare("digits", test_size=0.25, seed=0)
    targets = digits.table.targets
    assert np.abs(np.bincount(targets[digits.split.test]) - 0.25 * np.bincount(targets)).max() <= 1.0


@pytest.mark.parametrize("test_size", [0.0, 1.0, -0.5, float("nan")])
def test_a_split_without_two_sides_is_refused(test_size):
    with pytest.raises(ValueError, match="test_size must lie between 0 and 1"):
        prepare("iris", test_size=test_size, seed=0)


def test_a_split_too_small_for_the_classes_is_refused():
    with pytest.raises(ValueError, match="cannot split the 150 rows of iris"):
        prepare("iris", test_size=0.01, seed=0)


@pytest.mark.parametrize("name", DATA_SETS)
def test_rows_of_the_test_part_do_not_enter_the_scaling(name):
    honest = prepare(name, test_size=0.25, seed=0)
    inputs, targets = honest.table.inputs.copy(), honest.table.targets.copy()
    inputs[honest.split.test] = 1e6
    if honest.table.task == "regression":
        targets[honest.split.test] = -1e6
    altered = SplitTable(dataclasses.replace(honest.table, inputs=inputs, targets=targets), honest.split)
    for expected, scaled in zip(
        honest.tensors(honest.split.train, dtype=torch.float64),
        altered.tensors(honest.split.train, dtype=torch.float64),
        strict=True,
    ):
        assert torch.equal(expected, scaled)


def test_images_are_scaled_by_one_common_factor():
    digits = prepare("digits", test_size=0.25, seed=0)
    inputs, _ = digits.tensors(digits.split.train, dtype=torch.float64)
    raw = digits.table.inputs[digits.split.train]
    assert np.allclose(inputs.numpy(), (raw - raw.mean()) / raw.std(), rtol=0.0, atol=1e-14)


def test_tables_are_standardised_feature_by_feature():
    wine = prepare("wine", test_size=0.25, seed=0)
    inputs, _ = wine.tensors(wine.split.train, dtype=torch.float64)
    assert torch.allclose(inputs.mean(dim=0), torch.zeros(13, dtype=torch.float64), atol=1e-13)
    assert torch.allclose(inputs.std(dim=0, correction=0), torch.ones(13, dtype=torch.float64), rtol=1e-13)


def scaling_of(values):
    """The scaling of a table of features all of whose rows are trained on."""
    rows, names = np.arange(len(values)), tuple(f"feature {j}" for j in range(values.shape[1]))
    table = Table("made up", "regression", values, np.arange(float(len(values))), (), names, image=False)
    return SplitTable(table, Split(train=rows, test=rows[:0])).input_scaling


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e9])
def test_a_constant_feature_is_centred_and_not_blown_up(constant):
    values = np.column_stack([np.full(7, constant), np.arange(7.0)])
    scaled = scaling_of(values).apply(values)
    assert np.abs(scaled[:, 0]).max() <= 1e-15 * max(1.0, abs(constant))
    assert np.isclose(scaled[:, 1].std(), 1.0)


def test_a_scaling_survives_json_and_is_inverted():
    values = np.random.default_rng(0).normal(3.0, 10.0, size=(20, 4))
    scaling = scaling_of(values)
    restored = Scaling.from_dict(json.loads(json.dumps(scaling.as_dict())))
    assert np.array_equal(restored.apply(values), scaling.apply(values))
    assert np.allclose(restored.invert(restored.apply(values)), values, rtol=1e-14)


def test_class_targets_are_one_hot():
    iris = prepare("iris", test_size=0.25, seed=0)
    inputs, targets = iris.tensors(iris.split.test, dtype=torch.float32)
    assert inputs.dtype == targets.dtype == torch.float32
    assert torch.equal(targets.sum(dim=1), torch.ones(len(targets)))
    assert np.array_equal(targets.argmax(dim=1).numpy(), iris.table.targets[iris.split.test])


def test_accuracy_is_that_of_the_largest_output():
    wine = prepare("wine", test_size=0.25, seed=0)
    outputs = torch.randn(len(wine.split.test), 3, generator=torch.Generator().manual_seed(0))
    expected = accuracy_score(wine.table.targets[wine.split.test], outputs.argmax(dim=1))
    assert wine.score(wine.split.test, outputs) == {"accuracy": expected}


def test_rmse_and_r2_are_in_the_targets_own_units():
    diabetes = prepare("diabetes", test_size=0.25, seed=0)
    rows = diabetes.split.test
    outputs = torch.randn(len(rows), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    training = diabetes.table.targets[diabetes.split.train]
    raw = outputs[:, 0].numpy() * training.std() + training.mean()
    score = diabetes.score(rows, outputs)
    assert score["rmse"] == pytest.approx(root_mean_squared_error(diabetes.table.targets[rows], raw), rel=1e-12)
    assert score["r2"] == pytest.approx(r2_score(diabetes.table.targets[rows], raw), rel=1e-12)


def test_constant_targets_have_an_error_and_no_r2():
    values = np.random.default_rng(0).normal(size=(6, 2))
    table = Table("made up", "regression", values, np.full(6, 3.0), (), ("a", "b"), image=False)
    split_table = SplitTable(table, Split(train=np.arange(4), test=np.arange(4, 6)))
    score = split_table.score(split_table.split.test, torch.ones(2, 1, dtype=torch.float64))
    assert score["rmse"] == pytest.approx(1.0) and np.isnan(score["r2"])  # a constant target is centred and not scaled
