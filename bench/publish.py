"""Puts results where people look: the output's report and plot, `bench/results`, README and docs.

Between ``<!-- bench: NAME -->`` and ``<!-- bench: end -->`` in a document stands what was made from
the stored results; a test compares them. What is written by hand stays outside.

    python bench/publish.py      fills the documents from the stored results
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cases import BY_NAME, CASES
from objects import FULL, Sizes
from plot import PLOTS, draw
from report import as_markdown, readme_table, target_rows
from results import FILE, load, save
from scaling import scaling_rows
from scores import Table
from serving import SHAPED

CHECKOUT = Path(__file__).resolve().parents[1]
STORED = CHECKOUT / "bench" / "results"
INSTRUCTIONS = "instructions.md"
"""What `instructions` counted; it takes no clocks and is stored by itself."""
DOCUMENTS = ("README.md", "docs/PERFORMANCE.md", "docs/SCALING.md")

_MARKED = re.compile(r"(<!-- bench: (?P<name>[a-z]+) -->\n).*?(<!-- bench: end -->)", re.DOTALL)

ROUNDS = 5
"""Of a full run."""

Rows = Callable[[Sequence[Table], dict[str, Any]], list[str]]


NOT_YET = "No full run is stored yet; `tox -e bench -- --write-docs` makes one and fills this in."


def is_full(about: dict[str, Any]) -> bool:
    """Whether results are of a full run, which alone is worth quoting."""
    settings = dict(about["settings"])
    return settings.pop("rounds") >= ROUNDS and Sizes(**settings) == FULL


def _about_rows(tables: Sequence[Table], about: dict[str, Any]) -> list[str]:
    machine = about["machine"]
    lines = [
        f"Medians of {about['settings']['rounds']} rounds on {machine['cores']} cores of "
        f"{machine['processor']}, Linux {machine['kernel'].split('-')[1]}, {about['date']}; "
        "client and server share them."
    ]
    if apart := about.get("apart"):
        lines.append(
            "Measured again since, by themselves: "
            + ", ".join(f"{case} ({date})" for case, date in apart.items())
            + "."
        )
    return lines


def _instruction_rows(tables: Sequence[Table], about: dict[str, Any]) -> list[str]:
    return (STORED / INSTRUCTIONS).read_text().rstrip().splitlines()


SECTIONS: dict[str, Rows] = {
    "instructions": _instruction_rows,
    "about": _about_rows,
    "table": lambda tables, about: readme_table(tables),
    "targets": target_rows,
    "scaling": scaling_rows,
}


def filled(text: str, tables: Sequence[Table], about: dict[str, Any]) -> str:
    """A document with what belongs between its marks."""

    def section(found: re.Match[str]) -> str:
        name = found["name"]
        if is_full(about) or name == "instructions":
            lines = SECTIONS[name](tables, about)
        else:
            lines = [NOT_YET]
        return "\n".join([found[1], *lines, "", found[3]])

    return _MARKED.sub(section, text)


def publish(folder: Path) -> list[Path]:
    """Write report and plot beside the results in ``folder``; returns the plots."""
    tables, about = load(folder / FILE)
    (folder / "results.md").write_text(as_markdown(tables, about))
    return draw(tables, folder)


def merged(folder: Path, stored: Path) -> tuple[list[Table], dict[str, Any]]:
    """Stored results with those of ``folder`` in place of the same cases', and since when.

    The shaped server is described as it was when most of its cases ran.
    """
    tables, about = load(stored / FILE)
    newer, run = load(folder / FILE)
    replaced = {table.case: table for table in newer}
    known = {table.case: table for table in tables} | replaced
    apart = {case: date for case, date in about.get("apart", {}).items() if case not in replaced}
    about["apart"] = dict(sorted((apart | dict.fromkeys(replaced, run["date"])).items()))
    about["versions"] |= run["versions"]
    shaped = {name for name in known if BY_NAME[name].server == SHAPED}
    if len(shaped & replaced.keys()) > len(shaped) / 2:
        about["shape"] = run["shape"]
    return [known[case.name] for case in CASES if case.name in known], about


def store(folder: Path) -> bool:
    """Keep the results of ``folder`` in the repository, and fill the documents from them.

    Those of some cases take the place of what was stored of these.

    Returns:
        False where they are not of full size and five rounds, and nothing was stored.
    """
    tables, about = load(folder / FILE)
    if not is_full(about):
        return False
    STORED.mkdir(exist_ok=True)
    if len(tables) < len(CASES) and (STORED / FILE).exists():
        save(*merged(folder, STORED), STORED)
        publish(STORED)
    else:
        for name in (FILE, "results.md", *PLOTS):
            if (folder / name).exists():
                shutil.copy(folder / name, STORED / name)
    write_docs()
    return True


def write_docs() -> None:
    """Fill the documents from the stored results."""
    tables, about = load(STORED / FILE)
    for name in DOCUMENTS:
        path = CHECKOUT / name
        path.write_text(filled(path.read_text(), tables, about))


if __name__ == "__main__":
    write_docs()
