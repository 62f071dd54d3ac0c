"""The tables of security.md that say who may do what."""

from pathlib import Path

SECURITY = Path(__file__).parents[1] / "data/raw/handbook/security.md"
ANSWERS = {"yes": True, "no": False}


def read(corner: str) -> dict[str, dict[str, bool]]:
    """Row -> column -> whether that column's role may do it. `corner` is the table's first cell.

    Raises KeyError for a cell that is neither yes nor no.
    """
    lines = SECURITY.read_text(encoding="utf-8").splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(f"| {corner} |"))
    columns = _cells(lines[start])[1:]
    rows: dict[str, dict[str, bool]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = _cells(line)
        answers = [ANSWERS[cell] for cell in cells]
        rows[name] = dict(zip(columns, answers, strict=True))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
