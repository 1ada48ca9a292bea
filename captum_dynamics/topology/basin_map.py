"""Which attractor draws in each state of a plane."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._typing import OneState, States
from captum_dynamics.dynamics import DynamicsMap
from captum_dynamics.topology._attracting import attracting_sets, check_one_input
from captum_dynamics.topology._deadline import Deadline
from captum_dynamics.topology._destinations import UNRESOLVED
from captum_dynamics.topology._flow import Flow
from captum_dynamics.topology.graph import FixedPointGraph, counted

Places = Float[Tensor, "n 2"]
MARGIN = 0.25  # of the width of the points, on each side of them
FLAT = 1e-9  # share of the first axis that the second must add to it


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in state space: origin + x axes[0] + y axes[1].

    Attributes:
        origin: a state (d,).
        axes: two directions (2, d), of any length and angle.
        names: what the two coordinates are.
    """

    origin: OneState
    axes: Float[Tensor, "2 d"]
    names: tuple[str, str] = ("axis 1", "axis 2")

    @staticmethod
    def through(first: OneState, second: OneState, third: OneState) -> Plane:
        """The plane of three states: first at (0, 0), second at (1, 0).

        The second axis is perpendicular to the first and as long; the third state lies
        on its side. Raises ValueError for states on one line.
        """
        first = _plain(first)
        x, y = _plain(second) - first, _plain(third) - first
        upright = y - (y @ x) / (x @ x) * x
        if not bool(upright.norm() > FLAT * x.norm()):
            raise ValueError(
                "Expected `first`, `second` and `third` to span a plane, got states "
                "on one line."
            )
        axes = torch.stack([x, upright * x.norm() / upright.norm()])
        names = ("from the first state to the second", "towards the third")
        return Plane(first, axes, names)

    @staticmethod
    def of_readouts(first: OneState, second: OneState, origin: OneState) -> Plane:
        """The plane through `origin` on which two readouts w.h vary, and nothing else.

        The coordinates are the readouts themselves, first.h and second.h. Raises
        ValueError for weights that are parallel.
        """
        weights, origin = _plain(torch.stack([first, second])), _plain(origin)
        sizes = torch.linalg.svdvals(weights)
        if not bool(sizes[1] > FLAT * sizes[0]):
            raise ValueError(
                "Expected `first` and `second` to be two directions, got parallel ones."
            )
        axes = torch.linalg.pinv(weights).T
        return Plane(origin - weights @ origin @ axes, axes, ("readout 1", "readout 2"))

    @staticmethod
    def principal(states: States) -> Plane:
        """The plane of the first two principal components of states (n, d).

        Of states of width 1, or on one line, there is none: raises ValueError.
        """
        states = _plain(states)
        origin = states.mean(0)
        _, sizes, axes = torch.linalg.svd(states - origin, full_matrices=False)
        if len(sizes) < 2 or not bool(sizes[1] > FLAT * sizes[0]):
            raise ValueError("Expected `states` to span a plane, got states on a line.")
        # The sign of an axis is free: make its largest entry positive.
        largest = axes.abs().argmax(1)
        axes = axes * axes[torch.arange(len(axes)), largest].sign()[:, None]
        names = ("component 1", "component 2")
        return Plane(origin, axes[:2], names)

    def states(self, places: Places) -> Float[Tensor, "n d"]:
        """States (n, d) at coordinates (n, 2)."""
        return self.origin + places @ self.axes

    def places(self, states: States) -> Places:
        """Coordinates (n, 2) of the nearest states of the plane."""
        places: Tensor = (states - self.origin) @ torch.linalg.pinv(self.axes)
        return places


def _plain(values: Tensor) -> Tensor:
    """Without a gradient, and in double precision: readouts may be parameters."""
    return values.detach().double()


@dataclass(frozen=True, eq=False)
class BasinMap:
    """The attractor that each state of a grid in a plane goes to.

    Attributes:
        plane: the plane.
        x: coordinates (r,) of the columns.
        y: coordinates (r,) of the rows.
        labels: node (r, r) of the attractor reached from (x[column], y[row]); -1 where
            none was reached within the steps allowed.
        steps: steps (r, r) until then.
        graph: the graph whose nodes the labels are.
    """

    plane: Plane
    x: Float[Tensor, " r"]
    y: Float[Tensor, " r"]
    labels: Int[Tensor, "r r"]
    steps: Int[Tensor, "r r"]
    graph: FixedPointGraph

    @property
    def places(self) -> Places:
        """Coordinates (n, 2) of the points, projected onto the plane."""
        return self.plane.places(self.graph.linearization.points.states)

    @property
    def heights(self) -> Float[Tensor, " n"]:
        """Distance (n,) of each point from the plane."""
        states = self.graph.linearization.points.states
        heights: Tensor = (states - self.plane.states(self.places)).norm(dim=1)
        return heights

    @property
    def shares(self) -> dict[int, float]:
        """Share of the grid that goes to each attractor; -1 for unresolved states."""
        nodes, counts = torch.unique(self.labels, return_counts=True)
        total = self.labels.numel()
        pairs = zip(nodes.tolist(), counts.tolist(), strict=True)
        return {node: count / total for node, count in pairs}

    @property
    def centres(self) -> dict[int, tuple[float, float]]:
        """Coordinates in each label's region that are farthest from all others."""
        found = {}
        for node in torch.unique(self.labels).tolist():
            # A border of no label around the grid: its edge is the end of a region.
            inside = torch.nn.functional.pad(self.labels == node, (1, 1, 1, 1)).cpu()
            depth = distance_transform_edt(inside.numpy())[1:-1, 1:-1]
            row, column = divmod(int(depth.argmax()), len(self.x))
            found[node] = float(self.x[column]), float(self.y[row])
        return found

    def summary(self) -> str:
        """Say how much of the plane each attractor draws in."""
        shares = self.shares
        lost = shares.pop(UNRESOLVED, 0.0)
        lines = [f"{self.labels.numel()} states, {counted(len(shares), 'attractor')}"]
        lines += [f"  {node}: {share:.1%}" for node, share in shares.items()]
        if lost:
            lines.append(f"  no known attractor: {lost:.1%}")
        return "\n".join(lines)


@torch.no_grad()
def map_basins(
    dynamics: DynamicsMap,
    graph: FixedPointGraph,
    plane: Plane,
    *,
    resolution: int = 100,
    margin: float = MARGIN,
    max_steps: int = 20_000,
    show_progress: bool = False,
) -> BasinMap:
    """Follow a grid of states in a plane, each to the attractor that draws it in.

    A plane shows a slice of basins, not basins: two regions that are apart in it may be
    one. Trajectories leave the plane at once, and the border through a saddle is the
    slice of its stable manifold only where the saddle lies in the plane.

    Args:
        dynamics: the map.
        graph: what `connect` returned for it; its attractors are the goals.
        plane: `Plane.through` three states, `Plane.of_readouts`, `Plane.principal`.
        resolution: states along each side of the grid.
        margin: how far the grid goes beyond the points, as a share of their width.
        max_steps: steps after which a state counts as unresolved.
        show_progress: show a progress bar.

    Returns:
        The map; states that reach no known attractor are labelled -1.

    Raises:
        ValueError: when points, plane and map do not fit each other.

    References:
        Nusse and Yorke (1997), Dynamics: numerical explorations, chapter 7: basins by
        a grid of trajectories.

    Example:
        >>> import captum_dynamics as cd
        >>> from captum_dynamics.testing.systems import uncoupled_switches
        >>> known = uncoupled_switches(2)
        >>> points = cd.find_fixed_points(known.dynamics, known.states, known.inputs)
        >>> graph = cd.connect(known.dynamics, cd.linearize(known.dynamics, points))
        >>> plane = Plane.principal(points.states)
        >>> basins = map_basins(known.dynamics, graph, plane, resolution=20)
        >>> basins.shares
        {0: 0.25, 2: 0.25, 6: 0.25, 8: 0.25}
    """
    _checks.check_count("resolution", resolution, least=2)
    _checks.check_not_negative("margin", margin)
    _checks.check_count("max_steps", max_steps)
    linear = graph.linearization
    check_one_input(dynamics, linear)
    points = linear.points
    for name, rows in (
        ("plane.origin", plane.origin[None]),
        ("plane.axes", plane.axes),
    ):
        _checks.check_matrix(name, rows, dynamics.state_dim, points.states.device)
    plane = Plane(
        plane.origin.to(points.states), plane.axes.to(points.states), plane.names
    )
    x, y = _sides(plane.places(points.states), resolution, margin)
    grid = torch.cartesian_prod(y, x).flip(1)
    sets = attracting_sets(linear, graph.continua, graph.endings)
    one_input = points.inputs[0]
    flow = Flow(dynamics, one_input, sets, max_steps, Deadline(), show_progress)
    ends = flow.follow(plane.states(grid), "Basins")
    shape = resolution, resolution
    labels = ends.targets.reshape(shape)
    return BasinMap(plane, x, y, labels, ends.steps.reshape(shape), graph)


def _sides(places: Places, count: int, margin: float) -> tuple[Tensor, Tensor]:
    """Coordinates of rows and columns around the points, to the same scale."""
    low, high = places.min(0).values, places.max(0).values
    widths = high - low
    # A plane may show all points on a line, or in one place.
    widths = torch.where(widths > FLAT * widths.max(), widths, widths.max())
    half = widths * (0.5 + margin)
    half = torch.where(half > 0, half, 1.0)
    middle = (low + high) / 2
    steps = torch.linspace(-1, 1, count).to(places)
    return middle[0] + half[0] * steps, middle[1] + half[1] * steps
