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
# # What does a decoder do when nobody stops it?
#
# `g2p-en` is a small package that spells English words out in phonemes. In it lies a
# trained network: a GRU reads the letters, another one writes the phonemes, and reads
# each phoneme that it wrote. We close that loop and ask where it goes.
#
# The weights come from the package's own file; its code is not imported, since it would
# download data.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import ast
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn

import captum_dynamics as cd
from captum_dynamics import plots

package = find_spec("g2p_en")
if package is None:
    raise ModuleNotFoundError("Install the weights: pip install --no-deps g2p-en")
folder = Path(package.submodule_search_locations[0])
weights = {
    name: torch.from_numpy(value).double()
    for name, value in np.load(folder / "checkpoint20.npz").items()
}


def load_gru(prefix):
    """Return a GRU of torch, whose gates are in the same order."""
    width, size = weights[f"{prefix}_w_ih"].shape[1], weights[f"{prefix}_w_hh"].shape[1]
    gru = nn.GRU(width, size, batch_first=True).double()
    names = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh"}
    names |= {"bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
    gru.load_state_dict({k: weights[f"{prefix}_{v}"] for k, v in names.items()})
    return gru


encoder, decoder = load_gru("enc"), load_gru("dec")
letters, sounds = weights["enc_emb"], weights["dec_emb"]
head = nn.Linear(256, 74).double()
head.load_state_dict({"weight": weights["fc_w"], "bias": weights["fc_b"]})

source = (folder / "g2p.py").read_text(encoding="utf-8")
listed = re.search(r"self\.phonemes = (\[.*?\]) \+ (\[.*?\])", source, re.DOTALL)
phonemes = ast.literal_eval(listed[1]) + ast.literal_eval(listed[2])
START, STOP = phonemes.index("<s>"), phonemes.index("</s>")

# %% [markdown]
# ## The encoder
#
# Some hundred words, from the docstrings of Python's own types. `record` keeps all
# states that the encoder visits; letters are numbered from 3, and 2 ends a word.

# %%
text = " ".join(
    getattr(getattr(kind, name), "__doc__", None) or ""
    for kind in (str, bytes, int, float, list, dict)
    for name in sorted(vars(kind))
)
words = sorted(set(re.findall(r"(?<![\w.])[a-z]{3,12}(?![\w.(])", text)))


def spell(word):
    """Return the numbers of the letters, and of the end."""
    return torch.tensor([3 + ord(letter) - ord("a") for letter in word] + [2])


numbers = nn.utils.rnn.pad_sequence([spell(word) for word in words], batch_first=True)
lengths = torch.tensor([len(word) + 1 for word in words])
read = cd.record(encoder, None, letters[numbers], lengths=lengths)
encoded = read.final_states
visited = read.states[read.valid]
shares = torch.linalg.svdvals(visited - visited.mean(0)).square()
shares = shares.cumsum(0) / shares.sum()
print(f"{len(words)} words, {len(visited)} states, at most {visited.abs().max():.2f}")
print(
    f"90% of their variance lies in {int((shares < 0.9).sum()) + 1} of 256 dimensions"
)

# %% [markdown]
# ## The greedy loop
#
# Decoding takes the most likely phoneme and reads it next. As a map, that is a
# `ClosedLoop` with `greedy_feedback`. The first steps are what the package says; the
# package then stops at `</s>`. We do not.

# %%
greedy = cd.ClosedLoop(cd.adapt(decoder), cd.greedy_feedback(head, sounds))
begun = greedy.start(encoded[:: len(encoded) // 24], sounds[START])


def follow(loop, states, steps):
    """Run the loop, which has no input."""
    return loop.rollout(states, torch.zeros(len(states), steps, 0).double())


def say(states):
    """Return the phonemes (n, t) that the loop says on the way to states (n, t, d)."""
    return greedy.feedback.tokens(greedy.outputs(states).flatten(0, 1)).view(
        states.shape[:2]
    )


babble = follow(greedy, begun, 5000)
said = say(babble)
for row in range(3):
    print(
        words[row * (len(encoded) // 24)], "->", *(phonemes[k] for k in said[row, :30])
    )
stopped = (said == STOP).any(1)
print(
    f"{int(stopped.sum())} of {len(said)} say </s>, which is "
    f"{(said == STOP).double().mean():.0%} of all they say"
)

# %% [markdown]
# It does not rest: it babbles on, in shreds of words. Is that chaos? Two runs that
# begin next to each other come together, as the layer contracts while both read the
# same phonemes; only where they disagree about a phoneme would they part. A map that
# contracts in pieces tends to end in cycles, and some runs have reached theirs:

# %%
nudged = begun.clone()
nudged[:, :256] += 1e-9
gaps = (follow(greedy, nudged, 300) - babble[:, :300]).norm(dim=-1)
returns = (babble[:, 2500:-1] - babble[:, -1:]).norm(dim=-1)
back = returns < 1e-9  # in steps since the last return
periods = [2499 - int(row.nonzero()[-1]) for row in back if row.any()]
print(f"a gap of {gaps[:, 0].median():.0e} becomes {gaps[:, -1].max():.0e}")
print(
    f"{len(periods)} of {len(begun)} runs repeat themselves, with periods "
    f"{sorted(periods)}"
)

# %%
centre = babble[:, :, :256].flatten(0, 1)
axes = torch.pca_lowrank(centre, 2, niter=4)[2]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
plane = (babble[:, :, :256] - centre.mean(0)) @ axes
left.plot(*plane[0, :60].T, color="0.8", lw=0.8)
shown = left.scatter(*plane[0, :60].T, c=torch.arange(60), s=14, cmap="viridis")
figure.colorbar(shown, ax=left, label="step")
left.set(title=f"after {words[0]!r}: 60 steps", xlabel="PC 1", ylabel="PC 2")
right.semilogy(gaps.T.clamp_min(1e-17), color="C0", lw=0.6, alpha=0.5)
_ = right.set(title="two runs that begin close", xlabel="step", ylabel="gap")

# %% [markdown]
# ## One phoneme for ever
#
# A fixed point of the greedy loop would be a phoneme after which the decoder says that
# phoneme again. `find_token_points` asks the layer alone, under one phoneme at a time.
# It matters where such a search begins: from states that words lead to, it stalls far
# from rest. We let the layer read the phoneme for long, and search from there.

# %%
layer = greedy.dynamics
for token in (phonemes.index("AW2"), 0, phonemes.index("R"), STOP):
    held = sounds[token].expand(4, 4000, -1)
    run = layer.rollout(encoded[:4], held)
    moves = (run[:, -1] - run[:, -2]).norm(dim=-1).max()
    with warnings.catch_warnings():  # where no search converges, the rows say so
        warnings.simplefilter("ignore", cd.ConvergenceWarning)
        rest = cd.find_token_points(greedy, run[:, -1], torch.tensor([token]))
    print(f"reads {phonemes[token]}: after 4,000 steps it moves {moves:.0e} a step")
    for row, point in enumerate(cd.linearize(layer, rest.points).eigenvalues):
        print(
            f"   {cd.Kind(int(rest.points.kind[row])).name:5s}"
            f" residual {rest.points.residual_norms[row]:.0e},"
            f" leading multiplier {point[0].abs():.4f},"
            f" says {phonemes[rest.emitted[row]]} by a margin of"
            f" {-rest.margins[row]:.1f}; {int(rest.consistent[row])} of the loop"
        )

# %% [markdown]
# The layer rests under some phonemes, at one attracting point, though it takes hundreds
# of steps to come there: the multiplier is near 1. Under others nothing is found that
# attracts. Residuals of 1e-3 and 1e-4 are *slow* points, no fixed ones: along a
# direction with multiplier 1.000 the state hardly moves and never quite stops. All this
# is far from what decoding does, since at every one of these points the decoder wants
# to say something else, by a wide margin: none of them is a fixed point of the loop.

# %% [markdown]
# ## The soft loop
#
# Let it read the mean embedding, softmax(logits / T), instead. That is smooth, and maps
# a box into itself: by Brouwer's theorem it has a fixed point at every temperature T.
# At a high one the decoder reads nearly the mean phoneme, and rests. We follow that
# point down.

# %%
none = torch.zeros(1, 0).double()
starts = None
for temperature in (20.0, 12.0, 8.0, 7.0, 6.0):
    feedback = cd.soft_feedback(head, sounds, temperature=temperature)
    soft = cd.ClosedLoop(layer, feedback)
    if starts is None:
        starts = follow(soft, begun[:4], 300)[:, -1]
    points = cd.find_fixed_points(soft, starts, none)
    points = points[points.kind == cd.Kind.FIXED].unique()
    starts = points.states
    linear = cd.linearize(soft, points)
    print(
        f"T = {temperature:4.1f}: {linear.eigenvalues[0, 0]:.4f}, residual "
        f"{points.residual_norms[0]:.0e}, {int(linear.unstable_dims[0])} unstable"
    )

# %% [markdown]
# Between 7 and 6 a pair of multipliers leaves the unit circle: the point still rests,
# but lets go of what is near, and the loop begins to turn.

# %%
figure, _ = plots.plot_spectrum(linear)
figure

# %% [markdown]
# At a temperature of 8 all of the box leads to the one attractor, as far as samples
# tell:

# %%
warm = cd.ClosedLoop(layer, cd.soft_feedback(head, sounds, temperature=8.0))
calm = cd.find_fixed_points(warm, starts, none)
print(cd.connect(warm, cd.linearize(warm, calm), basin_samples=32).summary())

# %% [markdown]
# At temperature 1, where it speaks of likely phonemes, it is chaotic: a small deviation
# grows in every step, by the largest Lyapunov exponent.

# %%
soft = cd.ClosedLoop(layer, cd.soft_feedback(head, sounds))
spread = cd.lyapunov_exponents(soft, begun[:4], none, count=1, steps=512, transient=128)
for growth, error in zip(spread.exponents[:, 0], spread.errors[:, 0], strict=True):
    print(f"{growth:.3f} +- {error:.3f} per step")

# %% [markdown]
# So the answer has three parts. Greedy decoding contracts between its jumps; of the
# runs that have settled, each ends in a cycle of hundreds or thousands of steps, and
# the others have not settled yet. The soft loop rests at a high temperature, and is
# chaotic at 1: a fixed point must exist there too, but the loop does not go there, and
# searches that begin on its runs stall at residuals of 0.2 to 0.4. And nothing grows
# without bound: the states of a GRU stay within [-1, 1]. What the decoder learned is
# what it does up to `</s>`; the rest is the map it happens to be.
