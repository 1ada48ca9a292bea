"""The result of an experiment: sections of claims and pictures, as text and files."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captum_dynamics.experiments._claims import Claim, Verdict

COLUMNS = ("quantity", "paper", "ours", "wanted", "verdict")
WIDEST = 46  # characters of a quantity before it is folded


@dataclass(frozen=True)
class Picture:
    """A picture that was written.

    Attributes:
        file: its path below the folder of the experiment.
        caption: what it shows.
    """

    file: str
    caption: str


@dataclass(frozen=True)
class Section:
    """Claims and pictures that belong together.

    Attributes:
        title: what they are about.
        text: what was done, in sentences.
        claims: rows of the table.
        pictures: in the order they were drawn.
    """

    title: str
    text: str
    claims: tuple[Claim, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Reproduction:
    """What one experiment found.

    Attributes:
        name: of the experiment.
        title: what it reproduces, with the paper.
        command: what was run.
        quick: whether it was the short version, whose numbers judge nothing.
        seed: seed of all random choices.
        seconds: time it took, trainings that were kept from an earlier run included;
            of a training that was killed, the part after it went on.
        machine: processor count, threads and versions.
        sections: in order.
        numbers: further numbers, as plain JSON values.
    """

    name: str
    title: str
    command: str
    quick: bool
    seed: int
    seconds: float
    machine: dict[str, str]
    sections: tuple[Section, ...]
    numbers: dict[str, Any]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims, in order."""
        return tuple(claim for section in self.sections for claim in section.claims)

    def count(self, verdict: Verdict) -> int:
        """Number of claims with a verdict."""
        return sum(claim.verdict is verdict for claim in self.claims)

    def summary(self) -> str:
        """All tables, as they look in a terminal."""
        parts = [self.title, self._verdicts()]
        for section in self.sections:
            parts.append(f"{section.title.upper()}\n{textwrap.fill(section.text, 88)}")
            if section.claims:
                parts.append(_text_table(section.claims))
        return "\n\n".join(parts)

    def to_markdown(self) -> str:
        """One page with tables and pictures, whose paths begin at its own folder."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        parts = [
            f"# {self.title}",
            self._verdicts(),
            f"Command: `{self.command}`. Seed {self.seed}, {_time(self.seconds)}; "
            f"{machine}.",
        ]
        for section in self.sections:
            parts += [f"## {section.title}", section.text]
            if section.claims:
                parts.append(_markdown_table(section.claims))
                parts += [_note(claim) for claim in section.claims if claim.note]
            parts += [
                f"![{p.caption}]({p.file})\n\n{p.caption}" for p in section.pictures
            ]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """All numbers, with null for what is none."""
        content = asdict(self)
        for section in content["sections"]:
            for claim in section["claims"]:
                claim["verdict"] = claim["verdict"].value
        return json.dumps(_plain(content), ensure_ascii=False, indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Write `index.md` and `result.json` beside the pictures."""
        (folder / "index.md").write_text(self.to_markdown(), encoding="utf-8")
        (folder / "result.json").write_text(self.to_json(), encoding="utf-8")

    def _verdicts(self) -> str:
        right, wrong = map(self.count, (Verdict.REPRODUCED, Verdict.NOT_REPRODUCED))
        text = (
            f"{right} of {right + wrong} claims are reproduced. That means within the "
            "bound that is wanted, which is ours and was set before the run; the "
            "paper's number may be another."
        )
        if self.quick:
            text += (
                " This was the quick version: small nets and few data, to see that all "
                "runs; its verdicts say little about the paper."
            )
        return text


def _note(claim: Claim) -> str:
    return f"*{claim.what}*: {claim.note}"


def _cells(claim: Claim) -> tuple[str, ...]:
    return (claim.what, claim.paper, claim.ours, claim.wanted, claim.verdict.value)


def _markdown_table(claims: Sequence[Claim]) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, claims)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in rows
    )


def _text_table(claims: Sequence[Claim]) -> str:
    rows = [COLUMNS, *map(_cells, claims)]
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        folded = [
            textwrap.wrap(cell, max(width, 1)) or [""]
            for cell, width in zip(row, widths, strict=True)
        ]
        for k in range(max(map(len, folded))):
            cells = (part[k] if k < len(part) else "" for part in folded)
            padded = (f"{c:{w}}" for c, w in zip(cells, widths, strict=True))
            lines.append("  " + "  ".join(padded).rstrip())
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
