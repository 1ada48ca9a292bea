"""What a run leaves in its folder, and how its summary looks in a terminal."""

from __future__ import annotations

import textwrap
from pathlib import Path

from captum_dynamics.analysis import Analysis
from captum_dynamics.export import to_graphml, to_json

WIDTH = 88


def check_folder(path: Path) -> Path:
    """Make the output folder before any long work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"Cannot write to the folder {path}: {error.strerror}."
        ) from error
    return path


def write_all(result: Analysis, folder: Path) -> str:
    """Write report, graph, summary and the saved analysis; say where they are."""
    result.report(folder / "report.html")
    result.save(folder / "analysis.npz")
    to_graphml(result.graph.graph, folder / "graph.graphml")
    to_json(result.graph.graph, folder / "graph.json")
    text = wrapped(result.summary())
    (folder / "summary.txt").write_text(text + "\n", encoding="utf-8")
    return (
        f"{text}\n\n"
        f"REPORT  {folder / 'report.html'} (open it in a browser)\n"
        f"Also in {folder}: analysis.npz, graph.graphml, graph.json, summary.txt"
    )


def wrapped(text: str) -> str:
    """Fold paragraphs to the width of a terminal; lines of a list stay lines."""
    lines = [
        textwrap.fill(line, WIDTH, subsequent_indent="  ") if line else ""
        for line in text.splitlines()
    ]
    return "\n".join(lines)
