"""Tensors of what people hold their data in: arrays, lists, series and frames."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from geodescent._errors import InputError

Values = Tensor | ArrayLike
"""Numbers as a tensor, a NumPy array, a (nested) list, or a series or frame of pandas or polars."""

TOO_LARGE = "{what} holds {count} numbers beyond the range of {dtype}: call model.double(), or scale {what} down."
NAMED_COLUMNS = 5  # Columns that a sentence names before it breaks off.


@runtime_checkable
class Frame(Protocol):
    """A table with named columns: a frame of pandas or polars."""

    columns: list[str]

    def __getitem__(self, name: str) -> object: ...
    def to_numpy(self) -> object: ...


def tensor_of(values: object, like: Tensor, what: str, *, keep_integers: bool = False) -> Tensor:
    """The numbers as a tensor of this dtype and on this device; a tensor as it is.

    Args:
        values: a tensor, array, list, series or frame.
        like: has the dtype and device.
        what: their name, for messages.
        keep_integers: leave integers what they are, as `torch.int64`.

    Raises: InputError for text, dates, complex numbers and whatever holds no numbers, with the names of the columns.
    """
    if isinstance(values, Tensor):
        return values
    if isinstance(values, list) and values and all(isinstance(value, Tensor) for value in values):
        return torch.stack(values)
    array = _columns_of(values, what) if isinstance(values, Frame) else _numbers(values, what)
    if keep_integers and array.dtype.kind in "iub":
        return torch.from_numpy(np.array(array, dtype=np.int64, order="C")).to(like.device)
    with np.errstate(over="ignore"):
        rounded = np.array(array, dtype=str(like.dtype).removeprefix("torch."), order="C")
    beyond = int((np.isfinite(array) & ~np.isfinite(rounded)).sum())
    if beyond:
        raise InputError(TOO_LARGE.format(what=what, count=beyond, dtype=like.dtype))
    return torch.from_numpy(rounded).to(like.device)


def numbers_of(values: object, what: str) -> NDArray[np.float64]:
    """An array of the numbers in float64, a copy; masked and missing ones become NaN. Raises InputError as above."""
    array = _columns_of(values, what) if isinstance(values, Frame) else _numbers(values, what)
    return np.array(array, dtype=np.float64, order="C")


def converted_name(what: str, before: object) -> list[str]:
    """Its name, with what it was before it became a tensor; nothing of a tensor."""
    if before is None or isinstance(before, Tensor):
        return []
    kind = type(before)
    origin = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]} {kind.__name__}"
    return [f"{what} ({origin})"]


def conversion_note(names: list[str], like: Tensor) -> list[str]:
    """What there is to say of what was converted; nothing of tensors.

    Args:
        names: by `converted_name`.
        like: has the dtype and device.
    """
    if not names:
        return []
    joined = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    what = "Tensors" if len(names) > 1 else "A tensor"
    return [f"{what} of {like.dtype} on {like.device} {'were' if len(names) > 1 else 'was'} made of {joined}."]


def _columns_of(frame: Frame, what: str) -> NDArray[np.generic]:
    """The columns of a frame, side by side. Raises InputError, naming those that hold no numbers."""
    names = list(frame.columns)
    if len(set(names)) < len(names):
        raise InputError(f"columns of {what} have one name, among {names}: give each a name of its own.")
    columns, refused = list[NDArray[np.generic]](), dict[str, str]()
    for name in names:
        try:
            columns.append(_numbers(frame[name], f"column {name!r}"))
        except InputError as error:
            refused[name] = str(error).split(": ")[0]
    if refused:
        raise InputError(f"of {what} {'; '.join(refused.values())}: {_way_for_columns(frame, names, refused, what)}")
    if not columns:
        raise InputError(f"{what} has no columns: pass at least one.")
    return np.stack(columns, axis=1)


def _way_for_columns(frame: Frame, names: list[str], refused: dict[str, str], what: str) -> str:
    """How a frame becomes one of numbers, in the idiom of its library."""
    texts = [name for name, reason in refused.items() if "text" in reason]
    kept = [name for name in names if name not in refused]
    ways = [f"leave them out, {what}[{kept}]"] if kept else []
    if texts:
        polars = type(frame).__module__.startswith("polars")
        each = f"{what}.to_dummies({texts})" if polars else f"pandas.get_dummies({what}, columns={texts})"
        ways.append(f"make a column of numbers for each of their values, {each}")
    return ", or ".join(ways or ["turn them into numbers first"]) + "."


def _numbers(values: object, what: str) -> NDArray[np.generic]:
    """The values as an array of numbers. Raises InputError where they are none."""
    array = _array(values, what)
    kind = array.dtype.kind
    if kind == "O":
        return _from_objects(array, what)
    if kind in "US":
        raise InputError(_text(array, what, str(array.flat[0]) if array.size else ""))
    if kind in "Mm":
        raise InputError(
            f"{what} holds dates or times: pass numbers, for example days since the first, "
            f"({what} - {what}.min()) / numpy.timedelta64(1, 'D')."
        )
    if kind == "c":
        raise InputError(
            f"{what} holds complex numbers: pass both parts, numpy.stack([{what}.real, {what}.imag], axis=-1)."
        )
    if kind not in "fiub":
        raise InputError(f"{what} holds {array.dtype}: pass plain numbers, one column for each field.")
    return array


def _array(values: object, what: str) -> NDArray[np.generic]:
    if isinstance(values, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(values), np.nan, np.ma.getdata(values).astype(np.float64))
    if values is None or isinstance(values, (str, bytes, dict, set)) or callable(values):
        raise InputError(f"{what} is {type(values).__name__}: pass a tensor, an array, a list, a series or a frame.")
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US" and isinstance(values, (list, tuple)):
            array = np.asarray(values, dtype=object)  # numbers among texts are numbers still
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{what} is no array of numbers: its rows need one length. ({error})") from error
    if array.dtype.kind == "O" and array.ndim == 0:
        way = f"pass {what}.toarray()" if "sparse" in type(values).__module__ else "pass an array of numbers"
        raise InputError(f"{what} is {type(values).__name__}, from which no array can be made: {way}.")
    return array


def _from_objects(array: NDArray[np.generic], what: str) -> NDArray[np.generic]:
    """Numbers held as objects; missing ones become NaN."""
    texts = [value for value in array.flat if isinstance(value, (str, bytes))]
    if texts:
        raise InputError(_text(array, what, str(texts[0])))
    try:
        flat = [np.nan if value is None or type(value).__name__ == "NAType" else float(value) for value in array.flat]
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} holds what is no number: convert it first. ({error})") from error
    return np.array(flat).reshape(array.shape)


def _text(array: NDArray[np.generic], what: str, example: str) -> str:
    """Which columns of an array hold text, and what to do."""
    if array.ndim != 2:
        n = len({str(value) for value in array.flat})
        return (
            f"{what} holds text ({example!r}): pass numbers, for example a column for each of its {n} values, "
            f"numpy.eye({n})[numpy.unique({what}, return_inverse=True)[1]]."
        )
    columns = [j for j in range(array.shape[1]) if not all(_is_number(value) for value in array[:, j])]
    kept = [j for j in range(array.shape[1]) if j not in columns]
    named = ", ".join(map(str, columns[:NAMED_COLUMNS])) + (" …" if len(columns) > NAMED_COLUMNS else "")
    way = f"numpy.array({what}, dtype=object)[:, {kept}].astype(float)" if kept else "numbers in their place"
    return f"column {named} of {what} holds text ({example!r}): leave it out, {way}."


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
