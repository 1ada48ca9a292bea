"""Attributed text: every step of a sequence on the colour of its contribution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from captum_dynamics.findings import Documents, Explanation

LEVELS = 10  # shades on each side of 0
POSITIVE, NEGATIVE = (0, 96, 160), (184, 72, 0)  # blue and orange, in sRGB
PREFIX = "cd-text"


def text_html(
    documents: Documents,
    *,
    rows: Sequence[int] | None = None,
    max_steps: int = 600,
) -> str:
    """Colour the steps of each sequence by their contributions, one row a method.

    Blue pushes the output up, orange pulls it down; the exact number shows under the
    pointer. Methods whose contributions sum to the change of the output share one
    scale, symmetric around 0. The others are in units of their own: each has its own
    scale, stated beside it.

    Args:
        documents: the explained sequences, such as `findings.documents`.
        rows: which of them; all by default.
        max_steps: steps shown of each sequence.

    Returns:
        HTML with its own style and no scripts, for a page or a notebook.

    Example:
        >>> import torch
        >>> from captum_dynamics.findings import Documents, Explanation
        >>> one, none = torch.ones(1), torch.zeros(1)
        >>> pushes = torch.tensor([[2.0, -1.0]])
        >>> ours = Explanation("Ours", pushes, none, 0.1)
        >>> seen = torch.ones(1, 2, dtype=torch.bool)
        >>> page = text_html(Documents((("<b>", "bad"),), one, none, seen, (ours,)))
        >>> '<span class="p10" title="+2">&lt;b&gt;</span>' in page
        True
    """
    chosen = range(len(documents.tokens)) if rows is None else rows
    texts = (text_rows(documents, row, max_steps=max_steps) for row in chosen)
    return "\n".join([f"<style>{text_style()}</style>", text_key(documents), *texts])


def text_rows(documents: Documents, row: int, *, max_steps: int = 600) -> str:
    """Colour one sequence, one row a method; the page holds `text_style()` once."""
    names = documents.tokens[row]
    lines = [
        _line(explanation, names[:max_steps], row, scale)
        for explanation, scale in zip(
            documents.explanations, _scales(documents), strict=True
        )
    ]
    missing = len(names) - max_steps
    more = f"<p>{missing:,} further steps are left out.</p>" if missing > 0 else ""
    return f'<div class="{PREFIX}"><dl>{"".join(lines)}</dl>{more}</div>'


def text_key(documents: Documents) -> str:
    """Explain the colours of all sequences at once."""
    shades = [f"n{n}" for n in range(LEVELS, 0, -1)] + ["z"]
    shades += [f"p{n}" for n in range(1, LEVELS + 1)]
    cells = "".join(f'<span class="{shade}"></span>' for shade in shades)
    reach = next((f"{scale:.3g}" for scale in _scales(documents)), "0")
    return (
        f'<div class="{PREFIX}"><p class="key" role="img" aria-label="Colours: orange '
        f'is -{reach}, white is 0, blue is +{reach}">-{reach} {cells} +{reach} '
        f"<em>contribution to the output; the number shows under the pointer</em></p>"
        f"</div>"
    )


def text_style() -> str:
    """Style sheet of coloured text, for the head of a page."""
    shades = "".join(_shades())
    return f"""
.{PREFIX} {{ line-height: 1.75; }}
.{PREFIX} dl {{ margin: .4em 0; }}
.{PREFIX} dt {{ font-size: .8em; font-weight: 600; margin-top: .6em; }}
.{PREFIX} dt small {{ font-weight: 400; margin-left: .6em; }}
.{PREFIX} dd {{ margin: 0; overflow-wrap: anywhere; }}
.{PREFIX} span {{ border-radius: 3px; padding: .1em .22em;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.{PREFIX} .none {{ text-decoration: underline dotted; }}
.{PREFIX} .key {{ font-size: .8em; }}
.{PREFIX} .key span {{ display: inline-block; width: .9em; height: 1em;
  padding: 0; border-radius: 0; vertical-align: middle; }}
{shades}"""


def _scales(documents: Documents) -> list[float]:
    """Largest contribution in size for each method; complete ones share theirs."""
    valid = documents.valid
    own = [
        max((abs(v) for v in values.tolist() if math.isfinite(v)), default=0.0)
        for values in (e.contributions[valid] for e in documents.explanations)
    ]
    complete = [e.complete for e in documents.explanations]
    pairs = list(zip(own, complete, strict=True))
    shared = max((size for size, summing in pairs if summing), default=0.0)
    return [shared if summing else size for size, summing in pairs]


def _line(
    explanation: Explanation, names: Sequence[str], row: int, scale: float
) -> str:
    values = explanation.contributions[row].tolist()
    steps = (_step(n, v, scale) for n, v in zip(names, values, strict=False))
    note = "" if explanation.complete else f"<small>own scale ±{scale:.3g}</small>"
    return (
        f"<dt>{escape(explanation.method)}{note}</dt>\n"
        f'<dd dir="auto">{" ".join(steps)}</dd>\n'
    )


def _step(name: str, value: float, scale: float) -> str:
    shown = escape(name) or "&nbsp;"
    if not math.isfinite(value):
        return f'<span class="none" title="not defined">{shown}</span>'
    level = round(LEVELS * abs(value) / scale) if scale > 0 else 0
    shade = f"{'p' if value > 0 else 'n'}{level}" if level else "z"
    return f'<span class="{shade}" title="{value:+.4g}">{shown}</span>'


def _shades() -> Iterator[str]:
    for letter, colour in (("p", POSITIVE), ("n", NEGATIVE)):
        for level in range(1, LEVELS + 1):
            share = level / LEVELS
            mixed = [round(255 + share * (part - 255)) for part in colour]
            ink = "#000" if _luminance(mixed) > DARKEST_FOR_BLACK else "#fff"
            paint = "#" + "".join(f"{part:02x}" for part in mixed)
            look = f"background: {paint}; color: {ink};"
            yield f".{PREFIX} .{letter}{level} {{ {look} }}\n"
    yield f".{PREFIX} .key .z {{ background: #fff; outline: 1px solid #d5d9df; }}"


# Where black and white text have the same contrast, 4.58 : 1, by the rule of WCAG 2.
DARKEST_FOR_BLACK = 0.179


def _luminance(colour: Sequence[int]) -> float:
    """Relative luminance of an sRGB colour, WCAG 2."""
    linear = [
        part / 255 / 12.92
        if part / 255 <= 0.04045
        else ((part / 255 + 0.055) / 1.055) ** 2.4
        for part in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
