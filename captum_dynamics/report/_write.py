"""Rendering the page, and putting it on the disk whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from captum_dynamics.findings import Findings
from captum_dynamics.report._page import page


def write_report(findings: Findings, path: str | Path) -> Path:
    """Write one HTML file that opens from the disk, offline and without scripts.

    A file that is there already is replaced only by a finished one.

    Args:
        findings: what `analyze` returned.
        path: the file to write, in a folder that exists.

    Returns:
        The path that was written.

    Raises:
        OSError: when the path cannot be written: FileNotFoundError without its folder,
            IsADirectoryError for a folder, PermissionError without the right to.
    """
    path = Path(path)
    # A page takes seconds to draw: say at once that it could not be written.
    _check(path)
    html = render(findings)
    # Behind a link, the file it points to is replaced and not the link.
    target = path.resolve()
    draft = target.with_name(f".{uuid.uuid4().hex}.html.part")
    try:
        draft.write_text(html, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(
            f"Cannot write the report to {path}: {reason}. Nothing was changed there."
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return path


def render(findings: Findings) -> str:
    """Fill the template; every text from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("captum_dynamics.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page=page(findings))


def _check(path: Path) -> None:
    folder = path.resolve().parent
    if path.is_dir():
        raise IsADirectoryError(
            f"Cannot write the report to {path}: it is a folder; name a file in it."
        )
    if not folder.exists():
        raise FileNotFoundError(
            f"Cannot write the report to {path}: the folder {folder} does not exist; "
            f"create it first."
        )
    if not folder.is_dir():
        raise NotADirectoryError(
            f"Cannot write the report to {path}: {folder} is no folder."
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"Cannot write the report to {path}: no right to write in {folder}."
        )
