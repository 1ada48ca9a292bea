# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Three bits of memory: a network that is a cube
#
# Three channels pulse up or down now and then; the network must answer, at every step,
# which way each of them pulsed last. That is a memory of three bits. We train a small
# GRU on it and take it apart: what it rests at, how these places hang together, what a
# pulse does, and what would happen if pulses were weaker.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import torch

import captum_dynamics as cd
from captum_dynamics import plots
from captum_dynamics.tasks.flipflop import (
    evaluate_flipflop,
    sample_flipflop,
    train_flipflop,
)

net = train_flipflop("gru", 16, seed=0, updates=1000)
loss, right = evaluate_flipflop(net)
f"{right:.1%} of answers right"

# %% [markdown]
# ## Where it rests
#
# `survey_fixed_points` searches until twice the starts bring nothing new, and says what
# that is worth.

# %%
generator = torch.Generator().manual_seed(0)
dynamics = cd.adapt(net, "rnn")
runs = cd.record(net, "rnn", sample_flipflop(32, 64, generator=generator).inputs)
none = torch.zeros(3)
survey = cd.survey_fixed_points(dynamics, runs, none, generator=generator)
print(survey.summary())

# %% [markdown]
# Eight attractors: one for each way to set three bits. The other points are saddles
# between them, and one in the middle of all. Their eigenvalues, against the circle on
# which a deviation neither grows nor fades:

# %%
linear = cd.linearize(dynamics, survey.points)
figure, _ = plots.plot_spectrum(linear)
figure

# %% [markdown]
# ## How these places hang together
#
# `connect` follows what leaves each saddle. The picture shows the points where they
# are, as far as a plane can show them:

# %%
visited = runs.sample_states(300, generator=generator)
graph = cd.connect(dynamics, linear, basin_states=visited, generator=generator)
figure, _ = plots.plot_graph(graph)
figure

# %% [markdown]
# By unstable dimensions, the cube is plain to see. A cube has 8 corners, 12 edges, 6
# faces and itself; each attractor is a corner, a saddle with one way out is an edge
# between two corners, one with two is a face, and the point in the middle is the cube.

# %%
figure, _ = plots.plot_hierarchy(graph)
figure

# %% [markdown]
# Is that all there is? The audit checks that points and connections fit together as the
# parts of a ball must: without any one of them they would not.

# %%
print(graph.audit.summary())

# %% [markdown]
# A slice through three of the attractors shows their basins. The borders run close to
# saddles:

# %%
from captum_dynamics.topology import Plane, map_basins

corners = linear.points.states[graph.attractors]
near = (corners - corners[0]).norm(dim=1).argsort()
plane = Plane.through(*corners[near[:3]])
figure, _ = plots.plot_basins(map_basins(dynamics, graph, plane))
figure

# %% [markdown]
# ## What pulses do
#
# Rest at an attractor, give a pulse, let the state settle: where is it then? The
# answers for all attractors and pulses make a machine, the one that was asked for.

# %%
pulses = {
    f"{name}{sign}": value * torch.eye(3)[channel]
    for channel, name in enumerate("abc")
    for sign, value in (("+", 1.0), ("-", -1.0))
}
transitions = cd.find_transitions(dynamics, graph.linearization, pulses)
print(transitions.summary().splitlines()[0])
print(transitions.summary().splitlines()[1])

# %% [markdown]
# The second line says how weak a pulse may be: below the threshold the state falls back
# to where it was.


# %%
def bits(states: torch.Tensor) -> torch.Tensor:
    """What the network answers at some states."""
    return net.readout(states.float()) > 0


figure, _ = plots.plot_transitions(transitions.automaton(bits))
figure

# %% [markdown]
# ## Under a lasting input
#
# While an input lasts, the points move. Follow them as channel a is raised slowly to
# half a pulse: an attractor in which bit a was down meets a saddle and both are gone.
# That is where the memory is overwritten.

# %%
branches = cd.continue_points(
    dynamics, graph.linearization.points, none, torch.tensor([0.5, 0.0, 0.0])
)
figure, _ = plots.plot_branches(branches, readout=net.readout.weight[0].double())
figure

# %% [markdown]
# ## All of it in one place
#
# The graph keeps its layers together, and writes them to one file for Gephi, d3 or
# networkx.

# %%
whole = graph.with_layers(transitions=transitions, branches=branches).layered
sorted({layer for *_, layer in whole.edges(data="layer")})

# %% [markdown]
# ## When nothing rests
#
# Not every network comes to rest. A random one with strong weights does not, and says
# so by its exponents: how fast two states that are close to each other part.

# %%
generator = torch.Generator().manual_seed(0)
random = torch.nn.RNN(1, 40, bias=False).double()
torch.nn.init.normal_(random.weight_hh_l0, std=2.2 / 40**0.5, generator=generator)
wild = cd.adapt(random)
starts = 2 * torch.rand(100, 40, generator=generator, dtype=torch.float64) - 1
regimes = cd.classify_runs(wild, starts, torch.zeros(1, 1))
print(regimes.summary())

# %%
figure, _ = plots.plot_regimes(regimes)
figure

# %% [markdown]
# ## What could mislead
#
# - This task is made for attractors: three answers of two kinds each, to be kept for
#   ever. Networks that grade or count have lines and sheets instead ([Slow
#   manifolds](../manifolds.md)).
# - The points are those under *no* pulse. Under a lasting input there are others, as
#   the branches show.
# - A survey that is saturated, and an audit that is consistent, are good evidence. They
#   are no proof; `cd.certify` proves each point by itself.
#
# ## On your own model
#
# Call `survey_fixed_points` at the input that means "nothing happens", then `connect`.
# If the graph has several attractors, give `find_transitions` the inputs that should
# switch between them, and compare the machine that comes out with the one that you had
# in mind.
