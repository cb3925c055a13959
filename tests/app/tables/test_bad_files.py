"""Files that hold no table that can be fitted: each is refused by a sentence on what is wrong and what to do."""

import io
import os
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geodescent._budget import Budget, spending
from geodescent._errors import InputError
from geodescent.app.tables import prepare, read_table

ROWS = "\n".join(f"{k / 7},{k % 3},{k * k / 3}" for k in range(20))


def refusal(path: Path, **how: object) -> str:
    """The sentence by which a file is refused; it prints, and it is no more than three sentences long."""
    with pytest.raises(InputError) as caught:
        prepare(str(path), **how)  # type: ignore[arg-type]
    text = str(caught.value)
    assert text.isprintable() and text[-1] in ".?" and len(text) < 700
    return text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", r"bad\.csv is empty: it needs a line of names and rows of entries\."),
        ("\n\n", r"bad\.csv is empty"),
        ("a,b,y\n", r"names of columns and no row below them: add rows\."),
        ("a,b,y\n1,2,3\n", r"has 1 row, and at least 10 are needed: add rows\."),
        ("a,y\n" + "\n".join(f"{k},{k if k < 9 else ''}" for k in range(30)), r"has 9 rows with an entry in 'y'"),
        ("a,y\n" + "\n".join(f"{k}," for k in range(30)), r"The target 'y' has no entry at all: name another one"),
        ("y\n" + "\n".join(map(str, range(30))), r"No column of the table can be used as an input: it has only the"),
        ("a,b,y\n" + "\n".join(f"7,n{k},{k / 7}" for k in range(30)), r"'a' \(it is constant: 7 .*'b' \(it names the"),
        ("a,y\n" + "\n".join(f"{k / 7},yes" for k in range(30)), r"'y' has one class alone, 'yes': two are needed\."),
        (
            "a,y\n" + "\n".join(f"{k / 7},0.5" for k in range(30)),
            r"'y' is 0\.5 in every row: there is nothing to learn",
        ),
        ("a,y\n" + "\n".join(f"{k / 7},name {k}" for k in range(30)), r"30 different entries in 30 rows.*too many for"),
        (
            "a,y\n1,inf\n" + "\n".join(f"{k / 7},{k / 3}" for k in range(30)),
            r"'y' has 1 number infinite or beyond 1e100",
        ),
        (
            "a,b,y\n1,2,3\n1,2\n" + ROWS,
            r"Line 3 of bad\.csv has 2 entries, and the table has 3 columns: give every",
        ),
        ('a,b,y\n1,"2\n3",3\n1,2,3,4\n' + ROWS, r"Line 4 of bad\.csv has 4 entries, and the table has 3 columns"),
        ('a,b,y\n1,"2,3\n' + ROWS, r"cannot be read from line 2 on: .*Check the quotation marks of that line\."),
        ("a,b,a\n" + ROWS, r"gives 1 name to several columns: 'a'\. Columns are matched by name: give each its own"),
        ("a,,column_2\n" + ROWS, r"gives 1 name to several columns: 'column_2'"),
    ],
)
def test_text_that_holds_no_table(tmp_path, content, sentence):
    (tmp_path / "bad.csv").write_text(content)
    assert re.search(sentence, refusal(tmp_path / "bad.csv"))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9, bytes(range(1, 256)) * 9, b"PK\3\4" * 99])
def test_binary_files_that_are_named_csv(tmp_path, content):
    (tmp_path / "junk.csv").write_bytes(content)
    assert re.search(r"junk\.csv is no text .*save the table as CSV in UTF-8\.", refusal(tmp_path / "junk.csv"))


def test_unknown_targets_list_the_columns_and_the_closest_name(tmp_path):
    (tmp_path / "good.csv").write_text("width,height,Weight\n" + ROWS)
    sentence = refusal(tmp_path / "good.csv", target="wieght")
    assert "has no column 'wieght'. Did you mean 'Weight'?" in sentence
    assert "'width', 'height', 'Weight'" in sentence


def test_a_regression_on_text_is_refused(tmp_path):
    (tmp_path / "good.csv").write_text("a,y\n" + "\n".join(f"{k},{'uv'[k % 2]}" for k in range(30)))
    assert "holds 'u', which is no number" in refusal(tmp_path / "good.csv", task="regression")


def test_places_that_hold_no_file(tmp_path):
    (tmp_path / "irises.csv").write_text("a,y\n")
    assert "is a folder: give the path of one file" in refusal(tmp_path)
    assert "It holds irises.csv." in refusal(tmp_path)
    missing = refusal(tmp_path / "iris.csv")
    assert "There is no file" in missing and "Did you mean 'irises.csv'?" in missing
    assert "Did you mean 'wine'?" in refusal(Path("wien"))
    assert "There is no file" in refusal(Path("bad\0.csv"))
    (tmp_path / "table.xlsx").write_bytes(b"PK")
    assert "has the suffix .xlsx, and files of .csv, .tsv, .parquet, .npz are read" in refusal(tmp_path / "table.xlsx")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is no regular file" in refusal(tmp_path / "pipe.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    assert "There is no file" in refusal(tmp_path / "gone.csv")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="everything may be read by this user")
def test_a_file_that_must_not_be_read(tmp_path):
    (tmp_path / "secret.csv").write_text("a,y\n" + ROWS)
    (tmp_path / "secret.csv").chmod(0)
    assert "cannot be read: Permission denied" in refusal(tmp_path / "secret.csv")


def test_a_file_that_the_system_does_not_give(tmp_path, monkeypatch):
    (tmp_path / "secret.csv").write_text("a,y\n" + ROWS)

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert "cannot be read: Permission denied. Check that the file is whole" in refusal(tmp_path / "secret.csv")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "good.csv").write_text("a,b,y\n" + ROWS)
    (tmp_path / "link.csv").symlink_to(tmp_path / "good.csv")
    assert read_table(str(tmp_path / "link.csv")).frame.shape == (20, 3)


@pytest.mark.parametrize("damage", ["cut", "junk", "flipped"])
def test_a_damaged_parquet_file(tmp_path, damage):
    path = tmp_path / "bad.parquet"
    pl.DataFrame({"a": list(range(1000)), "y": list(range(1000))}).write_parquet(path)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        {"cut": content[:half], "junk": b"PAR1" + bytes(99), "flipped": bytes(half) + content[half:]}[damage]
    )
    assert "cannot be read as parquet" in refusal(path)


def written_archive(path: Path, member: bytes) -> Path:
    """An .npz with one array X of these bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", member)
    return path


def header_of(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    """The header of an array, without the array."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.folder),))


def test_pickled_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "trap.npz", X=np.array([[Trap(tmp_path / "sprung")] * 3] * 20), y=np.arange(20.0))
    assert "holds Python objects in 'X.npy', which are never unpickled" in refusal(tmp_path / "trap.npz")
    (tmp_path / "trap2.npz").write_bytes((tmp_path / "trap.npz").read_bytes()[:-30])
    assert "cannot be read as an archive" in refusal(tmp_path / "trap2.npz")
    assert not (tmp_path / "sprung").exists()


def test_an_archive_that_would_burst_is_refused_by_its_header(tmp_path):
    path = written_archive(tmp_path / "bomb.npz", header_of((10**7, 10**6)) + bytes(10**6))
    assert path.stat().st_size < 10**5
    assert re.search(r"bomb\.npz needs 240000\.00 GB", refusal(path))


@pytest.mark.parametrize(
    "member",
    [
        header_of((10, 3)) + bytes(80),  # fewer numbers than told
        header_of((-10, 3)),
        b"\x93NUMPY\x09\x00" + bytes(40),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + bytes(10**6),
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 20) + b"__import__('os')   \n",
        b"",
    ],
)
def test_damaged_archives(tmp_path, member):
    sentence = refusal(written_archive(tmp_path / "bad.npz", member))
    assert "cannot be read as an archive of arrays" in sentence or "Understood are" in sentence


@pytest.mark.parametrize(
    "arrays",
    [
        {"X": np.ones((20, 3)), "y": np.ones(19)},
        {"X": np.ones(20), "y": np.ones(20)},
        {"X": np.float64(3.0)},
        {"X": np.ones((20, 3)), "y": np.ones(20), "feature_names": np.array(["a"])},
        {"X": np.ones((20, 3)), "labels": np.ones(20)},
        {"a": np.ones(20), "b": np.ones(21)},
        {"a": np.ones((20, 3, 3))},
        {"X": np.ones((20, 3), dtype=complex), "y": np.ones(20)},
        {"X": np.ones((20, 0)), "y": np.ones(20)},
        {},
    ],
)
def test_arrays_that_are_no_table_tell_the_layouts(tmp_path, arrays):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert "Understood are X (n, d) with y (n,)" in refusal(tmp_path / "bad.npz")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_a_file_too_large_for_memory_is_not_read(tmp_path, suffix, monkeypatch):
    path, frame = tmp_path / f"large{suffix}", pl.DataFrame({"a": np.arange(20000.0), "y": np.arange(20000.0)})
    if suffix == ".npz":
        np.savez(path, X=frame.to_numpy(), y=np.arange(20000.0))
    else:
        {".csv": frame.write_csv, ".parquet": frame.write_parquet}[suffix](path)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("the file was read"))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the file was read"))
    with spending(Budget(free_bytes=2**18)):
        assert re.search(r"large.* needs 0\.00 GB, and 60% .* Give fewer rows or fewer columns\.", refusal(path))


@pytest.mark.parametrize("size", [0.0, 1.0, -0.5, float("nan"), 1e-9 + 1.0, 0.99])
def test_a_split_without_two_sides_is_refused(tmp_path, size):
    (tmp_path / "good.csv").write_text("a,b,y\n" + ROWS)
    assert "test_size" in refusal(tmp_path / "good.csv", test_size=size)


def test_a_class_that_looks_like_a_number_is_not_called_no_number():
    assert "holds '0', which is the name of a class" in refusal("digits", task="regression")
