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
# # A line that adds up opinions
#
# A GRU reads a film review word by word and says at the end how positive it was. In
# between it must keep what it thinks so far, add to it with each word, and leave it
# alone where a word says nothing. How does it do that with 128 numbers?
#
# The answer is a picture: the states lie on a *line*, words push along it, and the
# answer is read from the place on it. This page finds that line, step by step, in a
# network that was trained on real reviews and ships with the package. Maheswaranathan
# and others (2019, [arXiv:1906.10720](https://arxiv.org/abs/1906.10720)) found it
# first.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import torch
from IPython.display import HTML
from matplotlib import pyplot as plt
from torch import nn

import captum_dynamics as cd
from captum_dynamics import plots
from captum_dynamics.attr import DynamicsAttribution, EigenmodeAttribution
from captum_dynamics.findings import Documents
from captum_dynamics.models import load_sentiment

trained = load_sentiment("gru")
model, vocabulary = trained.model, trained.vocabulary

# %% [markdown]
# Two reviews that share nearly all their words, and yet mean the opposite. The model is
# not fooled (above 0 is positive):

# %%
reviews = [
    "i expected a bad film but it was wonderful , moving and funny",
    "i expected a wonderful film but it was bad , boring and long",
]
ids = vocabulary.encode_batch(reviews)
with torch.no_grad():
    print(model(ids)[:, 0].tolist())

# %% [markdown]
# ## The network in use
#
# To see where its states go, it needs something to read. Some sentences, put together
# at random into texts of different lengths, will do:

# %%
sentences = """
the story follows two brothers who meet again in a small town
i saw it with my sister on a rainy evening
the first half is slow but the ending is perfect
every scene feels fresh and the dialogue is brilliant
the acting is terrible and the plot makes no sense
what a waste of time and money
the music is beautiful and stays with you for days
it is one of the best films i have seen in years
nobody in this movie seems to care and neither did i
the camera work is fine , nothing special
the jokes are old and the pace is awful
she gives a superb performance as the tired doctor
there are a few good ideas here and most of them are wasted
i laughed , i cried and i would watch it again tomorrow
the script is lazy and every turn can be seen coming
a rare and honest portrait of a family
the whole thing is painfully stupid
it was made for television and it shows
""".strip().splitlines()
generator = torch.Generator().manual_seed(0)


def write(count: int) -> str:
    """Put so many sentences together, in random order."""
    order = torch.randperm(len(sentences), generator=generator)[:count]
    return " ".join(sentences[row] for row in order.tolist())


texts = [*reviews, *(write(2 + row % 15) for row in range(48))]

# %% [markdown]
# `analyze` does the whole work. We give it the 1,500 most frequent words by name, with
# a score for each: its coefficient in a *bag-of-words* model, which counts words and
# knows nothing of their order. That is our outside measure of what a word is worth.
#
# `reference` is the input that is held constant while the layer is looked at: the
# average word. What the state does under it, it does by itself.

# %%
frequent = trained.word_counts.argsort(descending=True)[2:1502]
words = cd.NamedInputs(
    [vocabulary.words[row] for row in frequent.tolist()],
    model.embedding.weight.detach()[frequent],
    trained.word_scores[frequent],
)
result = cd.analyze(
    model,
    "rnn",
    vocabulary.encode_batch(texts),
    tokens=[vocabulary.tokens(text) for text in texts],
    words=words,
    reference=trained.mean_embedding,
    explained=2,
)
print(result.summary())

# %% [markdown]
# A lot at once; let us look at it piece by piece.
#
# ## The states lie on a line
#
# Of 128 possible directions, how many do the states use? The blue curve says which
# share of their spread lies in the first few; the grey one is a network with the same
# layout and random weights, on the same texts.

# %%
figure, _ = plots.plot_variance(result.visits)
figure

# %% [markdown]
# One or two directions hold nearly everything. That is learned: without training,
# states fill tens of them.
#
# ## They stay where they are
#
# Now take visited states, let the network read some average words, and see where they
# come to rest. In a network that forgets they would all meet in one place. Here they
# settle on a curve and then hardly move: coloured dots are the states after that,
# **slow points**. Their colour is the place along the line, from one end (-1) to the
# other (1).

# %%
figure, _ = plots.plot_slow_points(result)
figure

# %% [markdown]
# Such a line of states that stay where they are, and that pulls in what is beside it,
# is called a **line attractor**. A marble in a gutter: push it along and it stays, push
# it up the side and it rolls back.
#
# ## The answer is read along it
#
# If the place on the line is the opinion so far, the answer must follow it:

# %%
slow = result.manifold
with torch.no_grad():
    answers = model.readout(slow.points.states.float())[:, 0]
plt.figure(figsize=(4, 3))
plt.scatter(slow.theta, answers, s=12)
plt.axhline(0, color="grey", linewidth=0.8)
plt.xlabel("theta, place along the line")
plt.ylabel("answer of the model there")
plt.show()

# %% [markdown]
# ## How long it remembers
#
# Nudge the state a little: how long is the nudge still there? Near each slow point the
# network acts on small nudges like a matrix, and each of its **modes** (eigenvectors)
# fades at its own pace. The **time constant** of a mode is the number of words after
# which about a third of it (1/e) is left.

# %%
figure, _ = plots.plot_time_constants(slow)
figure

# %% [markdown]
# Two bands. The upper one is the nudge *along* the line, which lasts for a hundred
# words and more; in the middle it even grows, slowly (triangles: the words in which it
# doubles). The lower one is the slowest nudge in any *other* direction: gone after a
# dozen words, at the ends after some tens. So the network has one long memory, and it
# is the line.

# %%
along, across = slow.leading_times.nanmedian(0).values.tolist()
print(f"median time constants: {along:.0f} words along the line, {across:.0f} across")
print(f"angle of that mode to the line: cosine {slow.tangent_alignment.median():.3f}")

# %% [markdown]
# ## Words push along it
#
# Each word changes the state. How much of that change goes into the slow mode, in units
# of the answer? Every dot is a word, sorted by the bag-of-words model into the 100 most
# negative, most neutral and most positive:

# %%
figure, _ = plots.plot_projections(result.words)
figure

# %%
print("up:  ", ", ".join(result.words.strongest(8, positive=True)))
print("down:", ", ".join(result.words.strongest(8, positive=False)))
print(f"correlation with bag of words: {result.words.score_correlation:.2f}")

# %% [markdown]
# This is worth a pause. Both models learned from the same reviews, apart from each
# other. We took one direction out of 128, looked at a single step, and got nearly what
# counting words gives. The next picture shows the pushes themselves, in the plane of
# the states.

# %%
figure, _ = plots.plot_input_effects(result.words)
figure

# %% [markdown]
# Good and bad words push in opposite ways, along one direction. It is not quite that of
# the line, which runs from left to right in this plane: a word also pushes the state
# off the line. That part is in the fast directions and fades within a dozen words. The
# arrow is how the slow mode *reads* a push: what a push has along it stays.
#
# ## Back to the two reviews
#
# `EigenmodeAttribution` divides what each word contributed to the answer among the
# modes: one row for each, the longest memory on top. The numbers add up to the answer
# less the answer for as many average words.

# %%
embedded = model.embedding(ids).detach()
lengths = model.lengths(ids)
options = {
    "baselines": trained.mean_embedding.expand_as(embedded),
    "target": 0,
    "additional_forward_args": (lengths,),
}
eigenmodes = EigenmodeAttribution(model.forward_embedded, model.rnn, slow.linearization)
modes = eigenmodes.attribute_modes(embedded, **options)
tokens = [vocabulary.tokens(review) for review in reviews]
figure, _ = plots.plot_mode_contributions(modes, tokens=tokens[0])
figure

# %% [markdown]
# Most of it is in the top row: written on the line, and kept. (It "grows or stays", as
# these reviews are read in the middle of the line.) Summed over the modes this is the
# attribution of `DynamicsAttribution`, here as coloured text, blue for positive:

# %%
explainer = DynamicsAttribution(model.forward_embedded, model.rnn)
found = explainer.attribute(embedded, **options, return_convergence_delta=True)
HTML(plots.text_html(Documents.of(tokens, {"DynamicsAttribution": found})))

# %% [markdown]
# There is no sign of a "but" that turns things round: the network adds. *Bad* counts
# against the first review and *wonderful* for the second, and other words outweigh it.
#
# ## What an untrained network does
#
# Is the line there from the beginning? A fresh GRU, on the same input:

# %%
torch.manual_seed(0)
fresh = cd.adapt(nn.GRU(128, 128, batch_first=True))
starts = torch.rand(50, 128, generator=generator) * 2 - 1
points = cd.find_fixed_points(fresh, starts, trained.mean_embedding[None])
print(cd.linearize(fresh, points.unique()).summary())

# %% [markdown]
# One resting place that attracts everything, and nothing lasts for more than a few
# words. Memory is learned.
#
# ## In the very long run
#
# A perfect line would keep every opinion for ever. This one does not: the summary
# counts three fixed points on it, two that attract and a saddle between. Let thirty
# states read nothing but average words, five thousand of them:

# %%
starts = result.manifold.points.states[::2]
average = trained.mean_embedding.double().expand(len(starts), 100, -1)
dynamics = cd.adapt(model, "rnn")
later = dynamics.iterate(50).rollout(starts, average)
with torch.no_grad():
    answers = model.readout(torch.cat([starts[:, None], later], 1).float())[..., 0]
plt.figure(figsize=(6, 3.2))
plt.plot(torch.arange(101) * 50, answers.T, color="tab:blue", linewidth=0.8)
plt.axvspan(0, 400, color="gold", alpha=0.4)
plt.xlabel("average words read (yellow: longest review it was trained on)")
plt.ylabel("answer")
plt.show()

# %% [markdown]
# All of them drift to one of two ends: what is left in the long run is not how much,
# but only which. Seen that way the network is the [switch](01_getting_started.py) of
# the last page, two attractors and a saddle. Both views are right, at different times.
# Per word the drift is a hundredth of what words do, and over a sentence or ten the
# line is a memory of amounts. But it adds up: a state in the middle of the line that
# read hundreds of average words would end up positive. The summary says so in numbers:
# drift in percent of a step in use, the words for a tenth of the line, and *fixed*
# points beside *slow* ones.
#
# ## What could mislead
#
# - Any long, thin cloud of states looks like a line. A line *attractor* also has to
#   stay: look at the time constants and their gap, not only at the variance.
# - Time constants belong to the constant input at which they were found, and the
#   average of all words is a word that nobody wrote. `MeanMap` averages over the steps
#   under many words instead ([Concepts](../concepts.md)).
# - All words here are judged at slow points, on average. In a sentence a word may do
#   something else; only the attribution follows the actual states.
# - A different network may do it otherwise. The LSTM in this package
#   (`load_sentiment("lstm")`) has a shorter line, and networks without gates may have
#   none.
#
# ## On your own model
#
# Call `analyze` with some hundred texts and `words=` of your vocabulary, and read *slow
# points* and *memory* in the summary. If the longest time constant is shorter than your
# texts, go on with [why does it only look at the last tokens?](03_last_tokens.py)
# Shapes other than lines are in [slow manifolds](../manifolds.md).
