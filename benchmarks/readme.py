"""What is generated in the README: each table between two marks."""

from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def put(name: str, rows: list[str]) -> None:
    """Replaces what stands between the marks of this name."""
    begin, end = f"<!-- {name}: begin (generated) -->", f"<!-- {name}: end -->"
    before, rest = README.read_text().split(begin)
    after = rest.split(end)[1]
    README.write_text(f"{before}{begin}\n" + "\n".join(rows) + f"\n{end}{after}")
