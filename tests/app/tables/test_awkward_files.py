"""Files as people have them: each is read, encoded and accounted for in plain sentences."""

import datetime
import re
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geodescent.app.tables import PreparedTable, prepare, read_table

N = 60


@pytest.fixture
def columns() -> dict[str, list[object]]:
    """Two numbers, a colour and a target that depends on them."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=N), draw.normal(3.0, 5.0, size=N)
    colours = [("red", "green", "blue")[k] for k in draw.integers(3, size=N)]
    return {"a": a.tolist(), "b": b.tolist(), "colour": colours, "y": (a - 2.0 * b).tolist()}


def written(path: Path, columns: dict[str, list[object]], **how: object) -> str:
    """The path of a CSV file of these columns."""
    pl.DataFrame(columns).write_csv(path, **how)  # type: ignore[call-overload]
    return str(path)


def said(prepared: PreparedTable) -> str:
    """The whole account, with the table of columns."""
    return "\n".join([*prepared.account, *(" | ".join(row) for row in prepared.encoding.table())])


def require_sound(prepared: PreparedTable) -> None:
    """What holds of every prepared table."""
    inputs = prepared.inputs
    assert inputs.shape == (prepared.raw.frame.height, len(prepared.encoding.feature_names))
    assert inputs.dtype == np.float64 and inputs.flags.c_contiguous and np.isfinite(inputs).all()
    assert np.abs(inputs).max() <= 10.0
    assert np.ptp(inputs[prepared.split.train], axis=0).min() > 0.0
    assert not set(prepared.split.train) & set(prepared.split.test)
    assert all(sentence.isprintable() and sentence.endswith(".") for sentence in prepared.account)


def test_a_plain_file(tmp_path, columns):
    prepared = prepare(written(tmp_path / "plain.csv", columns))
    require_sound(prepared)
    assert prepared.target.name == "y" and prepared.target.task == "regression"
    assert prepared.encoding.feature_names == ("a", "b", "colour = blue", "colour = green", "colour = red")
    assert np.array_equal(prepared.targets, columns["y"])
    train = prepared.split.train
    values = np.array(columns["b"])
    expected = (values - values[train].mean()) / values[train].std()
    assert np.allclose(prepared.inputs[:, 1], expected, rtol=0.0, atol=1e-12)
    assert "plain.csv was read as CSV: commas between columns, decimal points, UTF-8; 60 rows of 4 columns." in said(
        prepared
    )


def test_semicolons_and_decimal_commas(tmp_path, columns):
    plain = prepare(written(tmp_path / "plain.csv", columns))
    german = prepare(written(tmp_path / "german.csv", columns, separator=";", decimal_comma=True))
    require_sound(german)
    assert np.array_equal(plain.inputs, german.inputs) and np.array_equal(plain.targets, german.targets)
    assert "semicolons between columns, decimal commas" in said(german)


@pytest.mark.parametrize(
    ("entries", "delimiter", "number"),
    [
        (["1.234,56", "7,5"], ";", 1234.56),
        (['"1,234.56"', "7.5"], ",", 1234.56),
        (["1.234", "7,5"], ";", 1234.0),  # the comma elsewhere is decimal, so that the point is none
        (['"1,234"', "7.5"], ",", 1234.0),
        (["1.234", "7.5"], ";", 1.234),
        (["1,234", "7,5"], ";", 1.234),
        (["1,234", "7"], ";", 1.234),
        (['"1,234"', "7"], ",", 1234.0),
        (["-1.234.567,8e2", "7"], ";", -1234567.8e2),
    ],
)
def test_separators_of_thousands(tmp_path, entries, delimiter, number):
    (tmp_path / "n.csv").write_text(f"a{delimiter}b\n{entries[0]}{delimiter}{entries[1]}\n")
    assert read_table(str(tmp_path / "n.csv")).frame["a"].to_list() == [number]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u2009", "\u202f", "'", "’"])
@pytest.mark.parametrize(
    ("entries", "delimiter", "expected"),
    [
        (["1 200,50", "950,00", "12 345 678,1"], ";", [1200.5, 950.0, 12345678.1]),
        (["1 200,500", "950,500", "7"], "|", [1200.5, 950.5, 7.0]),  # a comma between thousands would be another blank
        (['"1 200,500"', '"950,500"', "7"], ",", [1200.5, 950.5, 7.0]),
        (["-1 200.5", "950.500", "1200"], ",", [-1200.5, 950.5, 1200.0]),
        (["1 200 €", "950 €", "3 000 000 €"], ";", [1200, 950, 3000000]),
        (["1 200", "NA", "950"], ";", [1200, None, 950]),
    ],
)
def test_blanks_between_thousands(tmp_path, entries, delimiter, expected, blank):
    """Where the whole column is of that form, and then it is said."""
    rows = "".join(f"{entry}{delimiter}2\n" for entry in entries)
    rows = re.sub(r"(?<=\d) (?=\d)", blank, rows)
    (tmp_path / "n.csv").write_text(f"a{delimiter}b\n{rows}", encoding="utf-8")
    raw = read_table(str(tmp_path / "n.csv"))
    assert raw.frame["a"].to_list() == expected
    assert "Blanks or apostrophes inside of numbers were taken for marks of thousands, in 'a'." in raw.how_read


@pytest.mark.parametrize(
    "entries", [["030 123", "040 555"], ["1 200", "12 34"], ["1 200", "a"], ["1 200,5", "1.300,5"]]
)
def test_other_text_with_blanks_stays_text(tmp_path, entries):
    (tmp_path / "n.csv").write_text("a;b\n" + "".join(f"{entry};2\n" for entry in entries))
    assert read_table(str(tmp_path / "n.csv")).frame["a"].to_list() == entries


def test_quotes_around_delimiters_newlines_and_quotes(tmp_path, columns):
    columns["colour"] = [
        {"red": 'dark "red", 5" wide', "green": "two\nlines", "blue": "a;b"}[c] for c in columns["colour"]
    ]
    prepared = prepare(written(tmp_path / "quotes.csv", columns))
    require_sound(prepared)
    assert prepared.raw.frame["colour"].to_list() == columns["colour"]
    assert "two\nlines" not in said(prepared)


def test_accents_in_headers(tmp_path, columns):
    prepared = prepare(written(tmp_path / "accents.csv", {"Größe": columns["a"], "été": columns["y"]}))
    require_sound(prepared)
    assert prepared.encoding.feature_names == ("Größe",) and prepared.target.name == "été"


@pytest.mark.parametrize(
    ("encoding", "told"), [("cp1252", "windows-1252"), ("utf-16", "UTF-16"), ("utf-8-sig", "UTF-8 with a mark")]
)
def test_encodings(tmp_path, columns, encoding, told):
    text = pl.DataFrame({"Größe": columns["a"], "Preis €": columns["y"]}).write_csv()
    (tmp_path / "old.csv").write_bytes(text.encode(encoding))
    prepared = prepare(str(tmp_path / "old.csv"))
    require_sound(prepared)
    assert prepared.raw.frame.columns == ["Größe", "Preis €"]
    assert told in said(prepared)


@pytest.mark.parametrize("words", [("true", "false"), ("True", "False"), ("yes", "no"), ("Y", "N"), ("t", "f")])
def test_booleans(tmp_path, columns, words):
    columns["b"] = [words[value < 3.0] for value in columns["b"]]
    prepared = prepare(written(tmp_path / "booleans.csv", columns))
    require_sound(prepared)
    assert ("b", "boolean", "0 for false, 1 for true") in prepared.encoding.table()
    assert np.array_equal(prepared.inputs[:, 1], [word == words[0] for word in columns["b"]])


@pytest.mark.parametrize(
    "form", ["%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M", None]
)
def test_dates(tmp_path, columns, form):
    start = datetime.datetime(2019, 1, 1)
    dates = [start + datetime.timedelta(days=17 * k, hours=k % 24) for k in range(N)]
    columns["b"] = [date.strftime(form) if form else date for date in dates]
    path = tmp_path / "dates.parquet"
    pl.DataFrame(columns).write_parquet(path)
    prepared = prepare(str(path))
    require_sound(prepared)
    kind = dict((name, kind) for name, kind, _ in prepared.encoding.table())
    assert kind["b"] == "date"
    timed = form is None or "%H" in form
    exact = [(date - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1) for date in dates]
    days = np.array(exact) if timed else np.floor(exact)
    train = prepared.split.train
    day = prepared.inputs[:, prepared.encoding.feature_names.index("b")]
    assert np.allclose(day, (days - days[train].mean()) / days[train].std(), rtol=0.0, atol=1e-10)
    assert ("b hour (sine)" in prepared.encoding.feature_names) == timed
    angle = 2.0 * np.pi * np.array([date.weekday() for date in dates]) / 7.0
    weekday = prepared.inputs[:, prepared.encoding.feature_names.index("b weekday (cosine)")]
    assert np.allclose(weekday, np.cos(angle), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("ids", [range(N), range(1, N + 1), [f"P-{k:04d}" for k in range(N)]])
def test_a_column_that_names_the_rows_is_left_out(tmp_path, columns, ids):
    prepared = prepare(written(tmp_path / "ids.csv", {"who": list(ids), **columns}))
    require_sound(prepared)
    assert prepared.encoding.table()[0][1] == "left out"
    assert "the rows" in prepared.encoding.table()[0][2]
    assert "who" not in prepared.encoding.feature_names


def test_a_count_that_is_all_there_is_is_used(tmp_path):
    prepared = prepare(written(tmp_path / "count.csv", {"x": list(range(N)), "y": [k**2 / 7 for k in range(N)]}))
    require_sound(prepared)
    assert prepared.encoding.feature_names == ("x",)


def test_years_are_no_names_of_rows(tmp_path, columns):
    prepared = prepare(written(tmp_path / "years.csv", {"year": list(range(1950, 1950 + N)), **columns}))
    assert prepared.encoding.feature_names[0] == "year"


def test_a_constant_column_is_left_out(tmp_path, columns):
    prepared = prepare(written(tmp_path / "constant.csv", {"c": [7] * N, "d": [0.1] * N, "e": ["x"] * N, **columns}))
    require_sound(prepared)
    assert [row[1] for row in prepared.encoding.table()[:3]] == ["left out"] * 3
    assert "c | left out | it is constant: 7 in every training row" in said(prepared)


def test_missing_entries_are_filled_with_the_median_and_indicated(tmp_path, columns):
    holes = list(range(0, N, 4))
    columns["a"] = [None if k in holes else value for k, value in enumerate(columns["a"])]
    columns["b"] = ["n/a" if k in holes else str(value) for k, value in enumerate(columns["b"])]
    columns["colour"] = ["?" if k in holes else value for k, value in enumerate(columns["colour"])]
    prepared = prepare(written(tmp_path / "holes.csv", columns))
    require_sound(prepared)
    names = prepared.encoding.feature_names
    for name in ("a", "b", "colour"):
        indicator = prepared.inputs[:, names.index(f"{name} is missing")]
        assert np.array_equal(np.flatnonzero(indicator), holes)
    values = np.array([np.nan if value is None else value for value in columns["a"]], dtype=float)
    train = prepared.split.train
    filled = np.where(np.isnan(values), np.nanmedian(values[train]), values)
    expected = (filled - filled[train].mean()) / filled[train].std()
    assert np.allclose(prepared.inputs[:, 0], expected, rtol=0.0, atol=1e-12)
    assert "30 entries are missing, and filled: 'a' 15, 'b' 15." in said(prepared)
    assert "15 entries are missing, and taken as a value of its own: 'colour' 15." in said(prepared)


def test_one_typing_error_among_many_numbers_is_a_missing_entry(tmp_path, columns):
    columns["a"] = ["12 kg" if k == 3 else str(value) for k, value in enumerate(columns["a"])]
    prepared = prepare(written(tmp_path / "typo.csv", columns))
    require_sound(prepared)
    assert "Column 'a': 1 entry is no number and was read as missing, such as '12 kg'." in said(prepared)


@pytest.mark.parametrize("row", range(0, N, 7))
def test_one_typing_error_among_many_dates_is_a_missing_entry(tmp_path, columns, row):
    columns["a"] = ["soon" if k == row else f"2020-{k % 12 + 1:02d}-{k % 28 + 1:02d}" for k in range(N)]
    prepared = prepare(written(tmp_path / "typo.csv", columns))
    require_sound(prepared)
    assert "1 entry is missing, and filled: 'a' 1." in said(prepared)


def test_a_first_line_of_numbers_is_told(tmp_path):
    values = np.random.default_rng(0).normal(size=(N, 3))
    pl.DataFrame(values).write_csv(tmp_path / "bare.csv", include_header=False)
    prepared = prepare(str(tmp_path / "bare.csv"))
    assert "The first line of bare.csv holds numbers alone: put names above them if it is a row." in said(prepared)


def test_codes_keep_their_zeros(tmp_path, columns):
    codes = ["01067", "10115", "20095"]
    columns["colour"] = [codes[k % 3] for k in range(N)]
    prepared = prepare(written(tmp_path / "codes.csv", columns))
    assert "colour = 01067" in prepared.encoding.feature_names


def test_an_integer_target_of_few_values_is_classes(tmp_path, columns):
    columns["y"] = [10 * (k % 3) for k in range(N)]
    prepared = prepare(written(tmp_path / "integers.csv", columns))
    require_sound(prepared)
    assert prepared.target.classes == ("0", "10", "20")
    assert np.array_equal(prepared.targets, [k % 3 for k in range(N)]) and prepared.targets.dtype == np.int64
    numbers = prepare(str(tmp_path / "integers.csv"), task="regression")
    assert numbers.targets.dtype == np.float64 and np.array_equal(numbers.targets, columns["y"])


def test_a_text_target_keeps_its_spelling(tmp_path, columns):
    columns["y"] = ["Ja ✓" if value > 0.0 else "nein" for value in columns["y"]]
    prepared = prepare(written(tmp_path / "text.csv", columns))
    require_sound(prepared)
    assert prepared.target.classes == ("Ja ✓", "nein")
    assert [prepared.target.classes[k] for k in prepared.targets] == columns["y"]


def test_a_category_seen_once_is_pooled(tmp_path, columns):
    columns["colour"][7] = "mauve"
    for seed in range(3):  # in the training part, or in the test part
        prepared = prepare(written(tmp_path / "once.csv", columns), seed=seed)
        require_sound(prepared)
        assert not any("mauve" in name for name in prepared.encoding.feature_names)
        there = "colour = (other)" in prepared.encoding.feature_names
        assert there == (7 in prepared.split.train)
        assert ("1 entry is of levels that the training part does not show: 'colour' 1." in said(prepared)) != there


@pytest.mark.parametrize(("rows", "width"), [(21, 20), (100, 200)])
def test_tables_with_about_as_many_columns_as_rows(tmp_path, rows, width):
    values = np.random.default_rng(1).normal(size=(rows, width))
    path = tmp_path / "wide.csv"
    pl.DataFrame(values).write_csv(path)
    prepared = prepare(str(path))
    require_sound(prepared)
    assert prepared.inputs.shape == (rows, width - 1)


def test_a_column_near_1e12_keeps_its_digits(tmp_path, columns):
    offsets = np.random.default_rng(2).integers(-50, 50, size=N)
    columns["a"] = [10**12 + int(k) for k in offsets]
    prepared = prepare(written(tmp_path / "large.csv", columns))
    require_sound(prepared)
    train = prepared.split.train
    expected = (offsets - offsets[train].mean()) / offsets[train].std()
    assert np.allclose(prepared.inputs[:, 0], expected, rtol=0.0, atol=1e-12)


def test_duplicated_rows_are_counted(tmp_path, columns):
    doubled = {name: [*entries, *entries[:7]] for name, entries in columns.items()}
    prepared = prepare(written(tmp_path / "twice.csv", doubled))
    require_sound(prepared)
    assert "7 rows repeat an earlier one entry by entry" in said(prepared)


def test_rows_without_target_are_dropped_and_counted(tmp_path, columns):
    columns["y"] = [None if k < 5 else value for k, value in enumerate(columns["y"])]
    prepared = prepare(written(tmp_path / "dropped.csv", columns))
    require_sound(prepared)
    rows = np.sort(np.concatenate([prepared.split.train, prepared.split.test]))
    assert np.array_equal(rows, np.arange(5, N)) and np.isnan(prepared.targets[:5]).all()
    assert "5 rows have no target and are dropped." in said(prepared)


def test_infinite_inputs_are_missing_ones(tmp_path, columns):
    columns["a"][3], columns["b"][4] = float("inf"), -float("inf")
    prepared = prepare(written(tmp_path / "inf.csv", columns))
    require_sound(prepared)
    assert "2 entries are infinite or beyond 1e100, and counted as missing: 'a' 1, 'b' 1." in said(prepared)


def test_names_and_levels_with_escapes_are_made_visible(tmp_path, columns):
    columns["colour"] = ["\x1b[31mred" if value == "red" else "\u202egreen" for value in columns["colour"]]
    columns = {"\x1b]0;title\x07": columns.pop("a"), **columns}
    prepared = prepare(written(tmp_path / "escape.csv", columns), target="y")
    require_sound(prepared)
    assert all(cell.isprintable() for row in prepared.encoding.table() for cell in row)
    assert prepared.encoding.table()[0][0] == "\\x1b]0;title\\x07"


def test_columns_without_names_get_one(tmp_path, columns):
    prepared = prepare(written(tmp_path / "unnamed.csv", {"": columns.pop("a"), **columns}))
    require_sound(prepared)
    assert prepared.encoding.feature_names[0] == "column_1"
    assert "1 column without a name: called column_1." in said(prepared)


def test_names_of_rows_as_r_writes_them(tmp_path, columns):
    lines = pl.DataFrame(columns).write_csv().splitlines()
    text = "\n".join([lines[0], *(f"{k},{line}" for k, line in enumerate(lines[1:], 1))])
    (tmp_path / "r.csv").write_text(text)
    prepared = prepare(str(tmp_path / "r.csv"))
    require_sound(prepared)
    assert prepared.encoding.table()[0][:2] == ("column_1", "left out")
    assert np.array_equal(prepared.targets, columns["y"])


@pytest.mark.parametrize("suffix", [".tsv", ".parquet", ".npz", ".CSV"])
def test_every_kind_of_file_gives_the_same_numbers(tmp_path, columns, suffix):
    plain, path = prepare(written(tmp_path / "plain.csv", columns)), tmp_path / f"other{suffix}"
    frame = pl.DataFrame(columns)
    write = {
        ".tsv": lambda: frame.write_csv(path, separator="\t"),
        ".CSV": lambda: frame.write_csv(path, separator="|"),
        ".parquet": lambda: frame.with_columns(pl.col("colour").cast(pl.Categorical)).write_parquet(path),
        ".npz": lambda: np.savez(path, **{name: np.array(entries) for name, entries in columns.items()}),
    }
    write[suffix]()
    other = prepare(str(path))
    require_sound(other)
    assert np.array_equal(plain.inputs, other.inputs) and np.array_equal(plain.targets, other.targets)


def test_arrays_with_and_without_their_target(tmp_path):
    draw = np.random.default_rng(0)
    inputs, targets = draw.normal(size=(N, 3)), draw.integers(2, size=N)
    np.savez(tmp_path / "both.npz", X=inputs, y=targets, feature_names=np.array(["u", "v", "w"]))
    np.savez_compressed(tmp_path / "inputs.npz", X=inputs.astype(">f4"))
    np.savez(tmp_path / "matrix.npz", np.column_stack([inputs, targets]))
    prepared = prepare(str(tmp_path / "both.npz"))
    require_sound(prepared)
    assert prepared.encoding.feature_names == ("u", "v", "w") and prepared.target.name == "target"
    assert prepared.target.classes == ("0", "1")
    alone = read_table(str(tmp_path / "inputs.npz"))
    assert alone.target is None and alone.frame.shape == (N, 3)
    matrix = read_table(str(tmp_path / "matrix.npz"))
    assert matrix.target == "column_4" and np.array_equal(matrix.frame.to_numpy()[:, :3], inputs)


def test_columns_that_hold_lists_are_left_out_and_said(tmp_path, columns):
    path = tmp_path / "nested.parquet"
    pl.DataFrame({"lists": [[1, 2]] * N, "bytes": [b"a"] * N, "when": [datetime.time(3)] * N, **columns}).write_parquet(
        path
    )
    prepared = prepare(str(path))
    require_sound(prepared)
    assert "Left out, as their entries are no single values: 'lists', 'bytes'." in said(prepared)
    assert "'when' (Time)" in said(prepared)


@pytest.mark.slow
def test_twenty_thousand_rows_are_read_in_two_seconds(tmp_path):
    draw = np.random.default_rng(0)
    frame = pl.DataFrame(draw.normal(size=(20_000, 20)))
    frame.write_csv(tmp_path / "big.csv")
    start = time.perf_counter()
    prepared = prepare(str(tmp_path / "big.csv"))
    assert prepared.inputs.shape == (20_000, 19)
    assert time.perf_counter() - start < 6.0  # 0.6 s on an idle core
