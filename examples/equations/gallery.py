"""Solves the equations and writes docs/gallery.md: `python examples/equations/gallery.py [NAME …] [--seconds S]`."""

import argparse
import io
import json
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from geodescent.app.equations import Example, SolvedEquation, names_of_examples, read_example

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURES = DOCS / "gallery.md", DOCS / "gallery"
RESULTS = PICTURES / "results.json"
DOTS, SHADES = 68, 256  # Per inch, and of a picture: its file is then smaller than 100 kB.
PATIENCE = 6.0  # Times the seconds of the processor: so long may a run take by the clock of the wall.

ENGD = "[Müller and Zeinhofer 2023](https://arxiv.org/abs/2302.13163)"
GNNG = "[Jnini, Vella and Zeinhofer 2024](https://arxiv.org/abs/2402.10680)"
JAX_PI = "[Wang and others 2023](https://arxiv.org/abs/2308.08468)"
DSGNAR = "[DSGNAR 2026](https://arxiv.org/abs/2607.02194)"
ANCHORS = {
    "poisson": f"6.2e-8 in 851 s on a GPU, {ENGD}",
    "poisson_5d": f"5.6e-8 in 3,000 s on a GPU, {ENGD}",
    "heat": f"3.1e-8 in 1,000 s on a GPU, {ENGD}",
    "burgers": f"4.8e-7 in 10 s and 1.9e-12 in 144 s on an H100, {DSGNAR}",
    "allen_cahn_sharp": f"5.4e-5 on a GPU, from another start, x² cos πx, {JAX_PI}",
    "kovasznay": f"“near single precision”, {GNNG}",
}


def main() -> None:
    """Runs what was asked for, keeps what was measured, and writes the page from all that is kept."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", help="equations; all without")
    options.add_argument("--seconds", type=float, help="of the processor, for each; as many as its file says without")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    torch.set_num_threads(1)
    PICTURES.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in asked.names or names_of_examples():
        example = read_example(name)
        seconds, look = budget(example, asked.seconds)
        solved = example.run(seconds, seed=asked.seed, callback=look)
        kept[example.name] = facts(solved, asked.seed)
        Image.open(io.BytesIO(solved.picture(DOTS))).convert("RGB").quantize(SHADES).save(
            PICTURES / f"{example.name}.png", optimize=True
        )
        print(f"{example.name}: {solved.sentence()}; {solved.processor_seconds:.1f} s of the processor", flush=True)
        RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        write(kept)


def budget(example: Example, seconds: float | None) -> tuple[float, Callable[[object], None] | None]:
    """Seconds by the wall, and what ends the fit by the clock of the processor.

    Where points are added, the time is divided by the wall, so that only an idle machine gives it all of its seconds.
    """
    seconds = example.seconds if seconds is None else seconds
    if example.refinements:
        return seconds, None
    begin = time.process_time()

    def look(_: object) -> None:
        if time.process_time() - begin > seconds:
            raise StopIteration

    return PATIENCE * seconds, look


def facts(solved: SolvedEquation, seed: int) -> dict[str, object]:
    """What the table shows of a run."""
    return {
        "error": solved.error,
        "off": dict(solved.off),
        "unknowns": {name: str(found) for name, found in solved.solution.unknowns.items()},
        "seconds": round(solved.processor_seconds, 1),
        "steps": solved.solution.steps,
        "parameters": len(solved.solution.theta),
        "points": solved.n_points,
        "seed": seed,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write(kept: dict[str, dict]) -> None:
    """Puts the table and the pictures between the marks of the page, in the order of the examples."""
    names = {name: title for name, title in names_of_examples().items() if name in kept}
    lines = ["| equation | relative error | seconds | parameters | points | published |", "|---|---|---|---|---|---|"]
    for name in names:
        run = kept[name]
        errors = [] if run["error"] is None else [f"{run['error']:.1e}"]
        errors += [f"{unknown}: {off:.1e}" for unknown, off in run["off"].items()]
        cells = [f"[{name}](#{name})", ", ".join(errors) or "–", f"{run['seconds']:g}"]
        cells += [f"{run['parameters']:,}", f"{run['points']:,}", ANCHORS.get(name, "–")]
        lines.append(f"| {' | '.join(cells)} |")
    for name, title in names.items():
        lines += [
            "",
            f'<a id="{name}"></a>',
            "",
            f"### {heading(name, title)}",
            "",
            title,
            "",
            f"![{name}: fields, errors, residual](gallery/{name}.png)",
        ]
        lines += ["", f"`geodescent solve {name}`"]
    marked = "<!-- gallery: begin (generated) -->\n" + "\n".join(lines) + "\n<!-- gallery: end -->"
    text = re.sub(r"<!-- gallery: begin.*<!-- gallery: end -->", lambda _: marked, PAGE.read_text(), flags=re.DOTALL)
    PAGE.write_text(text)


def heading(name: str, title: str) -> str:
    """Name and equation; the name alone where the sentence below it says the equation."""
    equation = read_example(name).equation
    return name if equation.split(", ")[0] in title else f"{name}: {equation}"


if __name__ == "__main__":
    main()
