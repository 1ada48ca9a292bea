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
# # My layer is not in the list: writing an adapter
#
# The package reads `nn.RNN`, `nn.GRU`, `nn.LSTM` and many others. What if your model
# has a recurrent cell that you wrote yourself? Then you say what it computes. That is
# called an **adapter**, and it takes about ten lines. We write one, let the package
# look for mistakes in it, and then use it on a trained network, from fixed points to
# attributions.
#
# ## A cell that torch does not have
#
# The *minimal gated unit* (Zhou et al. 2016) is a GRU with a single gate. The gate $f$
# says how much of the state $h$ is rewritten, and how much of it the new candidate $c$
# may see:
#
# $$f = \sigma(W_f x + U_f h), \quad c = \tanh(W_c x + U_c (f \odot h)), \quad
# h' = (1 - f) \odot h + f \odot c.$$

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import time

import torch
from torch import nn

import captum_dynamics as cd
from captum_dynamics import plots


class MGUCell(nn.Module):
    """The minimal gated unit: one gate, called as `nn.GRUCell` is."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, h=None):
        if h is None:
            h = x.new_zeros(len(x), self.hidden_size)
        f = torch.sigmoid(self.gate(torch.cat([x, h], dim=-1)))
        c = torch.tanh(self.candidate(torch.cat([x, f * h], dim=-1)))
        return (1 - f) * h + f * c


# %% [markdown]
# ## A network to look at
#
# An analysis needs something to find, so we train the cell on a small memory: two
# channels pulse up or down now and then, and the network must say at every step which
# way each of them pulsed last. It takes some seconds.

# %%
from captum_dynamics.tasks.flipflop import sample_flipflop


class Memory(nn.Module):
    """Two bits of memory: the cell in a loop, and a linear readout."""

    def __init__(self, size):
        super().__init__()
        self.cell = MGUCell(2, size)
        self.readout = nn.Linear(size, 2)

    def forward(self, pulses):
        h, visited = None, []
        for x in pulses.unbind(1):
            h = self.cell(x, h)
            visited.append(h)
        return self.readout(torch.stack(visited, dim=1))


torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
model = Memory(16)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(600):
    data = sample_flipflop(64, 40, bits=2, generator=generator)
    loss = nn.functional.mse_loss(model(data.inputs), data.targets)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()

model.eval()
test = sample_flipflop(64, 200, bits=2, generator=generator)
right = ((model(test.inputs) > 0) == (test.targets > 0)).double().mean()
print(f"{right:.1%} of the answers are right")

# %% [markdown]
# The package does not know this cell, and says what can be done:

# %%
try:
    cd.adapt(model, "cell")
except cd.AdapterNotFoundError as error:
    print(error)

# %% [markdown]
# ## The quick way: a function
#
# `FunctionAdapter` takes any function of states and inputs. Results are in double
# precision, so the function needs a copy of the cell in double precision.

# %%
import copy

double = copy.deepcopy(model.cell).double().requires_grad_(False)
quick = cd.FunctionAdapter(lambda h, x: double(x, h), 16, 2)

starts = torch.rand(200, 16, generator=generator) * 2 - 1
silence = torch.zeros(1, 2)
points = cd.find_fixed_points(quick, starts, silence)
print(points.summary())
print(points.unique().summary())

# %% [markdown]
# The question was: where does the state come to rest while no pulse comes? Such a
# resting place is a **fixed point**: the cell maps it to itself. Most of the 200
# searches from random states ended at one, and they share a handful of places. The
# others ended where the state hardly moves and yet does move, at **slow points**; a
# random state is no good place to begin a search. States that the network visits are
# better ones, and for these the package must see the cell at work.
#
# That is what a function lacks: the model. It is enough for a first look. To record
# states, or to attribute an output to the inputs, the package must find the cell in the
# model and know how it is called.
#
# ## The full way: a registered class
#
# An adapter states three facts: the `layout` of the state (its blocks, by name), the
# `input_dim`, and the `step`. `calls` says how the cell's `forward` names its
# arguments. The step repeats the equations on a copy of the weights; do not touch the
# layer.

# %%
from captum_dynamics.adapters import CellCalls


@cd.register_adapter(MGUCell)
class MGUAdapter(cd.RecurrentAdapter):
    """Reads `MGUCell` as a dynamics map."""

    calls, input_dim, layout = CellCalls("x", "h"), 0, cd.StateLayout(())

    def __init__(self, cell):
        size = cell.hidden_size
        self.input_dim = cell.gate.in_features - size
        self.layout = cd.StateLayout.of({"h": size})
        widths = [self.input_dim, size]
        gate, candidate = cell.gate, cell.candidate
        self.w_f, self.u_f = gate.weight.detach().double().split(widths, dim=1)
        self.w_c, self.u_c = candidate.weight.detach().double().split(widths, dim=1)
        self.b_f, self.b_c = (
            gate.bias.detach().double(),
            candidate.bias.detach().double(),
        )

    def gates(self, h, x):
        """The gate f and the candidate c."""
        f = torch.sigmoid(x @ self.w_f.mT + h @ self.u_f.mT + self.b_f)
        c = torch.tanh(x @ self.w_c.mT + (f * h) @ self.u_c.mT + self.b_c)
        return f, c

    def step(self, h, x):
        f, c = self.gates(h, x)
        return (1 - f) * h + f * c


dynamics = cd.adapt(model, "cell")
dynamics.state_dim, dynamics.input_dim

# %% [markdown]
# ## Is it right?
#
# An adapter that is slightly wrong gives beautiful pictures of another network. So let
# the package compare it with the layer, claim by claim. Each line shows the number that
# was measured and the largest one that is allowed.

# %%
from captum_dynamics.testing import check_adapter, verify

sample = torch.randn(4, 9, 2, generator=generator)
print(check_adapter(dynamics, model.cell, sample))

# %% [markdown]
# What does a mistake look like? Here is an adapter that lets the candidate see $h$ in
# place of $f \odot h$, an error that is easy to make and hard to see:


# %%
class WrongAdapter(MGUAdapter):
    """Lets the candidate see all of the state."""

    def gates(self, h, x):
        f, _ = super().gates(h, x)
        return f, torch.tanh(x @ self.w_c.mT + h @ self.u_c.mT + self.b_c)


wrong = check_adapter(WrongAdapter(model.cell), model.cell, sample)
print(*wrong.failed, sep="\n")

# %% [markdown]
# Its derivatives pass, as they are the right ones of a wrong map; its outputs do not.
# `verify` goes one step further and runs the whole model first, so that the adapter is
# held against what the cell really read and gave:

# %%
report = verify(dynamics, model, test.inputs, layer="cell")
report.passed

# %% [markdown]
# ## What else you may know
#
# Two more facts are optional, and pay.
#
# **The Jacobian.** Derivatives come from autograd unless you state them: how each unit
# of the next state answers to each unit of this one, $J = \partial h' / \partial h$.
# With the slopes $s_f = f(1 - f)$ and $s_c = 1 - c^2$, the chain rule gives
#
# $$J = \mathrm{diag}(1 - f) + \mathrm{diag}\big((c - h)\, s_f\big)\, U_f
# + \mathrm{diag}(f s_c)\, U_c
# \big[\mathrm{diag}(f) + \mathrm{diag}(h\, s_f)\, U_f\big].$$
#
# **A box.** The next state is a mean of $h$ and $c$, and $c$ lies between -1 and 1. So
# a state between -1 and 1 stays there. Topology then demands that the fixed points
# balance, and the package can use that to tell when some are missing.


# %%
class FastMGU(MGUAdapter):
    """The same map, with its Jacobian and its box."""

    def jacobians(self, h, x):
        f, c = self.gates(h, x)
        slope = f * (1 - f)
        seen = torch.diag_embed(f) + (h * slope)[..., None] * self.u_f
        return (
            torch.diag_embed(1 - f)
            + ((c - h) * slope)[..., None] * self.u_f
            + (f * (1 - c**2))[..., None] * (self.u_c @ seen)
        )

    def invariant_box(self, x):
        ones = x.new_ones(len(x), self.state_dim)
        return -ones, ones


print(check_adapter(FastMGU(model.cell), model.cell, sample).passed)

# %% [markdown]
# The check compares the formula with differences of the step, so a wrong sign would not
# pass. What is gained, for a cell of 64 units:


# %%
def milliseconds(adapter):
    """Time of 200 Jacobians, the best of three."""
    h, x = torch.zeros(200, 64).double(), torch.zeros(200, 2).double()
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        adapter.jacobians(h, x)
        times.append(1e3 * (time.perf_counter() - begin))
    return min(times)


wide = MGUCell(2, 64)
print(f"autograd    {milliseconds(MGUAdapter(wide)):5.1f} ms")
print(f"closed form {milliseconds(FastMGU(wide)):5.1f} ms")

# %% [markdown]
# Do this last. The points are the same without it.
#
# ## All the rest now works
#
# Record the model at work, search until nothing new turns up, and linearize around what
# was found. `survey_fixed_points` reports what speaks for its set being complete:

# %%
dynamics = FastMGU(model.cell)
runs = cd.record(model, "cell", test.inputs)
survey = cd.survey_fixed_points(dynamics, runs, silence[0], generator=generator)
print(survey.summary())

# %% [markdown]
# Around a point, a small deviation is multiplied in each step by numbers called
# **multipliers**, one for each direction. Inside the circle below it shrinks, outside
# it grows. A point with all multipliers inside is an **attractor**: the state returns
# to it, and so it can store something.

# %%
linear = cd.linearize(dynamics, survey.points)
figure, _ = plots.plot_spectrum(linear)
figure

# %% [markdown]
# A point with some outside is a **saddle**, which stands on the border between two
# attractors. `connect` follows what leaves each saddle, and the picture shows where it
# goes: a filled circle attracts, a ring is a saddle, a triangle repels.

# %%
visited = runs.sample_states(300, generator=generator)
graph = cd.connect(dynamics, linear, basin_states=visited, generator=generator)
figure, _ = plots.plot_graph(graph)
figure

# %%
print(graph.audit.summary())

# %% [markdown]
# Two bits have four values, and there are as many attractors, near the corners of a
# square. Between each two neighbours is one saddle, and in the middle the point from
# which all of them can be reached. The audit finds that the pieces fit together.
#
# What a pulse does to a resting state is then a machine with four states:

# %%
pulses = {
    f"{name}{sign}": value * torch.eye(2)[channel]
    for channel, name in enumerate("ab")
    for sign, value in (("+", 1.0), ("-", -1.0))
}
transitions = cd.find_transitions(dynamics, graph.linearization, pulses)


def bits(states):
    """What the network answers at some states."""
    return model.readout(states.float()) > 0


figure, _ = plots.plot_transitions(transitions.automaton(bits))
figure

# %% [markdown]
# Attributions go through the cell as through any layer of torch. They explain how far
# the output is from the output on a **baseline**, here a sequence without pulses. So we
# take a sequence whose last answer on channel a is another one than that:

# %%
from captum_dynamics.attr import DynamicsAttribution

drawn = sample_flipflop(20, 40, bits=2, generator=generator).inputs
answers = model(drawn)[:, -1, 0].detach()
without = model(torch.zeros(1, 40, 2))[0, -1, 0].item()
row = int((answers - without).abs().argmax())
print(f"without pulses {without:+.2f}, with them {answers[row].item():+.2f}")

explainer = DynamicsAttribution(model, model.cell)
attributions, delta = explainer.attribute(
    drawn[row : row + 1], baselines=0.0, target=(39, 0), return_convergence_delta=True
)
print(f"missing from the sum: {float(delta.abs().max()):.0e}")
figure, _ = plots.plot_time_series(
    drawn[row], attributions[0], channels=["channel a", "channel b"]
)
figure

# %% [markdown]
# Colours are contributions. The two last pulses of channel a share the credit, since
# either of them would have been enough. The pulses down before them have been
# overwritten, and what channel b adds is small.
#
# ## What to remember, and what to try
#
# - Begin with a `FunctionAdapter`; write the class when you want `record`, `analyze` or
#   attributions.
# - Run `check_adapter` on the untrained layer first. It takes a second, and random
#   weights show mistakes best: a trained gate that is always open hides its own errors.
# - A cell with two states, such as an LSTM, has two blocks in its `layout`; a layer
#   that runs over the whole sequence by itself takes `SequenceCalls` in place of
#   `CellCalls`.
# - The map is a copy of the weights. After further training, adapt again.
# - A registration lasts as long as the Python process. To share one, put the class in a
#   module of your own package: [Adapters](../adapters.md) says how it is found.
#
# The package's own example of a cell that torch does not have is `models.UGRNN`; its
# adapter, `adapters.UGRNNLayer`, adds every closed form that pays.
