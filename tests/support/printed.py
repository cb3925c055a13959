"""Printed results, read as people read them."""


def rows_of(text: str) -> list[str]:
    """The rows of a printed result, each in one line: what goes on in a line of its own stands below its beginning."""
    rows = list[str]()
    for line in text.splitlines():
        if line.startswith(" ") and rows:
            rows[-1] += f" {line.strip()}"
        else:
            rows.append(line)
    return rows
