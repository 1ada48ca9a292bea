"""One self-contained HTML file about an findings: pictures and their numbers."""

from __future__ import annotations

from captum_dynamics.report._write import write_report

__all__ = ["write_report"]
