"""Text from files made safe to print: control characters become visible, and long texts and lists are shortened."""

from collections.abc import Sequence
from difflib import get_close_matches

LONGEST_SHOWN = 60  # Characters: longer names and values would hide the sentence that they stand in.
MOST_LISTED = 6  # Names in a sentence: of more, the number says enough.


def shown(text: str, most: int = LONGEST_SHOWN) -> str:
    """The text with every character that does not print written as its escape, such as `\\x1b`.

    Args:
        text: from a file; headers and levels may hold anything.
        most: characters; a longer text ends in `…`.
    """
    visible = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text[: most + 1]
    )
    return visible if len(visible) <= most else visible[: most - 1] + "…"


def quoted(text: str) -> str:
    """The same between quotation marks."""
    return f"'{shown(text)}'"


def listed(parts: Sequence[str]) -> str:
    """The parts with commas between them, the first few of many."""
    more = len(parts) - MOST_LISTED
    return ", ".join(parts) if more <= 0 else ", ".join(parts[:MOST_LISTED]) + f" and {more} more"


def counted(n: int, noun: str, plural: str = "") -> str:
    """`1 row`, `2 rows`, `1,200 entries`."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def closest(name: str, names: Sequence[str]) -> str:
    """A question that names what comes nearest, or nothing."""
    by_small_letters = {other.casefold(): other for other in reversed(names)}
    near = get_close_matches(name.casefold(), list(by_small_letters), n=1)
    return f" Did you mean {quoted(by_small_letters[near[0]])}?" if near else ""
