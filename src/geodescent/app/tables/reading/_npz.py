"""Archives of numpy arrays: their headers are read first, so that nothing is unpickled and no archive bursts."""

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geodescent._errors import InputError
from geodescent.app.tables._room import room_for
from geodescent.app.tables._series import as_texts
from geodescent.app.tables._shown import counted, listed, quoted, shown
from geodescent.app.tables.reading._form import FileRead
from geodescent.app.tables.reading._headers import column_names
from geodescent.app.tables.reading._known import TARGET_NAME

Array = NDArray[np.generic]

HELD = 3.0  # Times the bytes of an array: it is read, cut into columns, and turned into plain types.
READABLE = "biufUSM"
"""Kinds of entries (numpy's letters): booleans, numbers, text and dates. Objects would have to be unpickled."""
LAYOUTS = (
    "Understood are X (n, d) with y (n,) and, if you like, feature_names (d,); one array (n, d); or several arrays "
    "(n,), each of them a column."
)
DAMAGES = (ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What zipfile and numpy raise of an archive that is damaged, encrypted or packed by an unknown method."""


def frame_of_arrays(path: Path) -> FileRead:
    """The columns of an .npz archive, and the name of its target: the empty text where it has none.

    Raises:
        InputError: no archive, a damaged one, arrays of objects, arrays that do not fit together, or ones that unpack
            to more than the memory holds.
    """
    name = shown(path.name)
    try:
        _require_plain(path, name)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except InputError:
        raise
    except DAMAGES as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{name} cannot be read as an archive of arrays ({shown(reason, 120)}): write it again by numpy.savez."
        ) from error
    frame, target = _framed_arrays(arrays, name)
    shapes = ", ".join(f"{shown(key)} {array.shape}" for key, array in list(arrays.items())[:6])
    return FileRead(frame, target, (f"{name} was read as arrays: {shapes}.",))


def _require_plain(path: Path, name: str) -> None:
    """Raises InputError for an array of objects, and where the arrays would not fit into memory."""
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            shape, kind = _header(archive, member.filename)
            if kind.hasobject:
                raise InputError(
                    f"{name} holds Python objects in {quoted(member.filename)}, which are never unpickled, as that "
                    "could run foreign code: save plain numbers or text."
                )
            if kind.kind not in READABLE or min(shape, default=1) < 0:
                raise InputError(f"{name} holds {quoted(member.filename)} of type {shown(str(kind))}. {LAYOUTS}")
            total += math.prod(shape) * max(kind.itemsize, 1)
    room_for(HELD * total, name)


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array, by its header alone."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # later ones have headers of up to 4 GB, for records of many fields
            raise ValueError(f"{member} has a header of version {version}")
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
    return shape, kind


def _framed_arrays(arrays: Mapping[str, Array], name: str) -> tuple[pl.DataFrame, str | None]:
    """The frame of one of the `LAYOUTS`, and its target."""
    if "X" in arrays:
        return _framed_inputs(arrays, name)
    if len(arrays) == 1 and next(iter(arrays.values())).ndim == 2:
        return _framed_matrix(next(iter(arrays.values())), (), name), None
    lengths = {array.shape[0] for array in arrays.values() if array.ndim == 1}
    if len(lengths) != 1 or any(array.ndim != 1 for array in arrays.values()):
        shapes = listed([f"{shown(key)} {array.shape}" for key, array in arrays.items()]) or "no array"
        raise InputError(f"{name} holds {shapes}. {LAYOUTS}")
    column_names(list(arrays), name)
    return pl.DataFrame([_series(key, array) for key, array in arrays.items()]), None


def _framed_inputs(arrays: Mapping[str, Array], name: str) -> tuple[pl.DataFrame, str]:
    """X, and y where there is one."""
    inputs, targets = arrays["X"], arrays.get("y")
    others = [key for key in arrays if key not in ("X", "y", "feature_names")]
    names = np.ravel(arrays.get("feature_names", np.array([], dtype=str)))
    fits = targets is None or (len(targets) == len(inputs) and targets.size == len(targets)) if inputs.ndim else False
    if inputs.ndim != 2 or not fits or others or (names.size and names.size != inputs.shape[1]):
        shapes = listed([f"{shown(key)} {array.shape}" for key, array in arrays.items()])
        raise InputError(f"{name} holds {shapes}, which do not fit together. {LAYOUTS}")
    told = [as_texts(_series("names", names))[j] for j in range(names.size)]
    frame = _framed_matrix(inputs, told, name)
    if targets is None:
        return frame, ""
    column_names([*frame.columns, TARGET_NAME], name)
    return frame.with_columns(_series(TARGET_NAME, targets.ravel())), TARGET_NAME


def _framed_matrix(inputs: Array, names: list[str] | tuple[()], name: str) -> pl.DataFrame:
    """One column for each column of an array `(n, d)`."""
    header = list(names) or [""] * inputs.shape[1]
    if not inputs.size:
        raise InputError(f"{name} holds an array of shape {inputs.shape}: {counted(0, 'entry', 'entries')}. {LAYOUTS}")
    columns, _ = column_names(header, name)
    return pl.DataFrame([_series(column, inputs[:, j]) for j, column in enumerate(columns)])


def _series(name: str, array: Array) -> pl.Series:
    """A column of an array, in the machine's byte order: bytes as text, small numbers as real ones."""
    if array.dtype.kind == "S":
        return pl.Series(name, [entry.decode("utf-8", "backslashreplace") for entry in array.tolist()], dtype=pl.String)
    if array.dtype.kind == "U":
        return pl.Series(name, array.tolist(), dtype=pl.String)
    if array.dtype.kind == "f":
        return pl.Series(name, np.ascontiguousarray(array, dtype=np.float64))
    if array.dtype.kind == "M":
        return pl.Series(name, array.astype("datetime64[us]"))
    return pl.Series(name, np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
