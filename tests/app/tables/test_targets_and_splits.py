"""Targets are chosen and said, splits are partitions fixed by the seed, and runs find their own table again."""

import json

import numpy as np
import polars as pl
import pytest

from geodescent._errors import InputError
from geodescent.app.tables import (
    DATA_SETS,
    RawTable,
    Split,
    TargetColumn,
    choose_target,
    prepare,
    prepare_with,
    read_table,
    split_rows,
)


def raw_of(target: list[object]) -> RawTable:
    """A table of one input and this target."""
    frame = pl.DataFrame({"x": np.arange(float(len(target))), "y": target})
    return RawTable("made.parquet", frame, "y", ())


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 64), tuple("0123456789")),
        ("wine", (178, 13), ("class_0", "class_1", "class_2")),
        ("iris", (150, 4), ("setosa", "versicolor", "virginica")),
        ("breast_cancer", (569, 30), ("benign", "malignant")),
        ("diabetes", (442, 10), ()),
    ],
)
def test_every_known_set_has_its_real_samples(name, shape, classes):
    prepared = prepare(name)
    assert prepared.inputs.shape == shape and prepared.targets.shape == shape[:1]
    assert prepared.target == TargetColumn("target", DATA_SETS[name], classes)
    assert prepared.raw.image == (name == "digits")
    chosen = next(sentence for sentence in prepared.account if sentence.startswith("Target:"))
    assert ("as the data set comes with them" in chosen) is bool(classes) and "text" not in chosen
    assert np.abs(prepared.inputs).max() <= 10.0


@pytest.mark.parametrize(
    ("entries", "classes"),
    [
        (["b", "a", None] * 9, ("a", "b")),
        ([True, False, None] * 9, ("false", "true")),
        ([10, 9, -1] * 9, ("-1", "9", "10")),
        (["10", "9", "x"] * 9, ("10", "9", "x")),
        ([0.5, 1.5, 2.5] * 9, ()),
        (list(range(11)) * 9, ()),
        (list(range(9)), ()),
    ],
)
def test_text_booleans_and_few_integers_are_classes(entries, classes):
    raw = raw_of(entries)
    target, sentence = choose_target(raw, None, "auto")
    assert target.classes == classes
    assert target.task == ("classification" if classes else "regression")
    assert (
        "'y', the last column (--target changes it)" in sentence and "(--task)" in sentence and sentence.endswith(".")
    )
    numbers = target.values(raw.frame)
    spelled = {True: "true", False: "false"}
    for entry, number in zip(entries, numbers, strict=True):
        told = spelled.get(entry, str(entry)) if classes else entry
        assert (number == -1 if entry is None else classes[number] == told) if classes else number == entry


def test_real_numbers_are_classes_if_the_task_says_so():
    raw = raw_of([1.0, 2.0, float("nan"), 10.0] * 9)
    target, sentence = choose_target(raw, None, "classification")
    assert target.classes == ("1", "2", "10") and "as --task says" in sentence
    assert target.values(raw.frame).tolist() == [0, 1, -1, 2] * 9


def test_unknown_classes_of_later_tables_have_no_number():
    target, _ = choose_target(raw_of(["a", "b"] * 9), None, "auto")
    assert target.values(pl.DataFrame({"y": ["b", "c", None]})).tolist() == [1, -1, -1]


@pytest.mark.parametrize(
    ("entries", "task", "sentence"),
    [
        ([f"{k // 2}-" for k in range(300)], "auto", r"has 150 different entries in 300 rows, such as '0-': too many"),
        (list(range(300)), "classification", r"To go on, take --task regression, or name another column with --target"),
        (["a"] * 9, "auto", r"has one class alone, 'a'"),
        ([True] * 9, "regression", r"holds 'True', which is no number"),
        ([None] * 9, "auto", r"has no entry at all"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(entries, task, sentence):
    with pytest.raises(InputError, match=sentence):
        choose_target(raw_of(entries), None, task)


def test_a_table_without_target_asks_for_one():
    raw = RawTable("X.npz", pl.DataFrame({"u": [1.0], "v": [2.0]}), None, ())
    with pytest.raises(InputError, match=r"X\.npz holds no target: name one of its columns with --target: 'u', 'v'\."):
        choose_target(raw, None, "auto")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_target_survives_json(task):
    target = TargetColumn("y\x1b", task, ("a", "b") if task == "classification" else ())
    told = json.loads(json.dumps(target.as_dict()))
    assert TargetColumn.from_dict(told) == target
    for junk in (None, 3, "x", [], ["a"], ["a", "a"], [1, 2], [str(k) for k in range(101)], {}):
        for key in ("task", "classes"):
            if told[key] != junk:
                with pytest.raises((KeyError, TypeError, ValueError)):
                    TargetColumn.from_dict({**told, key: junk})
    with pytest.raises(KeyError):
        TargetColumn.from_dict({**told, "more": 1})


def test_the_split_is_a_partition_fixed_by_the_seed():
    first, again, other = (prepare("wine", seed=seed).split for seed in (3, 3, 4))
    assert np.array_equal(np.sort(np.concatenate([first.train, first.test])), np.arange(178))
    assert len(first.test) == 45
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_the_split_keeps_the_share_of_every_class():
    targets = prepare("digits").targets
    split, sentence = split_rows(targets, "classification", test_size=0.25, seed=0)
    assert np.abs(np.bincount(targets[split.test]) - 0.25 * np.bincount(targets)).max() <= 1.0
    assert sentence.startswith(
        "1,347 rows to train on, 450 to test (--test-size), drawn at random, each class with its"
    )


@pytest.mark.parametrize("size", [0.01, 0.05, 0.25, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("seed", range(3))
def test_every_class_is_trained_on(size, seed):
    draw = np.random.default_rng(seed)
    targets = draw.permutation(np.r_[np.repeat(np.arange(12), 3), 12, 13, 14, -1, -1])
    split, sentence = split_rows(targets, "classification", test_size=size, seed=seed)
    assert set(targets[split.train]) == set(range(15)) and len(split.test) > 0
    assert np.array_equal(np.sort(np.r_[split.train, split.test]), np.flatnonzero(targets >= 0))
    assert "the only row of 3 classes is to train on" in sentence
    few = len(split.test) < 12 or len(split.test) > 24
    assert ("too few" in sentence) == few


def test_a_seed_that_no_generator_takes_is_refused():
    with pytest.raises(InputError, match=r"seed must be a whole number from 0 to 2\^32 - 1: got -1\."):
        split_rows(np.arange(30.0), "regression", test_size=0.25, seed=-1)


def test_another_column_of_a_known_set_may_be_the_target():
    for name in ("digits", "iris"):
        first = read_table(name).frame.columns[-3]
        prepared = prepare(name, target=first, task="regression")
        assert prepared.target.task == "regression" and np.isfinite(prepared.inputs).all()
        assert any(feature.startswith("target = ") for feature in prepared.encoding.feature_names)


def test_two_classes_one_of_them_once(tmp_path):
    lines = [f"{k / 7},{'rare' if k == 5 else 'usual'}" for k in range(20)]
    (tmp_path / "rare.csv").write_text("x,y\n" + "\n".join(lines))
    prepared = prepare(str(tmp_path / "rare.csv"))
    assert 5 in prepared.split.train and len(prepared.split.test) == 5
    assert any("the only row of 1 class is to train on" in sentence for sentence in prepared.account)


def test_a_run_finds_its_table_again():
    prepared = prepare("iris", seed=5)
    again = prepare_with(read_table("iris"), prepared.target, prepared.encoding, prepared.split)
    assert np.array_equal(again.inputs, prepared.inputs) and np.array_equal(again.targets, prepared.targets)


def test_another_table_is_refused():
    iris, wine = prepare("iris"), prepare("wine")
    split = Split(iris.split.train, np.array([150]))
    with pytest.raises(InputError, match=r"iris is of another table than the run \(the run has rows up to 150, the"):
        prepare_with(iris.raw, iris.target, iris.encoding, split)
    with pytest.raises(InputError, match=r"lacks 4 columns that the fit used: 'sepal length"):
        prepare_with(wine.raw, iris.target, iris.encoding, iris.split)
    with pytest.raises(InputError, match=r"150 rows of the run have no target"):
        prepare_with(iris.raw, wine.target, iris.encoding, iris.split)
    with pytest.raises(InputError, match=r"it has no column 'kind'"):
        prepare_with(iris.raw, TargetColumn("kind", "regression"), iris.encoding, iris.split)
