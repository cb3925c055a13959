"""A table becomes numbers, by rules for its columns that its training rows alone decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from geodescent._errors import InputError
from geodescent.app.tables._entries import dict_of, list_of, require_keys, text_of
from geodescent.app.tables._learn import learn
from geodescent.app.tables._level_rules import CategoryRule, DateRule
from geodescent.app.tables._room import room_for
from geodescent.app.tables._rules import BooleanRule, ColumnRule, EncodedColumn, LeftOutRule, NumberRule
from geodescent.app.tables._shown import closest, counted, listed, quoted, shown
from geodescent.app.tables._standard import MOST_DEVIATIONS, Numbers, common_standard
from geodescent.app.tables.reading import MOST_COLUMNS

KINDS_OF_RULES = {
    "number": NumberRule.from_dict,
    "boolean": BooleanRule.from_dict,
    "category": CategoryRule.from_dict,
    "date": DateRule.from_dict,
    "left out": LeftOutRule.from_dict,
}
"""How each kind of rule is read from a file."""


@dataclass(frozen=True)
class Encoded:
    """Numbers of a table.

    Attributes:
        inputs: `(n, d)`, float64, finite, row after row in memory.
        account: sentences on entries and columns that were not taken as they are.
    """

    inputs: Numbers
    account: tuple[str, ...]


@dataclass(frozen=True)
class Encoding:
    """Rules that make numbers of the columns of a table.

    Attributes:
        columns: one rule for each column of the training part, the target apart.
    """

    columns: tuple[ColumnRule, ...]

    @staticmethod
    def of(frame: pl.DataFrame, target_name: str | None, *, image: bool = False) -> "Encoding":
        """The rules that training rows decide.

        Args:
            frame: training rows alone.
            target_name: the column that is no input.
            image: whether the columns are pixels, which have one common scale.

        Raises:
            InputError: no column can be used.
        """
        inputs = [column for column in frame if column.name != target_name]
        if image:
            common = common_standard(np.column_stack([column.to_numpy() for column in inputs]).astype(np.float64))
            return Encoding(tuple(NumberRule(column.name, common, missing=False) for column in inputs))
        rules = tuple(learn(column) for column in inputs)
        if not any(rule.features for rule in rules):
            rules = tuple(learn(column, keep_counts=True) for column in inputs)
        if not any(rule.features for rule in rules):
            reasons = listed([f"{quoted(rule.name)} ({rule.what()})" for rule in rules]) or "it has only the target"
            raise InputError(f"No column of the table can be used as an input: {reasons}. Add columns that tell more.")
        return Encoding(rules)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the d numbers of a row."""
        return tuple(name for rule in self.columns for name in rule.features)

    @property
    def used(self) -> tuple[ColumnRule, ...]:
        """The rules of the columns that are not left out."""
        return tuple(rule for rule in self.columns if rule.features)

    def apply(self, frame: pl.DataFrame) -> Encoded:
        """Numbers of the rows of a table; its columns are matched by name, in whatever order they stand.

        Raises:
            InputError: a column is missing, or holds entries of another kind than in the training part.
        """
        self._require_columns(frame.columns)
        room_for(3.0 * 8.0 * frame.height * len(self.feature_names), "The table as numbers")
        columns = [rule.encode(frame[rule.name]) for rule in self.used]
        inputs = np.ascontiguousarray(np.concatenate([column.values for column in columns], axis=1), dtype=np.float64)
        return Encoded(inputs, tuple(self._account(columns, frame.columns)))

    def table(self) -> tuple[tuple[str, str, str], ...]:
        """For every column its name, its kind and what is done with it."""
        return tuple((shown(rule.name), rule.kind, rule.what()) for rule in self.columns)

    def as_dict(self) -> dict[str, object]:
        """The rules, for JSON."""
        return {"columns": [rule.as_dict() for rule in self.columns]}

    @staticmethod
    def from_dict(entries: Mapping[str, object]) -> "Encoding":
        """The inverse of `as_dict`, of a file that somebody else may have written.

        Raises:
            KeyError, TypeError, ValueError: the entries are not those of an encoding.
        """
        require_keys(dict_of(entries), ("columns",))
        told = [dict_of(entry) for entry in list_of(entries["columns"], MOST_COLUMNS)]
        rules = tuple(KINDS_OF_RULES[text_of(entry["kind"])](entry) for entry in told)
        if len({rule.name for rule in rules}) < len(rules) or not any(rule.features for rule in rules):
            raise ValueError("a column twice, or none that is used")
        return Encoding(rules)

    def _require_columns(self, names: Sequence[str]) -> None:
        """Raises InputError for a column that is not there."""
        there = set(names)
        missing = [rule.name for rule in self.used if rule.name not in there]
        if missing:
            hint = closest(missing[0], [name for name in names if name not in {rule.name for rule in self.columns}])
            raise InputError(
                f"The table lacks {counted(len(missing), 'column')} that the fit used: "
                f"{listed([quoted(name) for name in missing])}.{hint} Columns are matched by name: add what is missing."
            )

    def _account(self, columns: Sequence[EncodedColumn], names: Sequence[str]) -> list[str]:
        """What was not taken as it is, over all columns."""
        n = ("entry", "entries")
        said = [
            self._counts([c.infinite for c in columns], n, "infinite or beyond 1e100, and counted as missing"),
            self._counts([c.missing for c in columns], n, "missing, and filled"),
            self._counts([c.marked for c in columns], n, "missing, and taken as a value of its own"),
            self._counts(
                [c.far for c in columns],
                ("number", "numbers"),
                f"beyond the limits of the training part ({MOST_DEVIATIONS:.0f} standard deviations, or less where the "
                "table of columns says so), and moved to them",
            ),
            self._counts([c.unseen for c in columns], n, "of levels that the training part does not show"),
        ]
        unused = sorted(set(names) - {rule.name for rule in self.columns})
        if unused:
            said.append(f"Not used, as the fit did not know them: {listed([quoted(name) for name in unused])}.")
        return [sentence for sentence in said if sentence]

    def _counts(self, counts: Sequence[int], noun: tuple[str, str], what: str) -> str:
        """A sentence with the number over all columns and over each; empty where there is none."""
        total = sum(counts)
        pairs = zip(self.used, counts, strict=True)
        places = listed([f"{quoted(rule.name)} {count:,}" for rule, count in pairs if count])
        return f"{counted(total, *noun)} {'is' if total == 1 else 'are'} {what}: {places}." if total else ""
