"""Encodings: learnt on training rows alone, blind to the order of columns, bounded, and strict about files."""

import copy
import datetime
import json
from contextlib import suppress

import numpy as np
import polars as pl
import pytest

from geodescent._errors import InputError
from geodescent.app.tables import DATA_SETS, Encoding, prepare, read_table, shown

N = 80


def mixed_frame(seed: int = 0) -> pl.DataFrame:
    """One column of every kind, with holes in each."""
    draw = np.random.default_rng(seed)
    columns = {
        "number": draw.normal(size=N).tolist(),
        "whole": draw.integers(100, size=N).tolist(),
        "answer": [("yes", "no")[k] for k in draw.integers(2, size=N)],
        "level": [("red", "green", "blue", "grey")[k] for k in draw.integers(4, size=N)],
        "day": [f"{k % 28 + 1:02d}.{k % 12 + 1:02d}.20{k % 20 + 10}" for k in range(N)],
        "name": [f"row {k}" for k in range(N)],
    }
    for j, name in enumerate(columns):
        columns[name] = [None if (k + j) % 9 == 0 else entry for k, entry in enumerate(columns[name])]
    return pl.DataFrame(columns)


def column_of(values: np.ndarray) -> tuple[np.ndarray, Encoding]:
    """The features of a table of one column of numbers, and its encoding."""
    frame = pl.DataFrame({"v": values})
    encoding = Encoding.of(frame, None)
    return encoding.apply(frame).inputs, encoding


def test_shuffled_columns_give_the_same_numbers():
    frame = mixed_frame()
    encoding = Encoding.of(frame, None)
    inputs = encoding.apply(frame).inputs
    shuffled = frame.select(sorted(frame.columns, reverse=True))
    assert np.array_equal(encoding.apply(shuffled).inputs, inputs)
    assert inputs.shape == (N, len(encoding.feature_names)) and np.isfinite(inputs).all()


def test_rows_are_encoded_one_by_one_as_together():
    frame = mixed_frame()
    encoding = Encoding.of(frame, None)
    alone = [encoding.apply(frame[k : k + 1]).inputs for k in range(N)]
    assert np.array_equal(np.concatenate(alone), encoding.apply(frame).inputs)


def test_an_encoding_survives_json():
    encoding = Encoding.of(mixed_frame(), None)
    assert Encoding.from_dict(json.loads(json.dumps(encoding.as_dict()))) == encoding
    assert {rule.kind for rule in encoding.columns} == {"number", "boolean", "category", "date", "left out"}


def test_a_file_read_again_in_part_gives_the_same_numbers(tmp_path):
    frame = mixed_frame()
    frame.write_csv(tmp_path / "all.csv")
    whole = read_table(str(tmp_path / "all.csv")).frame
    encoding = Encoding.of(whole, None)
    for k in range(12):
        frame[k : k + 1].select(reversed(frame.columns)).write_csv(tmp_path / "one.csv", separator=";")
        one = read_table(str(tmp_path / "one.csv")).frame
        assert np.array_equal(encoding.apply(one).inputs, encoding.apply(whole[k : k + 1]).inputs)


@pytest.mark.parametrize("name", DATA_SETS)
def test_rows_to_test_on_decide_nothing(name):
    prepared = prepare(name)
    rows, columns = prepared.split.test, prepared.raw.frame.drop("target").columns
    mask = pl.Series(np.isin(np.arange(prepared.raw.frame.height), rows))
    altered = prepared.raw.frame.with_columns(pl.when(mask).then(1e6).otherwise(pl.col(columns)).name.keep())
    again = Encoding.of(altered[prepared.split.train], "target", image=prepared.raw.image)
    assert again == prepared.encoding


def test_pixels_are_scaled_by_one_common_factor():
    prepared = prepare("digits")
    raw = prepared.raw.frame.drop("target").to_numpy()
    train = raw[prepared.split.train]
    assert np.allclose(prepared.inputs, (raw - train.mean()) / train.std(), rtol=0.0, atol=1e-13)


@pytest.mark.parametrize(
    "values",
    [
        np.r_[np.zeros(399), 1.0],
        np.r_[np.zeros(399), 1e12],
        np.r_[np.random.default_rng(0).normal(size=399), 1e12],
        np.r_[np.random.default_rng(0).normal(size=2000), -1e300, 1e90],
        np.r_[np.zeros(900), np.random.default_rng(0).normal(size=99), 1e12],
        np.random.default_rng(0).lognormal(sigma=4.0, size=1000),
        np.random.default_rng(0).standard_cauchy(size=1000),
        1e-310 * np.arange(1000.0) ** 2,
        1e99 * np.random.default_rng(0).normal(size=1000),
    ],
)
def test_no_training_value_is_further_off_than_ten_deviations(values):
    inputs, _ = column_of(values)
    assert np.isfinite(inputs).all() and np.abs(inputs).max() <= 10.0
    assert np.ptp(inputs) > 0.5
    order = np.argsort(values[np.abs(values) < 1e100], kind="stable")
    assert (np.diff(inputs[np.abs(values) < 1e100, 0][order]) >= 0.0).all()


def test_one_far_entry_does_not_make_the_others_vanish():
    usual = np.random.default_rng(0).normal(size=399)
    inputs, encoding = column_of(np.r_[usual, 1e12])
    assert inputs[:399, 0].std() > 0.7
    assert "1 number beyond" in encoding.table()[0][2] and "moved to that limit" in encoding.table()[0][2]


def test_a_column_without_far_entries_is_standardised_exactly():
    values = np.random.default_rng(0).normal(1e6, 3.0, size=500)
    inputs, encoding = column_of(values)
    assert np.allclose(inputs[:, 0], (values - values.mean()) / values.std(), rtol=0.0, atol=1e-9)
    assert "moved" not in encoding.table()[0][2]


def test_far_values_of_later_tables_are_moved_and_counted():
    values = np.random.default_rng(0).normal(size=200)
    _, encoding = column_of(values)
    encoded = encoding.apply(pl.DataFrame({"v": [values.mean() + 11.0 * values.std(), -1e50, 0.0]}))
    assert encoded.inputs[:2, 0].tolist() == pytest.approx([10.0, -10.0], abs=1e-12)
    assert encoded.account[0].startswith("2 numbers are beyond the limits of the training part (10 standard deviations")


def test_levels_are_one_hot_and_rare_ones_pooled():
    levels = ["red"] * 43 + ["green"] * 30 + ["blue"] * 20 + ["mauve"] * 4 + ["teal"] * 3
    encoding = Encoding.of(pl.DataFrame({"c": levels}), None)
    assert encoding.feature_names == ("c = blue", "c = green", "c = red", "c = (other)")
    encoded = encoding.apply(pl.DataFrame({"c": ["red", "teal", "ochre", None]}))
    assert encoded.inputs.tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert "1 entry is missing, and taken as a value of its own: 'c' 1." in encoded.account
    assert "1 entry is of levels that the training part does not show: 'c' 1." in encoded.account


def test_of_many_levels_the_thirty_most_frequent_are_kept():
    levels = [f"level {k:02d}" for k in range(50) for _ in range(5 + k)]
    encoding = Encoding.of(pl.DataFrame({"c": levels}), None)
    assert encoding.feature_names == (*(f"c = level {k}" for k in range(20, 50)), "c = (other)")
    assert "20 rare values taken together as (other)" in encoding.table()[0][2]


def test_two_levels_are_one_feature():
    encoding = Encoding.of(pl.DataFrame({"c": ["left", "right"] * 20}), None)
    assert encoding.feature_names == ("c = right",)
    encoded = encoding.apply(pl.DataFrame({"c": ["left", "right", "up"]}))
    assert encoded.inputs[:, 0].tolist() == [0.0, 1.0, 0.5]


def test_a_constant_with_gaps_tells_where_it_is_given():
    frame = pl.DataFrame({"c": [7.0, None] * 20})
    encoding = Encoding.of(frame, None)
    assert encoding.feature_names == ("c is missing",)
    assert encoding.apply(frame).inputs[:, 0].tolist() == [0.0, 1.0] * 20


def test_rounding_is_no_variation():
    values = np.where(np.arange(40) % 2 == 0, 0.1 + 0.2, 0.3)
    encoding = Encoding.of(pl.DataFrame({"v": values, "x": np.arange(40.0)}), None)
    assert encoding.table()[0][1:] == ("left out", "it is constant up to rounding, or infinite throughout")


def test_missing_answers_are_filled_with_the_more_frequent_one():
    for often, seldom in (("yes", "no"), ("no", "yes")):
        frame = pl.DataFrame({"a": [often, often, often, seldom, None] * 6})
        encoded = Encoding.of(frame, None).apply(frame)
        assert encoded.inputs[4].tolist() == [float(often == "yes"), 1.0]


def test_texts_that_are_nearly_all_different_name_the_rows():
    texts = [f"person {k}" for k in range(38)] + ["person 0", "person 1"]
    encoding = Encoding.of(pl.DataFrame({"who": texts, "x": np.arange(40.0)}), None)
    assert encoding.table()[0][1:] == ("left out", "it names the rows: 38 different texts in 40 training rows")


@pytest.mark.parametrize(("part", "period"), [("hour", 24), ("month", 12), ("weekday", 7)])
def test_parts_of_dates_go_round_once(part, period):
    start, draw = datetime.datetime(1969, 1, 1), np.random.default_rng(0)
    dates = [start + datetime.timedelta(hours=int(k)) for k in draw.integers(10**6, size=200)]
    frame = pl.DataFrame({"d": dates})
    encoding = Encoding.of(frame, None)
    steps = {"hour": lambda d: d.hour, "month": lambda d: d.month - 1, "weekday": lambda d: d.weekday()}
    angles = 2.0 * np.pi * np.array([steps[part](date) for date in dates]) / period
    inputs = encoding.apply(frame).inputs
    for wave, expected in (("sine", np.sin(angles)), ("cosine", np.cos(angles))):
        column = inputs[:, encoding.feature_names.index(f"d {part} ({wave})")]
        assert np.allclose(column, expected, rtol=0.0, atol=1e-9)


def test_days_first_unless_an_entry_is_no_date_then():
    both = Encoding.of(pl.DataFrame({"d": [f"0{k % 9 + 1}/0{k % 7 + 1}/2020" for k in range(60)]}), None)
    american = Encoding.of(pl.DataFrame({"d": [f"0{k % 9 + 1}/{k % 28 + 1}/2020" for k in range(60)]}), None)
    assert "read as DD/MM/YYYY" in both.table()[0][2] and "read as MM/DD/YYYY" in american.table()[0][2]
    one = american.apply(pl.DataFrame({"d": ["03/04/2020"]})).inputs
    assert np.array_equal(one, american.apply(pl.DataFrame({"d": ["03/4/2020"]})).inputs)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"number": "12 kg"}, r"Column 'number' held numbers in the fit, and now it holds '12 kg': correct that entry"),
        ({"day": "soon"}, r"Column 'day' held dates in the fit \(%d\.%m\.%Y\), and now it holds 'soon'"),
        ({"day": "2020-13-01"}, r"now it holds '2020-13-01'"),
        ({"number": "\x1b[31m"}, r"now it holds '\\x1b\[31m'"),
    ],
)
def test_entries_of_another_kind_are_refused(change, sentence):
    frame = mixed_frame()
    encoding = Encoding.of(frame, None)
    with pytest.raises(InputError, match=sentence):
        encoding.apply(frame.with_columns(pl.lit(value).alias(name) for name, value in change.items()))


def test_missing_columns_are_named_and_new_ones_are_told():
    frame = mixed_frame()
    encoding = Encoding.of(frame, None)
    renamed = frame.rename({"number": "numbers"})
    with pytest.raises(InputError, match=r"lacks 1 column that the fit used: 'number'\. Did you mean 'numbers'\?"):
        encoding.apply(renamed)
    assert np.array_equal(encoding.apply(frame.drop("name")).inputs, encoding.apply(frame).inputs)
    told = encoding.apply(frame.with_columns(pl.lit(1).alias("new"))).account
    assert "Not used, as the fit did not know them: 'new'." in told


def test_control_characters_are_made_visible():
    assert shown("a\x1b[31m\n\u202e") == "a\\x1b[31m\\n\\u202e"
    assert shown("Größe ✓") == "Größe ✓"
    assert len(shown("x" * 1000)) == 60 and shown("x" * 1000).endswith("…")
    assert shown("\ud800").isprintable()


JUNK = (
    None,
    True,
    3,
    -1.5,
    float("nan"),
    1e400,
    "x",
    "",
    [],
    {},
    ["a", "a"],
    [[]],
    {"kind": "number"},
    [None],
    "x" * 200_000,
)


def leaves(entries: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The paths to all entries of a JSON object."""
    inner = entries.items() if isinstance(entries, dict) else enumerate(entries) if isinstance(entries, list) else ()
    return [path, *(leaf for key, entry in inner for leaf in leaves(entry, (*path, key)))]


def test_junk_in_the_place_of_any_entry_is_refused_or_harmless():
    frame = mixed_frame()
    told = json.loads(json.dumps(Encoding.of(frame, None).as_dict()))
    refused = 0
    for path in leaves(told):
        for junk in JUNK:
            try:
                encoding = Encoding.from_dict(replaced(told, path, junk))
            except (KeyError, TypeError, ValueError):
                refused += 1
                continue
            with suppress(InputError):
                assert np.isfinite(encoding.apply(frame).inputs).all()
    assert refused > 0.8 * len(leaves(told)) * len(JUNK)


def replaced(entries: object, path: tuple[object, ...], junk: object) -> object:
    """A copy with other entries at that path."""
    if not path:
        return junk
    changed = place = copy.deepcopy(entries)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    return changed


def test_missing_and_further_entries_are_refused():
    told = json.loads(json.dumps(Encoding.of(mixed_frame(), None).as_dict()))
    for path in leaves(told):
        place = told
        for key in path:
            place = place[key]
        if isinstance(place, dict):
            with pytest.raises(KeyError):
                Encoding.from_dict(replaced(told, path, {**place, "further": 1}))
            for key in place:
                with pytest.raises(KeyError):
                    Encoding.from_dict(replaced(told, path, {k: v for k, v in place.items() if k != key}))
