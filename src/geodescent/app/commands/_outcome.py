"""What a fit comes to, whatever was fitted: the close of a command needs no more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodescent.app._entries import Entries
from geodescent.app.fitted import Fitted, Rows
from geodescent.app.runs import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Certified:
    """What is known at the end.

    Attributes:
        words: lines for people, of which those of an exact fit are technical.
        entries: the same for JSON.
        heading: above the words.
        short: what the lines mean, in plain words; empty where they are plain themselves.
    """

    words: str
    entries: Entries
    heading: str = "certificate at the end"
    short: str = ""


@dataclass(frozen=True)
class Path:
    """How the fit went.

    Attributes:
        history: columns of numbers, a row for each step, `cost` among them.
        kept: place of the kept point in it.
        axis: what `cost` is, for the label.
        picture: draws it.
        records: lines of the history that are not written yet.
    """

    history: Mapping[str, Rows]
    kept: int
    axis: str
    picture: "Callable[[], Figure] | None"
    records: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class FitOutcome:
    """What a fit comes to.

    Attributes:
        config: of the run.
        fitted: what predicts.
        result, sentence: how it ended: a name for programs, and a sentence.
        facts: more of the answer: cost, steps, seconds.
        rows: of the summary: a name and a text each.
        path: how the fit went.
        certified: made when it is asked for.
        story: what was fitted, a paragraph for anybody.
        notes: sentences for the user.
    """

    config: Config
    fitted: Fitted
    result: str
    sentence: str
    facts: Entries
    rows: tuple[tuple[str, str], ...]
    path: Path
    certified: Callable[[], Certified]
    story: str
    notes: tuple[str, ...]
