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
# # What does a sentiment network do with a sentence?
#
# A GRU reads a film review word by word and says at the end how positive it was. We
# look for the states it rests in, ask how long it remembers, and let that explain which
# words mattered. The words used here are explained in [concepts](../concepts.md).

# %%
import torch

import captum_dynamics as cd
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.models import load_sentiment

trained = load_sentiment("gru")
model, vocabulary = trained.model, trained.vocabulary

# %% [markdown]
# Two reviews that share nearly all their words:

# %%
texts = [
    "i expected a bad film but it was wonderful , moving and funny",
    "i expected a wonderful film but it was bad , boring and long",
]
ids = vocabulary.encode_batch(texts)
model(ids)[:, 0].tolist()

# %% [markdown]
# ## The layer as a map
#
# `adapt` reads the recurrent layer as a function from one state and one input to the
# next state; `record` remembers the states visited in use, here on a few texts more.

# %%
dynamics = cd.adapt(model, "rnn")
longer = [
    "a wonderful , moving and funny film , the best in years , i loved it",
    "a dull and boring mess , the worst film in years , avoid it",
    "the first half is slow but the acting is good and the end is great",
    "the story follows two brothers who meet again in a small town",
]
use = vocabulary.encode_batch([*texts, *longer, *(text * 3 for text in longer)])
runs = cd.record(model, "rnn", use, lengths=model.lengths(use))
dynamics.state_dim, dynamics.input_dim

# %% [markdown]
# ## Where does it rest?
#
# We hold an average word constant and look for fixed points, from the states visited
# and from mixtures of them.

# %%
average = trained.mean_embedding
generator = torch.Generator().manual_seed(0)
starts = runs.sample_states(64, generator=generator)
points = cd.find_fixed_points(
    dynamics, starts, average, extra_starts=200, generator=generator
)
points = points[points.kind == cd.Kind.FIXED].unique()
points.summary()

# %% [markdown]
# ## How long does it remember?
#
# Each point's leading multiplier is close to 1: along one direction the state hardly
# returns, so that it adds up the evidence. Below 1 it fades, above 1 it grows; times
# are in words.

# %%
linear = cd.linearize(dynamics, points)
print(linear.summary())
linear.time_constants[:, :4], linear.growth_times[:, :1]

# %% [markdown]
# ## Which words mattered?
#
# The attributions follow the states of each review. Their sum is the change of the
# output against a baseline of average words, and `delta` is what is missing from it.

# %%
embedded = model.embedding(ids).detach()
baselines = average.expand_as(embedded)
explainer = DynamicsAttribution(model.forward_embedded, model.rnn)
attributions, delta = explainer.attribute(
    embedded,
    baselines=baselines,
    target=0,
    additional_forward_args=(model.lengths(ids),),
    return_convergence_delta=True,
)
delta.abs().max().item()

# %%
for text, row in zip(texts, attributions.sum(-1), strict=True):
    for word, value in zip(vocabulary.tokens(text), row.tolist(), strict=False):
        print(f"{value:+7.2f}  {word}")
    print()
