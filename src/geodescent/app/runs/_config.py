"""Everything that rebuilds a run: what was fitted to which columns, and how; the content of config.json."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geodescent.app._entries import Entries
from geodescent.app.fitted import Mode, NetworkChoice, Rows, ScaledData, Scaling
from geodescent.app.tables import Encoding, TargetColumn

CONFIG_FORMAT = 2  # Of config.json: 1 knew the data of scikit-learn alone, by their name.
MODES_OF_RUNS = ("posterior", "exact")
"""How a run is fitted in the end; "auto" has decided for one of them."""
DIGEST_BYTES_OF_A_TABLE = 16  # Tables that differ have the same digest by chance alone.


@dataclass(frozen=True)
class DataFacts:
    """Which table was fitted, and which rows of it.

    Attributes:
        name: of the data set, or of the file without its folder.
        digest: of the numbers that the table was made of; another table has another one.
        seed: of the split and of the start.
        test_size: fraction of the rows in the test part.
    """

    name: str
    digest: str
    seed: int
    test_size: float


@dataclass(frozen=True)
class Config:
    """Everything that rebuilds what a run has fitted.

    Attributes:
        command: that made the run.
        data: which table, and which rows of it.
        mode: how it is fitted.
        target: the column that is predicted.
        encoding: how the other columns become numbers.
        network, scaled: of the exact mode; None for a posterior.
        options: of the command.
        versions: of the packages.
    """

    command: str
    data: DataFacts
    mode: Mode
    target: TargetColumn
    encoding: Encoding
    network: NetworkChoice | None
    scaled: ScaledData | None
    options: Entries
    versions: Mapping[str, str]

    @property
    def n_inputs(self) -> int:
        """d, numbers that a row becomes."""
        return len(self.encoding.feature_names)

    @property
    def n_outputs(self) -> int:
        """Q: one output per class, one for a regression."""
        return max(1, len(self.target.classes))

    @property
    def widths(self) -> str:
        """The network's widths, such as 64-256-256-10."""
        hidden = () if self.network is None else self.network.hidden
        return "-".join(map(str, (self.n_inputs, *hidden, self.n_outputs)))

    @property
    def network_name(self) -> str:
        """Widths and activation, such as 64-256-256-10 tanh."""
        return self.widths if self.network is None else f"{self.widths} {self.network.activation}"

    def as_dict(self) -> Entries:
        """All of it, for JSON."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found["data"] = dataclasses.asdict(self.data)
        found["target"], found["encoding"] = self.target.as_dict(), self.encoding.as_dict()
        found["network"] = None if self.network is None else dataclasses.asdict(self.network)
        found["scaled"] = None if self.scaled is None else self.scaled.as_dict()
        found["options"], found["versions"] = dict(self.options), dict(self.versions)
        return {"format": CONFIG_FORMAT, **found}

    @classmethod
    def from_dict(cls, entries: Entries) -> "Config":
        """The inverse of `as_dict`. Raises ValueError, TypeError or KeyError for anything else."""
        entries = dict(entries)
        if entries.pop("format") != CONFIG_FORMAT:
            raise ValueError("its format is not the one of this version")
        network, scaled = entries["network"], entries["scaled"]
        if entries["mode"] not in MODES_OF_RUNS:
            raise ValueError(f"its mode is none of {', '.join(MODES_OF_RUNS)}")
        if (network is None) != (scaled is None) or (network is None) != (entries["mode"] == "posterior"):
            raise ValueError("network, scaling and mode do not go together")
        entries["data"] = DataFacts(**entries["data"])
        entries["target"] = TargetColumn.from_dict(entries["target"])
        entries["encoding"] = Encoding.from_dict(entries["encoding"])
        entries["network"] = None if network is None else _network(network)
        entries["scaled"] = None if scaled is None else _scaled(scaled)
        config = cls(**entries)
        if config.scaled is not None:
            config.scaled.inputs.apply(np.zeros((1, config.n_inputs)))
        return config


def digest_of(target: TargetColumn, encoding: Encoding, inputs: Rows, targets: Rows) -> str:
    """Of the names of the columns, and the numbers of all rows, inputs (N, d) and targets (N,)."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES_OF_A_TABLE)
    digest.update("\0".join([target.name, *encoding.feature_names]).encode())
    for numbers in (inputs, targets):
        digest.update(np.ascontiguousarray(numbers, dtype=np.float64).data)
    return digest.hexdigest()


def _network(entries: Entries) -> NetworkChoice:
    choice = NetworkChoice(**entries)
    return dataclasses.replace(choice, hidden=tuple(choice.hidden))


def _scaled(entries: Entries) -> ScaledData:
    targets = entries["targets"]
    return ScaledData(Scaling.from_dict(entries["inputs"]), None if targets is None else Scaling.from_dict(targets))
