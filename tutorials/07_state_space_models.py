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
# # When a model reads what it wrote: state-space models and closed loops
#
# State-space models such as Mamba, and language models in general, write one token
# after the other, and read each token that they wrote. What will such a model do if
# nobody stops it? And does its memory work like that of a GRU?
#
# We build a small one, teach it three songs, and let it sing. Everything below applies
# to layers of `transformers` as well: [Hugging Face models](../huggingface.md) has the
# list.
#
# ## Three songs
#
# There are two notes, *la* and *di*, and three songs. An announcement says which song
# comes next. Only the next note is to be predicted, so the model must remember what was
# announced, or listen to what it is singing.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import torch
from matplotlib import pyplot as plt
from torch import nn

import captum_dynamics as cd
from captum_dynamics import plots

tokens = ["drone!", "march!", "waltz!", "la", "di"]
DRONE, MARCH, WALTZ, LA, DI = range(5)
songs = {DRONE: [LA], MARCH: [LA, DI], WALTZ: [LA, DI, DI]}


def write_text(length, generator):
    """Return announcements, each followed by 8 to 19 notes of its song."""
    text = []
    while len(text) < length:
        song = int(torch.randint(3, (), generator=generator))
        notes = int(torch.randint(8, 20, (), generator=generator))
        text += [song] + [songs[song][i % len(songs[song])] for i in range(notes)]
    return text[:length]


generator = torch.Generator().manual_seed(1)
texts = torch.tensor([write_text(96, generator) for _ in range(2000)])
print(*[tokens[token] for token in texts[0, :40].tolist()])

# %% [markdown]
# ## A selective state-space layer
#
# The heart of such a layer is short. The state $h$ has several numbers, its *channels*.
# Each channel keeps a share $a(x)$ of its old value and takes the rest from the input:
#
# $$h' = a(x) \odot h + (1 - a(x)) \odot b(x), \qquad
# a(x) = e^{-\mathrm{softplus}(W x + w)}.$$
#
# It is called **selective**, as the token itself decides, channel by channel, how much
# is kept. There is no nonlinear function *around the state*: that sits in the head,
# which reads the state and names the next token.


# %%
class SelectiveSSM(nn.Module):
    """One step of a selective, diagonal state-space layer."""

    def __init__(self, input_size, channels):
        super().__init__()
        self.forget = nn.Linear(input_size, channels)
        self.write = nn.Linear(input_size, channels)
        nn.init.uniform_(self.forget.bias, -5, 1)  # from long to short memories

    def forward(self, x, h):
        keep = torch.exp(-nn.functional.softplus(self.forget(x)))
        return keep * h + (1 - keep) * self.write(x)


class Singer(nn.Module):
    """Embedding, layer, and a head with one hidden layer."""

    def __init__(self, channels=16):
        super().__init__()
        self.embedding = nn.Embedding(5, 8)
        self.ssm = SelectiveSSM(8, channels)
        self.head = nn.Sequential(nn.Linear(channels, 32), nn.GELU(), nn.Linear(32, 5))

    def states(self, ids):
        h, visited = torch.zeros(len(ids), self.head[0].in_features), []
        for x in self.embedding(ids).unbind(1):
            h = self.ssm(x, h)
            visited.append(h)
        return torch.stack(visited, dim=1)

    def forward(self, ids):
        return self.head(self.states(ids))


# %%
def train(windows, seed=1, updates=500):
    """Train a singer on windows of 48 tokens; announcements are not to be predicted."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = Singer()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, 1e-4)
    for _ in range(updates):
        ids = windows(generator)
        asked = ids[:, 1:] >= LA
        logits = net(ids[:, :-1])[asked]
        loss = nn.functional.cross_entropy(logits, ids[:, 1:][asked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return net.eval().requires_grad_(False)


def from_the_start(generator):
    """The first 48 tokens of some texts."""
    return texts[torch.randint(len(texts), (64,), generator=generator), :48]


singer = train(from_the_start)
fresh = torch.tensor([write_text(48, generator) for _ in range(200)])
asked = fresh[:, 1:] >= LA
right = (singer(fresh[:, :-1]).argmax(-1) == fresh[:, 1:])[asked].double().mean()
print(f"{right:.1%} of the notes of fresh texts are right")

# %% [markdown]
# ## What is different: one point for each token
#
# For a given token, the new state is a straight-line function of the old one: the layer
# is **affine in its state**. Where does the state go if one token is read for ever? For
# a GRU that takes a search, and there can be many answers. Here it takes one division,
# and there is exactly one answer. We say so in `traits`, and the solver takes one step:


# %%
def read(net):
    """The layer as a map, in double precision."""
    ssm = net.ssm
    w_f, b_f = ssm.forget.weight.double(), ssm.forget.bias.double()
    w_b, b_b = ssm.write.weight.double(), ssm.write.bias.double()

    def step(h, x):
        keep = torch.exp(-nn.functional.softplus(x @ w_f.mT + b_f))
        return keep * h + (1 - keep) * (x @ w_b.mT + b_b)

    return cd.FunctionAdapter(step, 16, 8, traits=cd.Traits(affine_in_state=True))


layer = read(singer)
embedded = singer.embedding.weight
points = cd.find_fixed_points(layer, torch.zeros(5, 16), embedded)
for token, steps, norm in zip(
    tokens, points.steps.tolist(), points.residual_norms.tolist(), strict=True
):
    print(f"{token:7s} {steps} step, residual {norm:.0e}")

# %% [markdown]
# So there is no map of attractors and saddles to draw for this layer: each token has
# one point that attracts everything. In the picture, the state follows a text:
# whichever token is read pulls it towards its own point (squares), quickly or slowly.

# %%
visited = singer.states(fresh)
cloud = visited.flatten(0, 1)
centre, axes = cloud.mean(0), torch.pca_lowrank(cloud, 2, niter=4)[2]
path = (visited[0] - centre) @ axes
pulls = (points.states.float() - centre) @ axes

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(*path.T, color="0.75", lw=0.8)
colours = {"cmap": "tab10", "vmin": 0, "vmax": 9}
ax.scatter(*path.T, c=fresh[0], s=16, zorder=2, **colours)
ax.scatter(*pulls.T, c=range(5), s=90, marker="s", ec="k", zorder=3, **colours)
for name, place in zip(tokens, pulls, strict=True):
    ax.annotate(name, place, xytext=(8, 6), textcoords="offset points")
ax.set(xlabel="component 1", ylabel="component 2")
ax.set_title("one text, coloured by the token that was read")
ax.margins(0.15)
plt.close(figure)
figure

# %% [markdown]
# ## How long it remembers depends on what it reads
#
# A channel that keeps the share $a$ of its value forgets with the **time constant**
# $\tau = -1/\ln a$: after $\tau$ tokens about a third is left. In a GRU one would ask
# for time constants at each fixed point. Here each *token* has its own:

# %%
linear = cd.linearize(layer, points)
keep = torch.diagonal(linear.jacobians, dim1=1, dim2=2)
tau = -1 / keep.log()
order = tau[LA].argsort()

figure, ax = plt.subplots(figsize=(7.5, 2.6), layout="constrained")
image = ax.imshow(tau[:, order].log10(), cmap="viridis", vmin=-0.5, vmax=3)
ax.set_yticks(range(5), tokens)
ax.set(xlabel="channel, in the order of its memory for 'la'", xticks=[])
bar = figure.colorbar(image, ax=ax, ticks=[0, 1, 2, 3], label="time constant, tokens")
bar.ax.set_yticklabels(["1", "10", "100", "1000"])
plt.close(figure)
figure

# %% [markdown]
# Read it by columns. A channel that is bright for the two notes and dark for an
# announcement is a memory of announcements: notes leave it alone, and a new
# announcement overwrites it. A channel that is dark everywhere remembers the last note
# only.
#
# ## Closing the loop
#
# Now the model reads what it writes. The **closed loop** is another map: its state is
# that of the layer together with the token that is read next. `greedy_feedback` takes
# the most likely token, as decoding does. We announce each song once and let it sing
# 1,000 notes.


# %%
def close(net, feedback=cd.greedy_feedback, **settings):
    """The loop of a singer."""
    return cd.ClosedLoop(read(net), feedback(net.head, net.embedding, **settings))


def let_sing(net, notes=1000):
    """Sing each song; say where it goes wrong, and how it ends."""
    loop = close(net)
    starts = loop.start(torch.zeros(3, 16), net.embedding.weight[:3])
    sung = loop.rollout(starts, torch.zeros(3, notes, 0).double())
    said = loop.feedback.tokens(loop.outputs(sung).flatten(0, 1)).view(3, notes)
    for song, row in enumerate(said.tolist()):
        should = (songs[song] * notes)[:notes]
        wrong = [i for i in range(notes) if row[i] != should[i]]
        where = f"wrong after {wrong[0]} notes" if wrong else "right all the way"
        print(f"{tokens[song]} {where}; ends ...", *[tokens[k] for k in row[-9:]])


let_sing(singer)

# %% [markdown]
# A surprise. It was right on every note of texts as long as those it was trained on.
# Left alone for longer, it forgets what was announced and slips into another song. The
# picture of the time constants says why: the memory of the announcement is long, but
# not endless. Every layer of this kind forgets all but what the tokens keep writing
# into it.
#
# Which song is left in the end? `classify_runs` follows many runs for thousands of
# steps, and says what each of them does at last. A **cycle** is a set of states that
# are visited in turn for ever: here, a melody.

# %%
nothing = torch.zeros(1, 0)  # the loop has no input of its own


def begin(net, loop):
    """States of the loop in the middle of 150 texts."""
    states = net.states(fresh[:150])[:, 24]
    return loop.start(states, net.embedding.weight[fresh[:150, 25]])


def endings(net, **settings):
    """What the greedy loop does in the end."""
    loop = close(net, **settings)
    return cd.classify_runs(loop, begin(net, loop), nothing, steps=16384)


regimes = endings(singer)
print(regimes.summary())

# %% [markdown]
# ## A model that listens to itself
#
# Why did it rely on the announcement alone? Every text began with one. So train a
# second model, equal in all else, on windows that begin anywhere. It must now find out
# from the notes themselves which song it is in:


# %%
def from_anywhere(generator):
    """48 tokens of some texts, from a random place on."""
    rows = torch.randint(len(texts), (64,), generator=generator)
    begin = int(torch.randint(48, (), generator=generator))
    return texts[rows, begin : begin + 48]


listener = train(from_anywhere)
right = (listener(fresh[:, :-1]).argmax(-1) == fresh[:, 1:])[asked].double().mean()
print(f"{right:.1%} of the notes of fresh texts are right")
let_sing(listener)
regimes = endings(listener)
print(regimes.summary())

# %%
figure, _ = plots.plot_regimes(regimes)
figure

# %% [markdown]
# On fresh texts the two models cannot be told apart. In the loop they are different
# machines: this one keeps every song for ever, since what it sings tells it what to
# sing. In the picture, each song is a few places that are visited in turn; the drone is
# a single one. The layer alone has one resting place for each token. **The points and
# cycles of the model are in the loop.**
#
# Is that luck? With five different seeds (not run here), no model of the first kind
# kept all three songs, and four of the second kind did.
#
# ## One note for ever
#
# The drone is a fixed point of the loop: after *la* comes *la*. The greedy loop jumps
# from token to token, so derivatives say nothing of it. `find_token_points` takes the
# layer's one point for each token and asks what the head says there. Where it says the
# token that is being read, the loop rests. The last number is the margin: the logit of
# that token above all others, or below the best.

# %%
found = cd.find_token_points(close(listener), torch.zeros(1, 16))
for token, said, margin in zip(
    found.tokens.tolist(), found.emitted.tolist(), found.margins.tolist(), strict=True
):
    rests = "rests" if said == token else "moves on"
    print(f"reads {tokens[token]:6s} says {tokens[said]:2s} {rests:8s} {margin:+5.1f}")

# %% [markdown]
# Nobody taught it a song of *di* alone. Yet the loop rests there too: if it ever came
# to read *di* for long, it would never stop. No run above has shown that. This is why
# one searches for points, and does not only watch.
#
# ## Softly
#
# Greedy choices jump, and what jumps has no gradient. `soft_feedback` feeds back a
# mixture of all tokens by their probabilities. The logits are divided by a
# **temperature** first: a low one is nearly greedy and yet smooth.

# %%
for temperature in (0.05, 1.0, 4.0):
    soft = endings(listener, feedback=cd.soft_feedback, temperature=temperature)
    print(f"temperature {temperature}: {soft.summary()}")

# %% [markdown]
# At the lowest temperature the songs are those of the greedy loop. At 1 the loop reads
# mixtures that no text ever held, and does something that it was not taught: what a
# soft loop does is *not* what decoding does. When it is hot, it only rests.
#
# ## Who changed the song?
#
# While the model sings, somebody shouts an announcement. That is a **nudge**: it is
# added to what the model would read next. `GenerationLoop` is the loop as a module, so
# that attributions can tell what each nudge did to what was sung later. Here are two
# shouts:

# %%
from captum_dynamics.attr import TelescopingAttribution

feedback = cd.soft_feedback(listener.head, listener.embedding, temperature=0.05)
embedded = listener.embedding.weight
loop = cd.GenerationLoop(read(listener), feedback, embedded[DRONE])
model = nn.Sequential(loop, listener.head, nn.Softmax(dim=-1))
nudges = torch.zeros(1, 30, 8)
shouts = {8: WALTZ, 20: MARCH}
for moment, song in shouts.items():
    said = model(nudges)[0, moment - 1].argmax()
    nudges[0, moment] = embedded[song] - embedded[said]  # read this in place of that
for name, given in (("alone", 0 * nudges), ("nudged", nudges)):
    sung = model(given)[0].argmax(-1).tolist()
    print(f"{name:6s}", *[tokens[k] for k in sung])

# %% [markdown]
# Which shout decided the last note? `TelescopingAttribution` gives each one what it
# changed when it came, after those before it. The sum is the whole change of the
# probability of *di*.

# %%
explainer = TelescopingAttribution(model, loop)
contributions, delta = explainer.attribute(
    nudges,
    baselines=torch.zeros_like(nudges),
    target=(29, DI),
    return_convergence_delta=True,
)
by_step = contributions.sum(-1)[0]
for moment, song in shouts.items():
    print(f"{tokens[song]} at step {moment}: {by_step[moment].item():+.2f}")
change = (model(nudges) - model(0 * nudges))[0, 29, DI].item()
print(f"change: {change:+.2f}, missing from the sum: {abs(delta.item()):.0e}")

# %% [markdown]
# The waltz alone would have had *la* in this place, as the drone has. So all of the
# credit goes to the march.
#
# ## A model of real size
#
# Layers of `transformers` need no adapter of your own, and whole models are read as one
# map:
#
# ```python
# dynamics = cd.adapt(model)  # Mamba, RWKV, xLSTM, gated delta nets, ...
# feedback = cd.soft_feedback(model.lm_head, model.backbone.embeddings)
# loop = cd.ClosedLoop(dynamics, feedback)
# ```
#
# Most have short convolutions before the recurrent part, so that a state has a window
# of the last few inputs as well. [Hugging Face models](../huggingface.md) says what can
# be read, how exactly, and what cannot: keys and values of attention grow with every
# token, and are no state. [Another tutorial](g2p_decoder.py) closes the loop around a
# trained GRU decoder.
#
# ## What to remember, and what to try
#
# - Of a selective state-space layer, ask for the time constants of each *token*: which
#   ones write, which ones hold?
# - That a model is right on texts as long as its training texts says nothing of what it
#   does when it reads its own. Let it run for ten times as long, and look at
#   `classify_runs`.
# - Search for token points as well: repetitions that no run has reached yet are there.
# - What could mislead: starts. An ending that no run of yours reaches is not listed,
#   and states from real texts are better starts than random ones.
