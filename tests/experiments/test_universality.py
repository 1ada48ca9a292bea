"""The parts of the experiment on universality say what is known by other ways."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

import captum_dynamics as cd
from captum_dynamics.experiments import Bench, Options, Verdict, reproduce
from captum_dynamics.experiments.universality._clusters import find_clusters
from captum_dynamics.experiments.universality._flipflop import (
    Memory,
    analyze_memory,
    claim_graphs,
    ideal_graph,
)
from captum_dynamics.experiments.universality._geometry import visited_units
from captum_dynamics.experiments.universality._integration import hold, stream_effects
from captum_dynamics.experiments.universality._sine import (
    analyze_oscillator,
    crossing_frequency,
    cue_inputs,
    frequencies_of,
)
from captum_dynamics.models import SequenceNet
from captum_dynamics.tasks.contextual_integration import ContextualIntegration
from captum_dynamics.tasks.flipflop import FlipFlopNet, load_flipflop
from captum_dynamics.tasks.sine import FrequencyCuedSine
from captum_dynamics.testing.systems import uncoupled_switches
from captum_dynamics.topology import compare_graphs

DATA = Path(__file__).parents[1] / "data"


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def switch_net() -> FlipFlopNet:
    """Two bistable units, each read out as one bit."""
    net = FlipFlopNet("tanh", 2, bits=2)
    with torch.no_grad():
        for weights in net.parameters():
            weights.zero_()
        net.rnn.weight_hh_l0.copy_(2 * torch.eye(2))
        net.rnn.weight_ih_l0.copy_(4 * torch.eye(2))
        net.readout.weight.copy_(torch.eye(2))
    return net


def test_the_ideal_graph_is_that_of_uncoupled_switches() -> None:
    system = uncoupled_switches(2)
    points = cd.find_fixed_points(system.dynamics, system.states, system.inputs)
    linear = cd.linearize(system.dynamics, points.unique())
    found = cd.connect(system.dynamics, linear, basin_samples=0)
    assert compare_graphs(ideal_graph(2), found.graph).isomorphic
    cube = ideal_graph(3)
    assert (cube.number_of_nodes(), cube.number_of_edges()) == (27, 54)


def test_two_switches_are_a_memory_of_two_bits() -> None:
    memory = analyze_memory("switches", switch_net(), generator())
    assert memory.counts == (4, 4, 1)
    assert memory.accuracy == 1.0
    assert compare_graphs(memory.graph.graph, ideal_graph(2)).isomorphic


def test_a_net_with_another_graph_is_not_reproduced_and_says_why(
    tmp_path: Path,
) -> None:
    whole = analyze_memory("whole", switch_net(), generator())
    graph: nx.MultiDiGraph[int] = whole.graph.graph.copy()
    graph.remove_node(whole.graph.attractors[0])
    broken = Memory(
        "broken",
        0.5,
        (3, 4, 1),
        whole.report,
        cd.FixedPointGraph(graph, whole.graph.linearization),
    )
    bench = Bench(Options(tmp_path))
    bench.section("Graphs", "")
    claim_graphs(bench, [whole, broken], ideal_graph(2))
    claims = {claim.what: claim for claim in bench.finish("x", "", "").claims}
    right = claims["whole: points by unstable dimensions"]
    wrong = claims["broken: points by unstable dimensions"]
    assert right.verdict is Verdict.REPRODUCED
    assert wrong.verdict is Verdict.NOT_REPRODUCED
    assert "8 and 9 points" in wrong.note
    assert claims["isomorphic pairs of networks"].ours == "0 of 1"
    assert claims["lowest accuracy of a net"].value == 0.5


def test_of_an_lstm_the_units_that_are_read_out_are_compared() -> None:
    net = load_flipflop(DATA / "flipflop_lstm.safetensors")
    inputs = torch.zeros(2, 5, 3)
    with torch.no_grad():
        expected = net.rnn(inputs)[0].flatten(0, 1)
    visited = visited_units(net, inputs)
    torch.testing.assert_close(visited.float(), expected, rtol=0, atol=1e-5)


def test_the_chance_of_clusters_is_that_over_all_groupings() -> None:
    points = torch.tensor([0.0, 1.0, 0.5, 2.0, 3.5, 1.8]).double()[:, None]
    distances = torch.cdist(points, points)
    groups = ["a", "a", "a", "b", "b", "b"]
    found = find_clusters(distances, groups, permutations=4000, generator=generator())

    def within(own: tuple[int, ...]) -> float:
        other = [row for row in range(6) if row not in own]
        pairs = [*itertools.combinations(own, 2), *itertools.combinations(other, 2)]
        return float(np.mean([float(distances[pair]) for pair in pairs]))

    means = [within(own) for own in itertools.combinations(range(6), 3)]
    chance = np.mean([mean <= within((0, 1, 2)) + 1e-12 for mean in means])
    # Three standard errors of 4000 draws.
    slack = 3 * math.sqrt(chance * (1 - chance) / 4000) + 1e-3
    assert found.p_value == pytest.approx(chance, abs=slack)
    assert found.within == pytest.approx(within((0, 1, 2)))
    across = [float(distances[i, j]) for i in range(3) for j in range(3, 6)]
    assert found.across == pytest.approx(np.mean(across))
    # The nearest of the point at 1 is that at .5, of 3.5 that at 2, of 2 that at 1.8.
    assert found.nearest == 1.0


def test_networks_without_a_fellow_have_no_clusters() -> None:
    found = find_clusters(
        torch.rand(3, 3), ["a", "b", "c"], permutations=9, generator=generator()
    )
    assert math.isnan(found.within)
    assert math.isnan(found.p_value)


def test_the_frequency_of_a_wave_is_told_from_where_it_rises() -> None:
    clock = torch.arange(400).double()
    wave = 0.7 * torch.sin(0.123 * clock + 1) + 0.4
    assert float(crossing_frequency(wave)) == pytest.approx(0.123, rel=1e-3)
    assert math.isnan(float(crossing_frequency(0.01 * wave)))


def test_a_rotation_turns_by_its_angle_under_every_cue() -> None:
    angle, size = 0.4, 1.05
    net = SequenceNet("tanh", 1, 2, 1)
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    with torch.no_grad():
        for weights in net.parameters():
            weights.zero_()
        net.rnn.weight_hh_l0.copy_(size * torch.tensor(turn))
        net.rnn.bias_ih_l0.fill_(1e-3)
        net.readout.weight.copy_(torch.tensor([[1.0, 0.0]]))
    task = FrequencyCuedSine(levels=5, steps=50)
    found = analyze_oscillator("turn", net, task, torch.tensor([0.0, 4.0]), generator())
    assert found.points.tolist() == [1, 1]
    assert found.linearization.unstable_dims.tolist() == [2, 2]
    # The point is not quite at zero: the bias moves it by 2e-3.
    assert found.frequencies.tolist() == pytest.approx([angle] * 2, abs=1e-4)
    assert found.leading_pairs.abs().tolist() == pytest.approx([size] * 2, abs=1e-4)
    assert found.lasting.tolist() == pytest.approx([angle] * 2, rel=0.05)


def test_cues_and_frequencies_are_those_of_the_task() -> None:
    task = FrequencyCuedSine(levels=5, steps=40)
    data = task.sample(30, generator=generator())
    levels = torch.arange(5).double()
    cues, frequencies = cue_inputs(task, levels), frequencies_of(task, levels)
    for cue, wave in zip(data.inputs, data.targets[..., 0], strict=True):
        (level,) = torch.nonzero((cues == cue).flatten(1).all(1))[:, 0].tolist()
        expected = torch.sin(frequencies[level] * torch.arange(1, 41))
        torch.testing.assert_close(wave.double(), expected, rtol=0, atol=1e-5)


def test_effects_of_streams_are_what_the_linear_map_makes_of_them() -> None:
    modes = torch.linalg.qr(torch.randn(3, 3, generator=generator()).double()).Q
    decay = modes @ torch.diag(torch.tensor([1.0, 0.5, 0.2]).double()) @ modes.T
    pushes = torch.randn(3, 4, generator=generator()).double()
    readout = torch.randn(3, generator=generator()).double()
    dynamics = cd.FunctionAdapter(lambda h, x: h @ decay.T + x @ pushes.T, 3, 4)
    points = cd.find_slow_points(dynamics, modes.T[:1].clone(), torch.zeros(1, 4))
    whole, leading = stream_effects(
        cd.linearize(dynamics, points), readout, ContextualIntegration(steps=16)
    )
    power = np.linalg.matrix_power(decay.numpy(), 10)
    expected = 4 * readout.numpy() @ power @ pushes.numpy()[:, :2]
    assert whole.numpy() == pytest.approx(expected, rel=1e-9)
    line = modes[:, 0].numpy()
    alone = 4 * (readout.numpy() @ line) * (line @ pushes.numpy()[:, :2])
    assert leading.numpy() == pytest.approx(alone, rel=1e-9)


def test_answers_are_held_as_far_as_they_do_not_move() -> None:
    states = torch.tensor([[1.0, 2.0], [-1.0, 5.0]]).double()
    fading = torch.tensor([0.5, 1.0]).double()
    ways = torch.stack([0.75 * states, states * fading + 1.0], dim=1)
    readout = torch.tensor([1.0, 0.0]).double()
    left, moving = hold(states, ways - torch.tensor([0.0, 1.0]), readout, 2.0)
    # The last steps are (.75, 1.5) and (1.25, 2.25): the smaller is the median;
    # the answers 1 and -1 become 1.5 and .5.
    assert moving == pytest.approx(np.hypot(0.75, 1.5) / 2)
    assert left == pytest.approx(1 - (0.5**2 + 1.5**2) / 2)


@pytest.mark.slow
def test_the_quick_version_runs_and_finds_one_graph(tmp_path: Path) -> None:
    found = reproduce("universality", Options(tmp_path, quick=True))
    assert len(found.sections) == 6
    claims = {claim.what: claim for claim in found.claims}
    assert claims["isomorphic pairs of networks"].verdict is Verdict.REPRODUCED
    assert claims["smallest SVCCA distance of two nets"].verdict is Verdict.REPRODUCED
    for section in found.sections:
        for picture in section.pictures:
            assert (tmp_path / picture.file).stat().st_size > 10_000
