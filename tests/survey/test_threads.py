"""Surveys on two threads, at widths where torch's batched LU cannot be trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from captum_dynamics.testing.systems import bistable

ROOT = Path(__file__).parents[2]
SECONDS = 300  # far more than it takes on a busy machine, far less than for ever

# In a process of its own, where a hang can be ended. Two orthogonal patterns p stored
# in tanh(W h) with W = 2/n (p p' + q q') have 9 fixed points, whatever the width n.
SURVEYS = """
import json, sys, torch
import captum_dynamics as cd
threads, widths = json.loads(sys.argv[1])
torch.set_num_threads(threads)
for n in widths:
    half = torch.arange(n) < n // 2
    patterns = torch.stack([torch.ones(n), torch.where(half, 1.0, -1.0)]).double()
    rnn = torch.nn.RNN(1, n, bias=False)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(2 / n * patterns.mT @ patterns)
    generator = torch.Generator().manual_seed(0)
    visited = 2 * torch.rand(64, n, generator=generator, dtype=torch.float64) - 1
    visited += 0.5 * torch.randn(64, 2, generator=generator).double() @ patterns
    for solver in (None, cd.solvers.MixedPrecision()):  # by products, and by LU
        survey = cd.survey_fixed_points(
            cd.adapt(rnn), visited.clamp(-1, 1), torch.zeros(1, 1), solver=solver,
            max_starts=256, generator=torch.Generator().manual_seed(1),
        )
        points = survey.points
        fixed = points[points.kind == cd.Kind.FIXED]
        overlaps = (fixed.states @ patterns.mT / n).tolist()
        print(json.dumps([n, overlaps, float(fixed.residual_norms.max())]), flush=True)
"""


def surveys(threads: int, widths: list[int]) -> list[tuple[int, torch.Tensor, float]]:
    """Width, overlaps with the patterns, and largest |g| of every survey."""
    # Threads that wait must not spin: other runs may need the cores.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
    }
    output = subprocess.run(
        [sys.executable, "-c", SURVEYS, json.dumps([threads, widths])],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=environment,
        text=True,
        timeout=SECONDS,
    ).stdout
    found = [json.loads(line) for line in output.splitlines() if line.startswith("[")]
    return [(n, torch.tensor(sorted(o)).double(), g) for n, o, g in found]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor has no threads")
@pytest.mark.parametrize(
    "widths", [[150, 256], pytest.param([160, 512], marks=pytest.mark.slow)]
)
def test_two_threads_find_the_points_of_one_and_no_others(widths: list[int]) -> None:
    m = float(bistable(gain=2.0).states[2])
    memories = [[m, 0], [-m, 0], [0, m], [0, -m]]
    mixtures = [[i * m / 2, j * m / 2] for i in (1, -1) for j in (1, -1)]
    known = torch.tensor([*memories, *mixtures, [0, 0]]).double()
    one, two = surveys(1, widths), surveys(2, widths)
    assert [n for n, _, _ in two] == [n for n in widths for _ in range(2)]
    for (_, alone, _), (_, shared, residual) in zip(one, two, strict=True):
        assert residual < 1e-11
        assert shared.shape == alone.shape == known.shape
        gaps = (shared[:, None] - known).norm(dim=-1)
        assert (gaps.amin(1) < 1e-6).all()
        assert (gaps.amin(0) < 1e-6).all()
        assert (alone[:, None] - shared).norm(dim=-1).amin(1).max() < 1e-9
