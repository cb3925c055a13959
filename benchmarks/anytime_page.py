"""ANYTIME.md, docs/anytime.png, and the tables of README.md and docs/measured.md, from the lines of anytime.py.

    python benchmarks/anytime_page.py

Ends with status 1 and says what is missing, after everything that is there was written.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, median

from anytime import FILE, SEEDS, unit_of, unrest
from anytime_curves import at
from anytime_figure import figure
from anytime_peers import FIRST, FULL_BATCH, IN_BATCHES, LAST, PLAIN, SETTINGS, SUITED, moments
from anytime_standing import RIVALS, CaseLines, Rivalry, lacking, newest
from protocol import Line
from readme import MEASURED, README, ROOT, put
from results import HERE, read
from table import joined

PAGE, FIGURE = HERE / "ANYTIME.md", ROOT / "docs" / "anytime.png"
ABREAST = 3  # Cases in a row of the README's table.


def main() -> None:
    """Writes the page, the figure and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="of the runs that are shown")
    parser.add_argument("--lines", type=Path, default=FILE, help="another file of lines")
    parser.add_argument("--out", type=Path, help="another folder for page and figure; the tables elsewhere are left")
    arguments = parser.parse_args()
    lines = newest(read(arguments.lines), arguments.threads)
    cases = [CaseLines(case, [line for line in lines if line["case"] == case]) for case in LAST]
    shown = [one for one in cases if one.seeds]
    if not shown:
        sys.exit(f"no runs with {arguments.threads} threads yet: make anytime makes them.")
    (arguments.out / PAGE.name if arguments.out else PAGE).write_text("\n".join(page(shown, lines)) + "\n")
    figure(shown, arguments.out / FIGURE.name if arguments.out else FIGURE)
    if not arguments.out:
        put(README, "any time", in_short(shown))
        put(MEASURED, "any time", areas(shown))
    missing = lacking(cases, SEEDS)
    if missing:
        sys.exit("missing: " + "; ".join(missing))


def page(cases: list[CaseLines], lines: list[Line]) -> list[str]:
    """The whole document."""
    parts = ["# Cost against time on large networks", "", *preamble(lines), ""]
    parts += ["![Cost against time](../docs/anytime.png)", "", "## The areas between the curves", ""]
    parts += [*areas(cases), ""]
    for one in cases:
        parts += [f"## {one.case}", "", *costs(one), "", *notes(one), ""]
    return parts[:-1]


def preamble(lines: list[Line]) -> list[str]:
    """What was measured, on what."""
    done = [line for line in lines if "gradient_seconds" in line]
    versions = {name: v for line in done for name, v in (line["versions"] | line.get("jax_versions", {})).items()}
    rates, drift = [line["product_gflops"] for line in done], [unrest(line) for line in done]
    threads = joined({str(line["threads"]) for line in done})
    return [
        "Made by `make anytime`; what runs is said in `anytime.py`, every run is a line of `anytime.jsonl`. The unit",
        "of time is one full-batch gradient of the cost, forward and backward, measured in the process of each run",
        "just before it and just after. Of `gd.fit` everything counts from the call on; libraries are loaded and warm",
        "for everyone. A peer is the least cost of all its runs at each moment: its settings, and where the rate falls",
        "by a cosine also shorter runs. Costs are C = ‖x − y‖²/(2N) of all samples, medians over the seeds, at",
        f"{FIRST} gradients and every doubling.",
        "",
        f"{len(lines)} runs on {joined({line['device'] for line in done})}, threads: {threads}; commits: "
        f"{joined({line['commit'] for line in lines})}. A 1000 × 1000 float64 product ran at {min(rates):.0f} to "
        f"{max(rates):.0f} GF/s, median {median(rates):.0f}. From before a run to after it the unit changed by a "
        f"factor of {median(drift):.2f} in the median, of {max(drift):.2f} at most.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".",
    ]


def areas(cases: list[CaseLines]) -> list[str]:
    """Ours against both rivals, a row a case."""
    head = ["case", "seeds", "a gradient, ms", "our start", "our first step"]
    head += [words for name in RIVALS for words in (f"decades below {name}", "behind at")]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for one in cases:
        unit = 1e3 * median(unit_of(line) for line in one.lines if "gradient_seconds" in line)
        for ours in (PLAIN, SUITED):
            step = one.first_step(ours)
            cells = [one.case, str(len(one.seeds)), f"{unit:.3g}", "torch's" if ours == PLAIN else "by the data"]
            cells += [f"{step:.2g}" if step is not None else "none"]
            cells += [cell for names in RIVALS.values() for cell in area_cells(one.rivalry(ours, names))]
            rows.append(f"| {' | '.join(cells)} |")
    return [
        *rows,
        "",
        f"Decades are the mean of log₁₀(theirs/ours) over the logarithm of time, from {FIRST} gradients to the end; in",
        "brackets the range over the seeds. Moments are in gradients; after them stands the largest factor by which",
        f"ours is behind there. Threads of each run: {cases[0].lines[0]['threads']}.",
        "",
        *(f"- {in_words(cases, ours)}" for ours in (PLAIN, SUITED)),
    ]


def area_cells(rivalry: Rivalry | None) -> list[str]:
    """Decades with their range; stretches with the largest factor."""
    if rivalry is None:
        return ["–", "–"]
    spread = f" [{rivalry.least:+.2f}, {rivalry.most:+.2f}]" if rivalry.least < rivalry.most else ""
    factor = f"{rivalry.worst:.2g}" if rivalry.worst < 100.0 else f"{rivalry.worst:.0f}"
    worst = f" (≤ {factor}×)" if rivalry.behind else ""
    return [f"{rivalry.decades:+.2f}{spread}", rivalry.where() + worst]


def in_words(cases: list[CaseLines], ours: str) -> str:
    """The means over the cases."""
    said = []
    for words, names in RIVALS.items():
        found = [rivalry for one in cases if (rivalry := one.rivalry(ours, names))]
        if found:
            said.append(
                f"{mean(r.decades for r in found):+.2f} against {words} (never behind on "
                f"{sum(not r.behind for r in found)} of {len(found)})"
            )
    return f"Mean over the cases for `{ours}`: {', '.join(said) or 'nothing to compare'}."


def costs(one: CaseLines) -> list[str]:
    """Cost at each moment: ours, the best full-batch peer, Adam in batches; then every full-batch peer."""
    times = moments(one.case)
    rows = ["| gradients | " + " | ".join(map(str, times)) + " |", "|---" * (len(times) + 1) + "|"]
    for name in (PLAIN, SUITED):
        rows.append(f"| **{name}** | {' | '.join(cost_cells(one, name))} |")
    leaders = [(time, one.leader(time)) for time in times]
    best = [f"{at(curve, time):.2g} ({name})" if (curve := one.curve(name)) else "–" for time, name in leaders]
    rows.append(f"| best full-batch peer | {' | '.join(best)} |")
    for name in (IN_BATCHES, *FULL_BATCH):
        rows.append(f"| {name} | {' | '.join(cost_cells(one, name))} |")
    return rows


def cost_cells(one: CaseLines, name: str) -> list[str]:
    """The cost at each moment; the reason in the first cell where there is none."""
    times, reason = moments(one.case), one.reason(name)
    if reason:
        return [reason, *[""] * (len(times) - 1)]
    curve = one.curve(name)
    return [f"{at(curve, time):.2g}" for time in times]


def notes(one: CaseLines) -> list[str]:
    """Size, rate of a product, the settings of the peers' curves, and what was checked of ours."""
    line = next(line for line in one.lines if "gradient_seconds" in line)
    rate = median(line["product_gflops"] for line in one.lines if "product_gflops" in line)
    compiled = sorted((line["compile_seconds"] for line in one.lines if "compile_seconds" in line), reverse=True)
    used = [f"{name}: {'; '.join(found)}" for name in SETTINGS if (found := one.settings_used(name)) and any(found)]
    return [
        f"K = {line['n_params']:,}, m = {line['n_residuals']:,}, {line['model_dtype']}; cost at the start "
        f"{line['cost0']:.2g}; the product ran at {rate:.0f} GF/s.",
        f"Settings that make up the curves of the peers on seed 0: {'. '.join(used)}.",
        *(
            f"Before its runs kfac-jax compiled for up to {seconds:.0f} s, which are not counted."
            for seconds in compiled[:1]
        ),
        *checked(one),
    ]


def checked(one: CaseLines) -> list[str]:
    """Cost and clock of ours, measured by other paths than its records; nothing where it made no step."""
    made = [line for line in one.of(PLAIN) if "unrecorded_seconds" in line and line["cost"]]
    if not made:
        return []
    apart = max(abs(line["best_cost"] / line["cost"] - 1.0) for line in made)
    before = median(line["unrecorded_seconds"] / unit_of(line) for line in made)
    return [
        f"The least cost recorded and that of the model left behind agree to {apart:.0e}; the clock of the records "
        f"begins {before:.2g} gradients after the call, which are counted here. A step that ends late is not."
    ]


def in_short(cases: list[CaseLines]) -> list[str]:
    """For the README: decades below both rivals, and where ours is behind one of them."""
    cells = list[str]()
    for one in cases:
        found = [one.rivalry(PLAIN, names) for names in RIVALS.values()]
        cells.append(" | ".join([one.case, *(f"{r.decades:+.2f} ({r.where()})" if r else "–" for r in found)]))
    known = [[r.decades for one in cases if (r := one.rivalry(PLAIN, names))] for names in RIVALS.values()]
    means = [f"**{mean(values):+.2f}**" if values else "–" for values in known]
    seeds, threads = max(len(one.seeds) for one in cases), cases[0].lines[0]["threads"]
    cells.append(" | ".join([f"**mean**, seeds: {seeds}, threads: {threads}", *means]))
    cells += [" | | "] * (-len(cells) % ABREAST)
    head = " | ".join(["case | best full batch | Adam, batches"] * ABREAST)
    rows = [" | ".join(cells[i : i + ABREAST]) for i in range(0, len(cells), ABREAST)]
    return [f"| {head} |", "|" + "---|" * 3 * ABREAST, *(f"| {row} |" for row in rows)]


if __name__ == "__main__":
    main()
