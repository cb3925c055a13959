"""`geodescent solve`: a differential equation that the package knows, or one in a file."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodescent._files import write_whole
from geodescent._memory import MB, highest_bytes
from geodescent._record import StepRecord
from geodescent.app._entries import Entries
from geodescent.app.commands._commands import RunOptions
from geodescent.app.commands._interrupted import saying_what_is_kept
from geodescent.app.report import Answer, EquationFacts, ProgressBar, equation_page, in_options, summary
from geodescent.app.runs import REPORT, RESULT, RunFolder, encoded, named_folder

if TYPE_CHECKING:  # they import all of torch's numerics, which the help does not need
    from geodescent.app.equations import Example, SolvedEquation

PICTURE, VALUES, SOURCE = "solution.png", "solution.csv", "equation.py"
"""Names of files in the folder of the run."""
DOTS_OF_PICTURE = 110  # Per inch: the picture is then 1,150 points wide, as a screen shows it.


@dataclass(frozen=True)
class SolveOptions:
    """Which equation is solved.

    Attributes:
        name: of an example, or of a .py file that says `system()`.
        seconds: of the fit; None for as many as the file says.
        seed: of the network's start, and of noise where there is some.
    """

    name: str
    seconds: float | None
    seed: int


def list_equations(answer: Answer) -> Entries:
    """The names of all examples, with a sentence each."""
    from geodescent.app.equations import names_of_examples

    names = names_of_examples()
    answer.say(summary(names.items()))
    answer.say("\ngeodescent solve NAME solves one; with --source it prints the file to begin from.")
    return {"equations": names}


def source_of_equation(name: str) -> str:
    """The file of an example."""
    from geodescent.app.equations import read_example

    return read_example(name).source


def solve_equation(options: SolveOptions, run: RunOptions, answer: Answer) -> Entries:
    """Solves, says how well, and writes values, picture and page: the answer, a mapping for JSON."""
    from geodescent.app.equations import read_example

    example = read_example(options.name)
    example.require_sound()
    folder = RunFolder(named_folder(run.out, name=f"{example.name}-solve"))
    answer.say(example.title)
    with folder.alone(), saying_what_is_kept(folder.path, resumable=False):
        solved = _solved(example, options, run)
        return _told(solved, folder, answer)


def _solved(example: "Example", options: SolveOptions, run: RunOptions) -> "SolvedEquation":
    seconds = example.seconds if options.seconds is None else options.seconds
    with ProgressBar("C_lin", until=seconds, verbose=run.verbose) as bar:

        def show(record: StepRecord) -> None:
            terms = "  ".join(f"{name} {rms:.1e}" for name, rms in record.block_rms.items())
            bar.say(f"step {record.step}  {terms}", completed=min(1.0, record.time / seconds) if seconds else 1.0)

        return example.run(seconds, seed=options.seed, callback=show)


def _told(solved: "SolvedEquation", folder: RunFolder, answer: Answer) -> Entries:
    """Says and writes all that there is."""
    residuals, notes = solved.solution.residuals(), list(map(in_options, solved.notes))
    table = "\n".join([residuals.numbers, *map(in_options, residuals.sentences)])
    rows = [
        ("compared", solved.sentence()),
        ("result", in_options(solved.solution.result.value)),
        ("network", f"{len(solved.solution.theta):,} parameters, {solved.n_points:,} points"),
        ("time", f"{solved.solution.steps} steps in {solved.seconds:.3g} s"),
        *(("note", note) for note in notes),
    ]
    answer.say(f"\n{summary(rows)}\n\n{table}\n")
    facts = EquationFacts(solved.example.title, rows, table, solved.picture(DOTS_OF_PICTURE), solved.example.source)
    content = {
        "equation": solved.example.name,
        "error": solved.error,
        "unknowns": {
            name: {"value": found.value, "standard_error": _finite(found.standard_error), "off": solved.off.get(name)}
            for name, found in solved.solution.unknowns.items()
        },
        "result": solved.solution.result.name,
        "cost": solved.solution.cost,
        "steps": solved.solution.steps,
        "seconds": solved.seconds,
        "parameters": len(solved.solution.theta),
        "points": solved.n_points,
        "residuals": [vars(row) for row in residuals],
        "notes": notes,
        "peak_mb": highest_bytes() / MB,
        "run": str(folder.path),
        "report": str(folder.path / REPORT),
        "values": str(folder.path / VALUES),
    }
    files = {
        REPORT: equation_page(facts).encode(),
        PICTURE: facts.picture,
        VALUES: solved.values().encode(),
        SOURCE: facts.source.encode(),
        RESULT: encoded(content),
    }
    for name, data in files.items():
        write_whole(folder.path / name, data)
    answer.say(summary([("written", f"{folder.path}: {', '.join(files)}")]))
    return content


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
