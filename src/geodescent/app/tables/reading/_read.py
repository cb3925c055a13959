"""Tables as they are read: a data set that is known by name, or a file."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from geodescent._errors import InputError
from geodescent.app.tables._room import room_for
from geodescent.app.tables._shown import closest, counted, listed, shown
from geodescent.app.tables.reading._csv import frame_of_text
from geodescent.app.tables.reading._form import FileRead, TextForm
from geodescent.app.tables.reading._known import DATA_SETS, IMAGES, TARGET_NAME, known_frame
from geodescent.app.tables.reading._npz import frame_of_arrays
from geodescent.app.tables.reading._parquet import frame_of_parquet
from geodescent.app.tables.reading._types import plain_types


@dataclass(frozen=True)
class RawTable:
    """A table as it was read: columns of numbers, booleans, dates and text, null where an entry is missing.

    Attributes:
        name: of the data set, or of the file without its folder.
        frame: one column for each column of the table, one row for each of its rows.
        target: the column that is the target unless another is named; None where the file holds no target.
        how_read: sentences on how the file was understood.
        image: whether the columns are pixels, which have one common scale.
        form: of a file of text, how it was written.
    """

    name: str
    frame: pl.DataFrame
    target: str | None
    how_read: tuple[str, ...]
    image: bool = False
    form: TextForm | None = None


@dataclass(frozen=True)
class FileKind:
    """A kind of file that is read.

    Attributes:
        read: what a path holds.
        times: bytes of memory for each byte of the file, while it is read.
    """

    read: Callable[[Path], FileRead]
    times: float


KINDS = {
    ".csv": FileKind(frame_of_text, 10.0),
    ".tsv": FileKind(lambda path: frame_of_text(path, "\t"), 10.0),
    ".parquet": FileKind(frame_of_parquet, 2.0),
    ".npz": FileKind(frame_of_arrays, 1.0),
}
"""By suffix. Text is held as bytes, as characters and as entries at once (measured: 6 to 9 times the file); what
parquet files and arrays unpack to is asked of their own headers."""


def read_table(data: str) -> RawTable:
    """The data set of that name, or the table in that file.

    Args:
        data: a name of `DATA_SETS`, or the path of a .csv, .tsv, .parquet or .npz file. Links are followed.

    Raises:
        InputError: no such name or file, a file that cannot be read or is too large, or one that holds no table.
    """
    if data in DATA_SETS:
        frame = known_frame(data)
        how = f"{data} comes with scikit-learn: {size_of(frame)}, the last of which is the target."
        return RawTable(data, frame, TARGET_NAME, (how,), image=data in IMAGES)
    path = Path(data)
    kind = _kind_of(path)
    try:
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{shown(path.name)} is empty: it needs a line of names and rows of entries.")
        room_for(kind.times * size, shown(path.name))
        read = kind.read(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{_told(path)} cannot be read: {reason}. Check that the file is whole and may be read."
        ) from error
    frame, changes = plain_types(read.frame)
    if not frame.height:
        raise InputError(f"{shown(path.name)} holds names of columns and no row below them: add rows.")
    if not frame.width:
        raise InputError(f"{shown(path.name)} has no column that can be used. {' '.join(changes)}")
    known = read.target if read.target in frame.columns else None if read.target == "" else frame.columns[-1]
    return RawTable(path.name, frame, known, (*read.said, *changes), form=read.form)


def size_of(frame: pl.DataFrame) -> str:
    """`150 rows of 5 columns`."""
    return f"{counted(frame.height, 'row')} of {counted(frame.width, 'column')}"


def _kind_of(path: Path) -> FileKind:
    """What the suffix says, if there is such a file."""
    suffixes = ", ".join(KINDS)
    if "\0" in str(path) or not os.path.exists(path):
        sets = ", ".join(DATA_SETS)
        raise InputError(
            f"There is no file {_told(path)}, and no data set of that name.{_near(path)} Give the path of a file "
            f"({suffixes}) or a name: {sets}."
        )
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix.lower() in KINDS)
        names = f" It holds {listed([shown(name) for name in inside])}." if inside else ""
        raise InputError(f"{_told(path)} is a folder: give the path of one file ({suffixes}).{names}")
    if path.suffix.lower() not in KINDS:
        raise InputError(
            f"{_told(path)} has the suffix {shown(path.suffix) or 'of no kind'}, and files of {suffixes} are read: "
            "save the table as one of these."
        )
    if not path.is_file():
        raise InputError(f"{_told(path)} is no regular file: save the table in a file first.")
    return KINDS[path.suffix.lower()]


def _near(path: Path) -> str:
    """The file or the data set that the name comes nearest to."""
    folder, names = path.parent, list(DATA_SETS)
    if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
        names += [file.name for file in folder.iterdir() if file.suffix.lower() in KINDS]
    return closest(path.name, names)


def _told(path: Path) -> str:
    """A path for people."""
    return shown(str(path), 200)
