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
# # Why does my GRU only look at the last tokens?
#
# You attribute a recurrent classifier with Captum, and the last few tokens get
# everything; the beginning of the text is next to zero. Others have met it too, at
# $10^{-27}$ for the first token ([Captum
# #1078](https://github.com/meta-pytorch/captum/issues/1078)). There are two causes,
# they look the same, and they ask for opposite cures:
#
# 1. **The network forgets.** The beginning is gone by the time it answers. The
#    attribution is right; the network needs mending.
# 2. **The gradient saturates.** The network knows the beginning perfectly well, and is
#    so sure of it that no *small* change matters. The network is fine; the method is
#    not.
#
# This page has one network of each kind, tells them apart, and predicts from the
# network's **time constants** how attributions fade.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import numpy as np
import torch
from captum.attr import FeatureAblation, IntegratedGradients, Saliency
from matplotlib import pyplot as plt
from torch import nn

import captum_dynamics as cd
from captum_dynamics import plots
from captum_dynamics.attr import DynamicsAttribution
from captum_dynamics.models import SentimentClassifier
from captum_dynamics.tasks.synthetic_sentiment import (
    evaluate_synthetic_sentiment,
    sample_synthetic_sentiment,
    token_values,
    train_synthetic_sentiment,
)

# %% [markdown]
# ## One task, two networks
#
# Documents are made of 60 invented tokens. Half of them are neutral, the others are
# worth one or two, up or down; a document is positive if its tokens add up to more than
# zero. So we know what every token should count: as much at the beginning as at the
# end.
#
# The first GRU learns from notes of two to four tokens. The second one learns from
# documents of ten to forty tokens, with plain yes or no as labels.

# %%
first = train_synthetic_sentiment(
    "gru", 24, shortest=2, longest=4, documents=64, updates=400
)
second = train_synthetic_sentiment(
    "gru", 24, soft=False, shortest=10, longest=40, documents=64, updates=800
)
networks = {"first": first, "second": second}
for name, network in networks.items():
    for length in (4, 120):
        right, _ = evaluate_synthetic_sentiment(
            network, shortest=length, longest=length
        )
        print(f"{name:6} network: {right:.0%} right on {length} tokens")

# %% [markdown]
# ## The symptom
#
# Now a document of 66 tokens: six that are worth two each, then sixty neutral ones. The
# answer *must* come from the first six. Where is the gradient?

# %%
values = token_values()
generator = torch.Generator().manual_seed(3)
strong, neutral = ((values == worth).nonzero()[:, 0] for worth in (2.0, 0.0))
neutral = neutral[1:]  # without the padding


def draw(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """Draw some of these tokens."""
    return tokens[torch.randint(len(tokens), (count,), generator=generator)]


good, rest, nothing = draw(strong, 6), draw(neutral, 60), draw(neutral, 6)
document = torch.cat([good, rest])[None]


def answer_from(network: SentimentClassifier):
    """The network as a function of embedded tokens, as gradients want it."""
    return lambda vectors: network.forward_embedded(
        vectors, torch.full((len(vectors),), vectors.shape[1])
    )


plt.figure(figsize=(6, 3))
for name, network in networks.items():
    embedded = network.embedding(document).detach().requires_grad_()
    gradient = Saliency(answer_from(network)).attribute(embedded, target=0)
    plt.semilogy(gradient[0].norm(dim=-1), label=f"{name} network")
plt.axvspan(-0.5, 5.5, color="gold", alpha=0.4)
plt.xlabel("token (yellow: the six that count)")
plt.ylabel("size of the gradient")
plt.legend()
plt.show()

# %% [markdown]
# Both fade to the left, by a factor of ten and more, though only the beginning counts.
# From this picture alone nobody can tell the two networks apart.
#
# ## The first test: take the beginning away
#
# Ask the network itself. Replace the six good tokens by neutral ones, all six at once,
# and see whether the answer changes; then do the same with the six at the *end*.

# %%
orders = {"beginning": (0, 1), "end": (1, 0)}
for name, network in networks.items():
    for place, order in orders.items():
        with_good, without = (
            torch.cat([[six, rest][row] for row in order])[None]
            for six in (good, nothing)
        )
        with torch.no_grad():
            change = (network(with_good) - network(without)).item()
        print(f"{name:6} network, six good tokens at the {place:9}: {change:+6.2f}")

# %% [markdown]
# That settles it. To the first network the six are worth much at the end and little at
# the beginning: it **forgets**. To the second they are worth a lot in either place: it
# remembers, and its gradient **saturates**.
#
# ## How long does the first network remember?
#
# A token moves the state of the layer, and afterwards that change fades, or not. Near a
# point where the state rests, the layer acts on small changes like a matrix, and each
# of its **modes** (eigenvectors) shrinks by a constant factor at every token. The
# **time constant** is the number of tokens after which about a third (1/e) is left.
# `analyze` finds the slow points among the states that the network visits, and their
# modes:

# %%
texts = sample_synthetic_sentiment(400, shortest=120, longest=120, generator=generator)
found = cd.analyze(first, "rnn", texts.ids, explained=1)
figure, _ = plots.plot_time_constants(found.manifold)
figure

# %% [markdown]
# Blue dots are the slowest mode, at each place where states linger; grey ones are the
# next. One memory of some twenty tokens, and nothing else that lasts.
#
# In use the state is more often in some of these places than in others. So we take the
# slowest factor at 300 states that were visited, and average its logarithm, since
# factors of successive tokens multiply:

# %%
dynamics = cd.adapt(first, "rnn")
states = cd.record(first, "rnn", texts.ids).sample_states(300, generator=generator)
average = found.visits.reference_input
jacobians = dynamics.jacobians(states, average.expand(300, -1))
factors = torch.linalg.eigvals(jacobians).abs().amax(-1)
memory = -1 / factors.log().mean().item()
print(f"time constant at visited states: {memory:.1f} tokens")

# %% [markdown]
# This is a *prediction*: a token that was read $n$ tokens before the end should keep a
# share of about $e^{-n/\tau}$. Let us measure. Over 400 random documents of 120 tokens,
# how much does a token contribute for each unit that it is worth, by its distance from
# the end?


# %%
def kept(network: SentimentClassifier, average: torch.Tensor) -> torch.Tensor:
    """Contribution per unit of worth, by tokens from the end."""
    vectors = network.embedding(texts.ids).detach()
    contributions = DynamicsAttribution(answer_from(network), network.rnn).attribute(
        vectors, baselines=average.float().expand_as(vectors), target=0
    )
    worth = values[texts.ids]
    slopes = (contributions.sum(-1) * worth).sum(0) / worth.square().sum(0)
    return slopes.flip(0)


measured = kept(first, average).numpy()
distance = np.arange(120)
slope, height = np.polyfit(distance[5:60], np.log(measured[5:60]), 1)
plt.figure(figsize=(6, 3))
plt.semilogy(distance, measured, ".", label="measured")
plt.semilogy(distance, np.exp(height - distance / memory), label="predicted slope")
plt.xlabel("tokens from the end")
plt.ylabel("contribution per unit of worth")
plt.legend()
plt.show()
print(f"predicted from the modes: 1/e in {memory:.1f} tokens")
print(f"measured in attributions: 1/e in {-1 / slope:.1f} tokens")

# %% [markdown]
# The slope of the line was not fitted to the dots (its height was). Attributions fade
# because the memory does, and at nearly the same pace: they are right.
#
# Do not expect it to be this close everywhere. One number is an average over many
# places, and the input is held at its mean; with other seeds and lengths of notes we
# saw predictions up to two times too short.
#
# ## What saturates in the second network
#
# The second network was asked for a yes or a no, and made itself places for the
# answers:

# %%
decided = cd.analyze(second, "rnn", texts.ids[:, :40], explained=1)
with torch.no_grad():
    answers = second.readout(decided.points.states.float())[:, 0].tolist()
stable = decided.linearization.stability == int(cd.Stability.ATTRACTOR)
times = decided.linearization.slowest_decay
for answer, attracts, time in zip(answers, stable, times, strict=True):
    if attracts:
        print(f"attractor with answer {answer:+6.1f}, time constant {time:.0f} tokens")

# %% [markdown]
# An **attractor** is a state that pulls nearby states in and keeps them. The document
# was carried to the most positive one by its first tokens, and stays there. A *small*
# change of the first tokens leads to the same attractor and is forgotten within its
# time constant: that is the gradient, and it fades. A *large* change leads to another
# attractor, and is never forgotten. The memory is in *which* place, and a gradient
# cannot see that.
#
# Methods with a baseline can: they follow large changes.


# %%
def explain(network: SentimentClassifier, average: torch.Tensor) -> dict:
    """Contributions of the document's tokens by four methods."""
    answer = answer_from(network)
    vectors = network.embedding(document).detach()
    base = average.float().expand_as(vectors).contiguous()
    gradient = Saliency(answer).attribute(
        vectors.clone().requires_grad_(), target=0, abs=False
    )
    token_by_token = torch.arange(66)[None, :, None].expand_as(vectors)
    removed = FeatureAblation(answer).attribute(
        vectors, base, 0, feature_mask=token_by_token
    )
    integrated = IntegratedGradients(answer).attribute(vectors, base, 0, n_steps=200)
    dynamics = DynamicsAttribution(answer, network.rnn).attribute(
        vectors, baselines=base, target=0
    )
    return {
        "gradient x change": (gradient * (vectors - base)).sum(-1)[0],
        "one token removed": removed[0, :, 0],
        "Integrated Gradients": integrated.sum(-1)[0],
        "DynamicsAttribution": dynamics.sum(-1)[0],
    }


averages = {"first": average, "second": decided.visits.reference_input}
explained = {name: explain(networks[name], averages[name]) for name in networks}
for name, methods in explained.items():
    print(f"{name} network")
    for method, steps in methods.items():
        six, others = steps[:6].sum(), steps[6:].sum()
        print(f"  {method:21} first six {six:+6.2f}, other sixty {others:+6.2f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3))
for ax, (name, methods) in zip(axes, explained.items(), strict=True):
    for method, steps in methods.items():
        ax.plot(steps.detach(), label=method, linewidth=1.2)
    ax.set_title(f"{name} network")
    ax.set_xlabel("token")
axes[0].set_ylabel("contribution")
axes[1].legend(fontsize=8)
plt.show()

# %% [markdown]
# In the first network all methods say little (mind the scales): a few tenths at most,
# where the same six tokens were worth several at the end. In the second one the methods
# with a baseline give the first six the whole answer, while the gradient sees next to
# nothing. Nor does removing one token at a time: any five of the six would have done.
# If your method is occlusion, remove *groups*.
#
# So the recipe is:
#
# | the early part | gradients | removed as a group | cause | what to do |
# |---|---|---|---|---|
# | network forgets | fade | answer stays | short time constants | mend the network |
# | gradient saturates | fade | answer changes | attractors | use a baseline |
#
# ## Mending a network that forgets
#
# The first cure is to train on sequences as long as those in use: a network that only
# saw notes never had a reason to remember longer.
#
# The second is the place where training starts. A GRU keeps a share of its state at
# each step, decided by its update gate (in an LSTM, the forget gate). In a fresh
# network that share is one half: after ten tokens a thousandth is left, and so little
# gradient arrives from the beginning that learning to remember takes long. A positive
# initial bias of that gate gives a memory from the outset:

# %%
for bias in (0.0, 1.0, 3.0, 5.0):
    share = torch.sigmoid(torch.tensor(bias))
    tokens = -1 / share.log().item()
    print(f"bias {bias:.0f}: keeps {share:.1%} a token, 1/e after {tokens:.1f} tokens")

# %% [markdown]
# About the length of your sequences is a good start. Two GRUs, the same in all but this
# bias, and the same short training on documents of 80 tokens:


# %%
def train(bias: float, *, updates: int = 200) -> SentimentClassifier:
    """Train a GRU from torch's own initial weights, and a bias of its update gate."""
    torch.manual_seed(0)
    network = SentimentClassifier(61, embedding_dim=16, hidden_size=24, dropout=0.0)
    with torch.no_grad():
        network.rnn.bias_ih_l0[24:48] += bias  # gates: reset, update, new
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(updates):
        data = sample_synthetic_sentiment(
            64, shortest=80, longest=80, generator=generator
        )
        logits = network(data.ids)[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, data.targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.eval()


plt.figure(figsize=(6, 3))
for bias in (0.0, 3.0):
    network = train(bias)
    right, _ = evaluate_synthetic_sentiment(network, shortest=80, longest=80)
    print(f"bias {bias:.0f}: {right:.0%} right on 80 tokens")
    vectors = network.embedding.weight[1:].detach()
    plt.semilogy(kept(network, vectors.mean(0))[:80].abs(), label=f"bias {bias:.0f}")
plt.xlabel("tokens from the end")
plt.ylabel("contribution per unit of worth")
plt.legend()
plt.show()

# %% [markdown]
# One number in the initial weights decides whether so short a training finds the early
# tokens at all. (With 500 updates the other network finds them too.) The upper curve
# even rises: that network makes up its mind early, and what comes late finds it harder
# to move. Attributions that are *large* at the beginning have puzzled people as well
# ([Captum #594](https://github.com/meta-pytorch/captum/issues/594), of another
# network).
#
# ## What could mislead
#
# - A time constant is about *small* changes near the points where it was found. A
#   network with several attractors forgets small changes and keeps large ones.
# - A fading gradient is no proof of forgetting, and a complete attribution is no proof
#   of memory: test by taking the beginning away, as a whole.
# - Take away what counts. Replacing neutral tokens by others proves nothing.
# - A bidirectional network reads the beginning last as well. Look at each direction
#   ([Adapters](../adapters.md)).
#
# ## On your own model
#
# Replace the first tenth of some texts by the average word and see how much the answer
# changes; call `analyze`, and compare *memory* in its summary with the length of your
# texts. If the memory is shorter and the answer stays, mend the network. If the answer
# changes, ask a method with a baseline, and look at its [convergence
# delta](01_getting_started.py).
