"""Entries of a JSON file that somebody else may have written: each is checked for its type, its size and its range."""

import math
from collections.abc import Mapping, Sequence

Entries = Mapping[str, object]

LONGEST_TEXT = 100_000  # Characters of a name or a level: no CSV field is longer.


def require_keys(entries: Entries, keys: Sequence[str]) -> None:
    """Raises KeyError unless these and no others are there."""
    if set(entries) != set(keys):
        raise KeyError(f"entries {sorted(map(str, entries))}, where {sorted(keys)} are needed")


def text_of(value: object) -> str:
    """The value, if it is text. Raises TypeError or ValueError."""
    match value:
        case str() if len(value) <= LONGEST_TEXT:
            return value
        case str():
            raise ValueError(f"a text of {len(value)} characters")
    raise TypeError(f"{type(value).__name__} in the place of a text")


def texts_of(value: object, most: int) -> tuple[str, ...]:
    """The value, if it is a list of at most `most` different texts. Raises TypeError or ValueError."""
    texts = tuple(text_of(entry) for entry in list_of(value, most))
    if len(set(texts)) < len(texts):
        raise ValueError("a list that holds a text twice")
    return texts


def list_of(value: object, most: int) -> list[object]:
    """The value, if it is a list of at most `most` entries. Raises TypeError or ValueError."""
    match value:
        case list() | tuple() if len(value) <= most:
            return list(value)
        case list() | tuple():
            raise ValueError(f"a list of {len(value)} entries, where at most {most} may be")
    raise TypeError(f"{type(value).__name__} in the place of a list")


def flag_of(value: object) -> bool:
    """The value, if it is true or false. Raises TypeError."""
    match value:
        case bool():
            return value
    raise TypeError(f"{type(value).__name__} in the place of true or false")


def number_of(value: object) -> float:
    """The value, if it is a finite number. Raises TypeError or ValueError."""
    match value:
        case bool():
            raise TypeError("true or false in the place of a number")
        case int() | float() if math.isfinite(value):
            return float(value)
        case int() | float():
            raise ValueError(f"{value} in the place of a finite number")
    raise TypeError(f"{type(value).__name__} in the place of a number")


def dict_of(value: object) -> dict[str, object]:
    """The value, if it is an object of names and entries. Raises TypeError."""
    match value:
        case dict():
            return {text_of(key): entry for key, entry in value.items()}
    raise TypeError(f"{type(value).__name__} in the place of an object")
