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
# # Getting started on your own model
#
# Captum tells which inputs made a model say what it said. For a recurrent network there
# is a second question: *how does it carry what it read to the end?* This page asks both
# of a small model that you could have written, in plain PyTorch. It takes half a minute
# to run, and needs no knowledge of dynamical systems.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import tempfile
from pathlib import Path

import torch
from captum.attr import IntegratedGradients
from torch import nn

import captum_dynamics as cd
from captum_dynamics import plots
from captum_dynamics.adapters import inspect_layers
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.findings import Documents

# %% [markdown]
# ## The model
#
# A monitor watches a pump. At each of 60 steps it reads three numbers: heat, a reset
# button, and how much the pump shakes. Most of them are noise; now and then one of them
# peaks. In the end it must say whether there was a peak of heat *since the last reset*.
# Shaking means nothing.


# %%
class PumpMonitor(nn.Module):
    """Read heat, reset and shaking (n, t, 3), say how sure an alarm is (n, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read the answer from the state after the last step."""
        states, _ = self.gru(x)
        return self.head(states[:, -1])


def measure(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw n measurements (n, 60, 3), and whether each must end in an alarm."""
    noise = 0.1 * torch.randn(n, 60, 3, generator=generator)
    peaks = torch.rand(n, 60, 3, generator=generator) < 0.05
    alarm = torch.zeros(n, dtype=torch.bool)
    for step in range(60):
        alarm = (alarm | peaks[:, step, 0]) & ~peaks[:, step, 1]
    return noise + peaks, alarm.float()


# %%
generator = torch.Generator().manual_seed(0)
torch.manual_seed(0)
model = PumpMonitor()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.3)
for _ in range(250):
    inputs, alarm = measure(128, generator)
    loss = nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], alarm)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
model.eval()

inputs, alarm = measure(1000, generator)
right = ((model(inputs)[:, 0] > 0) == alarm.bool()).float().mean()
f"{right:.1%} of new measurements right"

# %% [markdown]
# ## Can it be read?
#
# `inspect_layers` walks through the model and lists its recurrent layers: where each
# is, who reads it, and how wide its **state** is. The state is what the layer hands
# from step to step, here the 16 numbers of the GRU: all that it knows of the past.
# (From a shell: `captum-dynamics inspect module:factory`.)

# %%
for layer in inspect_layers(model):
    state = ", ".join(f"{block.name}: {block.size}" for block in layer.layout.blocks)
    print(f"{layer.path!r} is a {layer.kind}, state {state}, input {layer.input_dim}")

# %% [markdown]
# `adapt` turns such a layer into a **map**: a function that takes a state and an input
# and gives the next state, exactly as the layer does. All that follows is about this
# map. `list_adapters` shows what can be read besides; a layer that is not among them
# takes a few lines ([Adapters](../adapters.md)).

# %%
dynamics = cd.adapt(model, "gru")
after_peak = dynamics(torch.zeros(1, 16), torch.tensor([[1.0, 0.0, 0.0]]))
print(f"{after_peak.shape} after one step; {len(cd.list_adapters())} adapters")

# %% [markdown]
# ## The whole analysis in one call
#
# `analyze` runs the model on some measurements and watches the layer. Then it takes the
# map aside, holds the input constant at the mean of what was read, and asks where the
# state goes when nothing happens. `words` are named inputs whose effect we want to
# know; `compare` takes attribution methods of Captum to set beside ours.

# %%
result = cd.analyze(
    model,
    "gru",
    inputs[:200],
    words=cd.NamedInputs(["peak of heat", "reset", "shaking"], torch.eye(3)),
    compare=[IntegratedGradients],
)
print(result.summary())

# %% [markdown]
# Line by line:
#
# - **Fixed points** are states that stay where they are while the input stays. An
#   **attractor** pulls nearby states in, like the bottom of a bowl; a **saddle** is the
#   pass between two bowls, where a small push decides. Two attractors and a saddle: a
#   switch. The residual is how far one step moves the point, zero but for rounding.
# - **Multipliers** tell by which factor a small deviation from the point changes at
#   each step. Below 1 it fades: the point attracts. Above 1 it grows: the state leaves.
# - **Slow points** are states that hardly move. Had the network to remember *how much*,
#   they would form a line; here they lie in separate places.
# - **Memory** puts the slowest multiplier into steps: how long until about a third
#   (1/e) of a deviation is left. It is a median over the slow points; those at the
#   attractors themselves follow from their multipliers.
# - **Words**: what the named inputs do to the answer through the slowest direction.
# - **Graph**: where the state goes from the saddle, and which share of the visited
#   states would end at which attractor. The audit tests that nothing obvious is
#   missing.
# - **Attribution**: more on that below.
#
# ## Pictures
#
# The state has 16 dimensions. Does the network use them? The curves show which share of
# the spread of all visited states lies in the first few directions, for this network
# and for one with fresh random weights.

# %%
figure, _ = plots.plot_variance(result.visits)
figure

# %% [markdown]
# Almost all of it is in one direction, so a flat picture loses little. Pale dots are
# states that were visited, coloured ones slow points; the filled circles are the
# attractors, the ring is the saddle:

# %%
figure, _ = plots.plot_slow_points(result)
figure

# %% [markdown]
# And the switch itself, with the ways out of the saddle:

# %%
figure, _ = plots.plot_graph(result.graph)
figure

# %% [markdown]
# Which attractor means alarm? Ask the model's own head:

# %%
with torch.no_grad():
    answers = model.head(result.points.states.float())[:, 0]
for row, answer in enumerate(answers.tolist()):
    verdict = cd.Stability(int(result.linearization.stability[row])).name.lower()
    print(f"{row}: {verdict:9}  answer {answer:+.2f}")

# %% [markdown]
# So this is how the model computes: a state that means *calm*, one that means *alarm*,
# and a pass between them. A peak of heat carries the state over the pass, a reset
# carries it back, and in between nothing needs to be done to remember.
#
# ## Which inputs made it say so?
#
# A measurement with a peak of heat, a reset, and another peak of heat. Only the second
# peak should count: the first was taken back. Blue inputs spoke for an alarm, orange
# ones against it.

# %%
steps = 0.1 * torch.randn(1, 60, 3, generator=generator)
for step, channel in ((10, 0), (22, 1), (38, 0), (50, 2)):
    steps[0, step, channel] += 1.0

explainer = DynamicsAttribution(model, model.gru)
ours, our_delta = explainer.attribute(
    steps, baselines=0.0, target=0, return_convergence_delta=True
)
channels = ["heat", "reset", "shaking"]
figure, _ = plots.plot_time_series(steps[0], ours[0], channels=channels)
figure

# %% [markdown]
# `DynamicsAttribution` has Captum's interface: a model, a layer, then `attribute` with
# baselines and a target. It follows the layer's map along the run, step by step. The
# same question to Integrated Gradients, which knows nothing of steps:

# %%
gradients = IntegratedGradients(model)
theirs, their_delta = gradients.attribute(
    steps, baselines=0.0, target=0, n_steps=50, return_convergence_delta=True
)
figure, _ = plots.plot_time_series(steps[0], theirs[0], channels=channels)
figure

# %% [markdown]
# ## What the convergence delta says
#
# Both methods promise that contributions add up to the answer less the answer to the
# baseline. The **convergence delta** is how far they are off. Below, contributions are
# added from left to right; a method that keeps its promise ends on the dotted line.

# %%
with torch.no_grad():
    answer, calm = model(steps)[:, 0], model(torch.zeros_like(steps))[:, 0]
documents = Documents.of(
    [[str(step) if step % 10 == 0 else "" for step in range(60)]],
    {
        "DynamicsAttribution": (ours, our_delta),
        "IntegratedGradients": (theirs, their_delta),
    },
    outputs=answer,
    baseline_outputs=calm,
)
figure, _ = plots.plot_accumulation(documents)
figure

# %%
print(f"answer {answer.item():+.2f}, baseline {calm.item():+.2f}")
print(f"delta of DynamicsAttribution: {our_delta.item():+.1e}")
for n_steps in (50, 200, 1000):
    theirs, delta = gradients.attribute(
        steps, 0.0, 0, n_steps=n_steps, return_convergence_delta=True
    )
    print(f"delta of IntegratedGradients, {n_steps:4} steps: {delta.item():+.1e}")

# %% [markdown]
# Integrated Gradients averages the gradient over inputs that are blended, little by
# little, from the baseline to the measurement. Somewhere on that way this network
# *switches*: the gradient is huge within a very narrow part of the way and next to zero
# elsewhere. Fifty steps count that part too much or too little, which the large delta
# shows; many more steps get it right here. Look at the delta before the picture.
#
# With enough steps both methods are complete, and yet they need not agree:

# %%
print("           heat 10  reset 22  heat 38  shaking 50")
for name, found in (("dynamics", ours), ("integrated", theirs)):
    shown = (found[0, 10, 0], found[0, 22, 1], found[0, 38, 0], found[0, 50, 2])
    print(f"{name:11}" + "".join(f"{value.item():+9.2f}" for value in shown))

# %% [markdown]
# To Integrated Gradients the first peak matters too. The reason is on its way from the
# baseline. Half-way, all peaks are half as high, and what a half reset leaves of the
# first one helps the second one over the pass:

# %%
without_first = steps.clone()
without_first[0, 10, 0] -= 1.0
with torch.no_grad():
    for strength in (0.5, 1.0):
        pair = torch.cat([strength * steps, strength * without_first])
        with_it, without_it = model(pair)[:, 0].tolist()
        print(f"strength {strength}: {with_it:+.2f}, without heat 10 {without_it:+.2f}")

# %% [markdown]
# `DynamicsAttribution` compares the two runs as they are, at full strength: by the time
# of the second peak the first was taken back, so that little of it is left. Neither is
# wrong; they answer different questions. [Attribution](../attribution.md) compares more
# methods.
#
# ## Keep it
#
# `report` writes one HTML file, with these pictures and the numbers behind each, that
# works offline; `save` writes everything to one file that `load` reads again.

# %%
folder = Path(tempfile.mkdtemp())
report = result.report(folder / "report.html")
saved = result.save(folder / "pump.npz")
again = cd.load(saved)
size = report.stat().st_size // 1024
print(f"report of {size} KiB, {len(again.points)} points read again")

# %% [markdown]
# ## What could mislead
#
# - A fixed point belongs to the constant input at which it was searched for. The mean
#   is a sensible one; your model may never rest under it. Try others (`reference=`).
# - A search finds points, it does not prove that there are no more.
# - The picture is flat and the state is not. Look at `plot_variance` first.
# - A small delta says that contributions add up. It does not say that they are the
#   explanation that you wanted.
#
# ## On your own model
#
# Replace `model`, `"gru"` and `inputs`; some tens to hundreds of sequences from use are
# enough. For text, give `tokens=` with the words of each sequence. If the layer is
# refused, the message says why and what to do. Then ask the next question: *does it
# remember how much, or only which?* That is the [line attractor](02_line_attractor.py).
# Or: [why does it only look at the last tokens?](03_last_tokens.py)
