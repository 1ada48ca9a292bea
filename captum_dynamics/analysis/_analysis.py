"""The result of `analyze`: findings that can be shown, reported and saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captum_dynamics.analysis._files import read, save
from captum_dynamics.export.archive import LARGEST
from captum_dynamics.findings import Findings
from captum_dynamics.report import write_report
from captum_dynamics.report.summary import summarize


@dataclass(frozen=True, eq=False)
class Analysis(Findings):
    """How one recurrent layer computes, as `analyze` found it."""

    def summary(self) -> str:
        """Say in plain words how the layer computes, with the numbers."""
        return summarize(self)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML file with pictures and numbers.

        Raises:
            OSError: when the path cannot be written.
        """
        return write_report(self, path)

    def save(self, path: str | Path) -> Path:
        """Write everything to one .npz file, without pickle.

        `captum_dynamics.load` reads it back. Eigenvectors are worked out again then.

        Raises:
            OSError: when the path cannot be written.
        """
        return save(self, path)


def load(path: str | Path, *, max_bytes: int = LARGEST) -> Analysis:
    """Read an analysis that `Analysis.save` wrote.

    Nothing in the file is run; types, shapes and what belongs together are checked.

    Args:
        path: the file.
        max_bytes: bytes that the file may unpack to.

    Raises:
        OSError: when the file cannot be read; FileNotFoundError when there is none.
        FileFormatError: when the file is damaged, foreign, of a newer version, or
            unpacks to more than `max_bytes`.
    """
    return read(path, Analysis, max_bytes=max_bytes)
