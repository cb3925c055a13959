"""A differential equation as its file says it, its solution, and how far that is from a reference."""

import ast
import io
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch

from geodescent._errors import InputError
from geodescent._record import Callback
from geodescent.app.equations._compared import Compared
from geodescent.app.equations._users_file import asked_of_file
from geodescent.app.equations._values import values_csv
from geodescent.doors import Solution, fit
from geodescent.pde import System, plot, refine

HERE = Path(__file__).parent
USUAL_SECONDS = 30.0  # Of a file that says none: most equations are solved to six digits by then.
COMPARING_FAILS = "its reference() or table() fails"


@dataclass(frozen=True)
class Example:
    """A differential equation in a file.

    Attributes:
        name: of the file.
        path: of the file.
        module: what it says.
    """

    name: str
    path: Path
    module: ModuleType

    @property
    def title(self) -> str:
        """One sentence."""
        return _title(self.module.__doc__, self.name)

    @property
    def equation(self) -> str:
        """The equation in one line, the second paragraph of the file's docstring; empty where it has none."""
        return _equation(self.module.__doc__)

    @property
    def source(self) -> str:
        """The file."""
        return self.path.read_text(encoding="utf-8")

    @property
    def seconds(self) -> float:
        """How long it is solved for where nobody says."""
        return self._number("seconds", USUAL_SECONDS)

    @property
    def refinements(self) -> int:
        """How often points are added."""
        return int(self._number("refinements", 0))

    def _number(self, name: str, usual: float) -> float:
        """A number that the file may say. Raises InputError, where it says something else."""
        said = getattr(self.module, name, usual)
        if isinstance(said, bool) or not isinstance(said, int | float) or not (math.isfinite(said) and said >= 0):
            raise InputError(f"{self.path}: {name} = {said!r}, where a number from 0 on is needed: {name} = {usual:g}.")
        return float(said)

    @cached_property
    def reference(self) -> Compared:
        """What solutions are compared with."""
        return asked_of_file(partial(Compared.of, self.module), self.path, f"{self.path}: {COMPARING_FAILS}")

    def require_sound(self) -> None:
        """Reads numbers and reference, so that what fails in the file fails before the fit. Raises InputError."""
        _ = self.seconds, self.refinements, self.reference

    def run(self, seconds: float | None = None, *, seed: int = 0, callback: Callback | None = None) -> "SolvedEquation":
        """Solves the equation; where the file asks for points to be added, in equal shares of the time.

        Args:
            seconds: of the fit; None for as many as the file says.
            seed: of the network's start, and of noise where measurements have some.
            callback: called after each accepted step of the first fit.

        Raises: InputError, before any fit, for a file whose system, reference, table or true values cannot be used.
        """
        seconds, rounds = self.seconds if seconds is None else seconds, self.refinements
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            system = asked_of_file(self.module.system, self.path, f"{self.path}: system() fails")
        if not isinstance(system, System):
            raise InputError(f"{self.path}: system() returns {type(system).__name__}: a pde.System is needed.")
        self._require_comparable(system)
        begin, processor = time.perf_counter(), time.process_time()
        first = partial(fit, system, max_seconds=seconds / (rounds + 1), callback=callback)
        solution = asked_of_file(first, self.path, f"{self.path}: the fit fails")
        for number in range(rounds):
            share, rows = (seconds - (time.perf_counter() - begin)) / (rounds - number), system.problem().n_residuals
            if share > 0.0:
                solution = refine(system, solution, max_seconds=share, seed=number)
                if system.problem().n_residuals == rows:  # what limits is the time
                    solution = fit(system, max_seconds=share, initialise=False)
        took, used = time.perf_counter() - begin, time.process_time() - processor
        return SolvedEquation(self, system, solution, seconds=took, processor_seconds=used)

    def _require_comparable(self, system: System) -> None:
        """Raises InputError, where what the file compares with fails, or is not of this system."""
        reference = self.reference
        try:
            asked_of_file(partial(reference.require_of, system), self.path, COMPARING_FAILS)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None


@dataclass(frozen=True)
class SolvedEquation:
    """An equation solved.

    Attributes:
        example: which.
        system: with the fitted network.
        solution: of the last fit.
        seconds, processor_seconds: of all fits, by the clock of the wall and that of the processor.
    """

    example: Example
    system: System
    solution: Solution
    seconds: float
    processor_seconds: float

    @cached_property
    def error(self) -> float | None:
        """RMS of û − u over that of u, all fields together; None where there is nothing to compare the fields with."""
        return self.example.reference.error(self.system)

    @property
    def off(self) -> Mapping[str, float]:
        """How far each unknown is from its true value, relative; empty where none is known."""
        truth = self.example.reference.truth
        return {name: abs(self.solution.unknowns[name].value - true) / abs(true) for name, true in truth.items()}

    @property
    def n_points(self) -> int:
        """Of all terms together."""
        return sum(block.map.shape[0] for block in self.system.problem().blocks)

    @property
    def notes(self) -> list[str]:
        """Sentences of the fit, for the user."""
        notes = self.solution.stats["notes"]
        return list(map(str, notes)) if isinstance(notes, Iterable) else []

    def values(self) -> str:
        """The fields at points, beside their reference, as the content of a CSV file."""
        return values_csv(self.system, self.example.reference)

    def picture(self, dots: int) -> bytes:
        """Fields, errors and residual, and the curve of each term, as the content of a PNG file.

        Args:
            dots: per inch, of which the picture is 10.5 wide.
        """
        from matplotlib import pyplot

        figure, content = plot(self.solution, self.example.reference.function), io.BytesIO()
        figure.savefig(content, format="png", dpi=dots)
        pyplot.close(figure)
        return content.getvalue()

    def sentence(self) -> str:
        """How far the solution is from what it was compared with, and every unknown that was found."""
        parts = [] if self.error is None else [f"off the reference by {self.error:.1e}, relative"]
        for name, found in self.solution.unknowns.items():
            shown = f"{found.value:.10g}" if math.isnan(found.standard_error) else str(found)
            off = f", off by {self.off[name]:.1e}, relative" if name in self.off else ""
            parts.append(f"{name} = {shown}{off}")
        compared = self.error is not None or self.off
        return "; ".join([*parts, *([] if compared else ["there is no reference to compare it with"])])


def names_of_examples() -> dict[str, str]:
    """Name → one sentence, of all examples, in the order of their folders."""
    return {
        name: _title(ast.get_docstring(ast.parse(path.read_text("utf-8"))), name) for name, path in _paths().items()
    }


def read_example(name: str) -> Example:
    """The example of this name, or the one in this file.

    Raises: InputError, where there is none, and where its file says no system.
    """
    paths = _paths()
    path = Path(name) if name.endswith(".py") else paths.get(name.replace("-", "_"))
    if path is None or not path.is_file():
        if name.endswith(".py"):
            raise InputError(f"{name!r}: there is no such file here.")
        near = get_close_matches(name, paths, 1)
        meant = f"did you mean {near[0]}? Known are " if near else ""
        raise InputError(f"{name!r} is not known: {meant}{', '.join(paths)}, or a .py file that says system().")
    spec = spec_from_file_location(f"equation_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    asked_of_file(partial(spec.loader.exec_module, module), path, f"{path} cannot be run")
    said = getattr(module, "system", None)
    if isinstance(said, System) or not callable(said):
        raise InputError(
            f"{path} says no system(): a function without arguments that returns a pde.System is needed, "
            "def system(): … return pde.System(…)."
        )
    return Example(path.stem, path, module)


def _paths() -> dict[str, Path]:
    return {path.stem: path for path in sorted(HERE.glob("*/*.py"))}


def _title(docstring: str | None, name: str) -> str:
    return (docstring or name).strip().split("\n")[0]


def _equation(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().split("\n\n")[1:2]).replace("\n", " ")
