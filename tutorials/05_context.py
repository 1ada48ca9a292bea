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
# # Context: what "not" and "very" do
#
# "Not" says nothing about a film. It changes what the *next* words say. An attribution
# gives every word one number; but what number belongs to a word that only acts through
# others? And how does a network that reads one word at a time let one word change the
# next?
#
# We ask a GRU that had to learn exactly this, in a toy language where we know what
# every word does (Maheswaranathan and Sussillo 2020,
# [arXiv:2004.08013](https://arxiv.org/abs/2004.08013)). At the end we ask one that was
# trained on real reviews.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import torch
from captum.attr import IntegratedGradients
from matplotlib import pyplot as plt

import captum_dynamics as cd
from captum_dynamics import plots
from captum_dynamics.attr import (
    ContextAttribution,
    DynamicsAttribution,
    TelescopingAttribution,
    measure_modifiers,
)
from captum_dynamics.models import load_sentiment
from captum_dynamics.tasks.context import (
    NOISE,
    VALUES,
    encode_words,
    load_context,
    sample_context,
)

# %% [markdown]
# ## The language
#
# Twelve words. Six are noise; *good* and *bad* are worth +1 and -1, *awesome* and
# *awful* +2 and -2. **Very** doubles the next word; **not** turns the sign of the next
# four. The network must say, after each word, the sum so far. The package ships a
# trained one (100 units; `python -m captum_dynamics.tasks.context` trains another).

# %%
net = load_context()
for sentence in ("not good", "very good", "not very good", "not a the for it good"):
    with torch.no_grad():
        answers = net(encode_words(sentence))[0].tolist()
    shown = zip(sentence.split(), answers, strict=True)
    print("   ".join(f"{word} {answer:+.2f}" for word, answer in shown))

# %% [markdown]
# It can do it: after "not" itself the sum does not move, and the next word counts the
# other way round. In the last line "good" is the fifth word after "not", and counts as
# usual.
#
# ## One number a word is not enough
#
# Three attributions of "not good", against noise words. *Telescoping* goes from left to
# right and gives each word what it adds to those before it.

# %%
noise_word = encode_words(" ".join(NOISE))[0].mean(0)  # the mean of the noise words
not_good = encode_words("not good")


def last_answer(words: torch.Tensor) -> torch.Tensor:
    """The sum after the last word."""
    return net(words)[:, -1]


baselines = noise_word.expand_as(not_good).contiguous()
methods = {
    "IntegratedGradients": IntegratedGradients(last_answer),
    "DynamicsAttribution": DynamicsAttribution(last_answer, net.rnn),
    "Telescoping": TelescopingAttribution(last_answer, net.rnn),
}
for name, method in methods.items():
    of_not, of_good = method.attribute(not_good, baselines=baselines).sum(-1)[0]
    print(f"{name:20} not {of_not:+.2f}   good {of_good:+.2f}")

# %% [markdown]
# All of them sum to the answer, and they divide it differently. That is no mistake of
# theirs: "not" and "good" did it *together*, and a list of single numbers has no place
# for that.
#
# ## Effects of words on words
#
# `ContextAttribution` asks for pairs: by how much does what "good" adds change, when
# "not" is replaced by a noise word? It takes four runs of the network for each pair,
# and no gradient.

# %%
sentence = "the not good and bad for good it very awesome"
explainer = ContextAttribution(last_answer, net.rnn, reference=noise_word)
effects = explainer.attribute_context(encode_words(sentence))
figure, _ = plots.plot_context(effects, sentence.split())
figure

# %% [markdown]
# A row is a word that changes others, a column a word that is changed. Only "not" and
# "very" have rows that are not zero. "Not" takes two from the first *good* (it would
# add one, and now takes one away) and gives two to *bad*. It does nothing to the second
# *good*, five words later. "Very" adds two to *awesome*. In grey, on the diagonal, what
# each word adds itself. On the right the same against the distance in words.
#
# The words that change others much are named by `modifiers`, and `gone_after` says for
# how long each of them acts:

# %%
for word, acts, last in zip(
    sentence.split(), effects.modifiers()[0], effects.gone_after()[0], strict=True
):
    if acts:
        print(f"{word}: changes words up to {last} words later")

# %% [markdown]
# (As far as this sentence shows: a modifier can only be seen at words that have a
# value.)
#
# ## How the network does it: a detour
#
# Between words the sum must stay as it is. So we look, as on the page about the [line
# attractor](02_line_attractor.py), for **slow points**: states that hardly move while
# the network reads noise. They form a line, along which the sum is written.

# %%
generator = torch.Generator().manual_seed(0)
dynamics = cd.adapt(net, "rnn")
runs = cd.record(net, "rnn", sample_context(32, 50, generator=generator).inputs)
points = cd.find_slow_points(
    dynamics,
    runs.sample_states(24, generator=generator),
    noise_word[None],
    solver=cd.solvers.LevenbergMarquardt(atol=3e-3),
)
points = points[points.kind <= cd.Kind.SLOW]
linear = cd.linearize(dynamics, points)
with torch.no_grad():
    sums = net.readout(points.states.float())[:, 0]
print(f"{len(points)} slow points, for sums from {sums.min():.1f} to {sums.max():.1f}")

# %% [markdown]
# Start at each of these points, read a modifier, and then noise. We follow two things:
# how far the state is from where it would be without the modifier, and what "good"
# would add if it were read at that moment. `measure_modifiers` gives the second.

# %%
readout = net.readout.weight.detach()[0]
modifiers = {name: encode_words(name)[0] for name in ("not", "very")}
found = measure_modifiers(
    dynamics,
    linear,
    readout,
    torch.cat(list(modifiers.values())),
    encode_words(" ".join(VALUES))[0],
)

noise = noise_word.double().expand(len(points), 8, -1)
undisturbed = dynamics.rollout(points.states, noise)
lags = torch.arange(1, 9)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for row, (name, word) in enumerate(modifiers.items()):
    heard = noise.clone()
    heard[:, 0] = word[0]
    detour = dynamics.rollout(points.states, heard) - undisturbed
    change = (detour @ readout.double()).abs().max()
    print(f"{name} alone changes the sum by at most {change:.2f}")
    left.plot(lags, detour.norm(dim=-1).median(0).values, "o-", label=f"after {name}")
    adds = found.effects[:, row, 0]
    right.plot(lags, adds.median(0).values, "o-", label=f"after {name}")
    right.fill_between(lags, adds.amin(0), adds.amax(0), alpha=0.3)
left.set_ylabel("distance from where it would be")
right.set_ylabel('what "good" adds')
right.axhline(1, color="grey", linewidth=0.8)
for ax in (left, right):
    ax.set_xlabel("words since the modifier")
    ax.legend()
plt.show()

# %% [markdown]
# That is the answer. A modifier pushes the state *off the line*, to the side, where the
# sum does not see it: the sum stays the same. But off the line the gates are set
# differently, so that the next word pushes the other way, or twice as hard. After "not"
# the state stays away for four words and then returns; after "very" it comes straight
# back. The detour is as long as the meaning.
#
# ## Which modes hold it
#
# Near each point small changes are made of **modes**, eigenvectors of the layer's
# Jacobian, each of which fades at its own pace (its **time constant**). The push off
# the line is a sum of them. Which of them matter? Not the largest ones necessarily; so
# the test is a causal one. Take a part of the push away and see what the words add
# then. `measure_modifiers` looks for the two parts (single modes, or pairs and groups
# that cannot be told apart) that leave least of the effect in all four words:

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for row, (ax, name) in enumerate(zip(axes, modifiers, strict=True)):
    for column, word in enumerate(VALUES):
        values = found.without[:, row, column]
        ax.plot(range(3), values.median(0).values, "o-", label=word)
        ax.axhline(found.plain_effects[:, column].median(), color="grey", linewidth=0.6)
    ax.set_title(f"after {name}")
    ax.set_xticks(range(3))
    ax.set_xlabel("parts of the push removed")
axes[0].set_ylabel("what the word adds")
axes[1].legend(fontsize=8, loc="lower right", ncols=2)
plt.show()

# %% [markdown]
# On the left of each panel the words as the modifier leaves them; grey lines are what
# they add without it. With two parts taken away, out of some seventy, the words are
# nearly back:

# %%
times = linear.subspaces.time_constants
for row, name in enumerate(modifiers):
    left = found.left[:, row, 2]
    typical, most = left.median(), left.max()
    print(f"{name}: {typical:.0%} of the change is left (at most {most:.0%})")
    slowest = times.gather(1, found.ranking[:, row]).max()
    print(f"  time constants of the removed parts: at most {slowest:.1f} words")

# %% [markdown]
# They are *fast* modes. Anything slower would still be there when the meaning is over.
#
# A caution, though. Most of what such modes hold is gone after two words, and "not"
# lasts for four. The picture of the detour says why: the state does not fade back, it
# stays at the same distance and then falls. No linearization at the line can show that;
# it says how the detour *begins*. What it begins with is needed for the effect, but is
# it enough? Keep these two parts alone, and read "good":

# %%
for row, name in enumerate(modifiers):
    alone = found.only[:, row, 0, 2].median()
    print(f"{name}: good adds {alone:+.2f} with these two parts alone")

# %% [markdown]
# Enough for a "very", not for a whole "not", whose push is spread over more modes.
#
# ## And real reviews?
#
# The same question to the GRU that was trained on film reviews. Its baseline is the
# average word.

# %%
trained = load_sentiment("gru")
review = "this movie is not bad and the story is very good"
ids = trained.vocabulary.encode_batch([review])
reader = ContextAttribution(
    trained.model, trained.model.rnn, reference=trained.mean_embedding
)
in_review = reader.attribute_context(ids, target=0)
figure, _ = plots.plot_context(in_review, trained.vocabulary.tokens(review))
figure

# %%
named = in_review.modifiers()[0].tolist()
print("modifiers:", [w for w, acts in zip(review.split(), named, strict=True) if acts])

# %% [markdown]
# It hardly negates. To this network "not" is a negative word of its own (see the
# diagonal), and what it changes in "bad" is a fraction of what "bad" adds. It answers
# nine reviews of ten correctly all the same: in long reviews, adding up words is nearly
# enough. That is the kind of thing that an accuracy does not tell.
#
# ## What could mislead
#
# - A modifier before words without value changes nothing that can be seen. Test words
#   with those that it should change.
# - The effect of a pair depends on the baseline: what stands there *instead*. Here
#   noise words, or the average word.
# - Removing parts of a push shows that they are needed, for these words. Choose them by
#   one word alone and others may keep their effect: give several.
# - All pairs of long texts cost time: a third power of the length, see
#   [Attribution](../attribution.md).
#
# ## On your own model
#
# Take short texts with a word that should change others, and call `attribute_context`
# and `plot_context`. If the rows of your modifiers are empty, the model counts words.
# If they are not, find the slow points and follow the detour with `measure_modifiers`.
