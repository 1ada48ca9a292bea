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
# # Eight methods, one network: which attribution to believe?
#
# Captum has a dozen methods, this package some more, and each gives a number for every
# word. When they differ, which one is right? There is no answer key. But there are
# questions that a method can be asked:
#
# - **Completeness.** Do the numbers add up to what is to be explained?
# - **Faithfulness.** If the words that it calls important are taken away, does the
#   output change more than for other words?
# - **Cost.** How often must the model run?
#
# `attr.compare` asks them of any methods at once. We do so on the GRU for film reviews
# that comes with the package.

# %%
# Show figures as pictures in a notebook.
# %matplotlib inline
import warnings

import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from IPython.display import HTML
from matplotlib import pyplot as plt
from torch import nn

from captum_dynamics import plots
from captum_dynamics.attr import (
    DynamicsAttribution,
    LinearizedPropagation,
    TelescopingAttribution,
    check_method,
    compare,
)
from captum_dynamics.findings import Documents
from captum_dynamics.models import load_sentiment

reviews = """
I expected a bad film but it was wonderful, moving and funny from the first minute.
I expected a wonderful film but it was bad, boring and far too long for its thin story.
The acting is superb and the ending is perfect. One of the best films of the year.
The acting is terrible and the plot makes no sense. What a waste of two hours.
A slow first half, but the last twenty minutes are amazing and make up for it.
A great first half, but the last twenty minutes are a mess and spoil it.
Nothing here is new, yet the young cast is charming and I was never bored.
Nothing here is new, the young cast is lost, and I was bored to tears.
The music is beautiful, the photography is stunning, and the story stays with you.
The music is loud, the jokes are old, and the story falls apart.
It is not bad at all. In fact it is a clever and very funny little comedy.
It is not good at all. In fact it is a lazy and very stupid little comedy.
My children loved it and so did I. Highly recommended for the whole family.
My children hated it and so did I. Avoid this one at all costs.
A solid thriller that keeps you guessing, with an excellent performance by the lead.
A dull thriller that gives everything away, with an awful performance by the lead.
It tries to be deep and ends up being pointless, though the costumes are a delight.
It never tries to be deep and ends up being a lot of fun, though the sets look cheap.
I laughed, I cried, and I would watch it again tomorrow. A rare gem.
I yawned, I sighed, and I would not watch it again. Painfully predictable.
The director knows how to build tension, and every scene feels fresh.
The director has no idea how to build tension, and every scene feels stale.
Some fine moments, some poor ones; as a whole it is worth seeing once.
Some fine moments, but poorly written, badly edited and not worth your time.
""".strip().splitlines()

trained = load_sentiment("gru")
model, vocabulary = trained.model, trained.vocabulary
ids = vocabulary.encode_batch(reviews)
lengths = model.lengths(ids)
words = [vocabulary.tokens(review) for review in reviews]
scores = model(ids)[:, 0].detach()
for row in (0, 1, 10, 11):
    print(f"{scores[row].item():+.1f}  {reviews[row]}")

# %% [markdown]
# The score is above zero for praise. Most of these reviews come in pairs that share
# nearly all their words, so that a method cannot hide behind single ones. The network
# is not always right: it does not know what "not bad at all" means.
#
# ## The question, precisely
#
# Words are integers, which have no gradient. So all methods explain the score as a
# function of the *embedded* words. And they explain a difference: how far the score is
# from that of a **baseline**, a text that says nothing. Ours is the average word, at
# every place. A baseline of zeros would be a word that the network has never read.


# %%
class Score(nn.Module):
    """The classifier as a function of embedded words."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, embedded, lengths):
        return self.model.forward_embedded(embedded, lengths)


score = Score(model)
embedded = model.embedding(ids).detach()
baselines = trained.mean_embedding.expand(1, *embedded.shape[1:])

# %% [markdown]
# ## The candidates
#
# - **Dynamics** (`DynamicsAttribution`) follows the run of the layer word by word, next
#   to a run under the baseline, and averages slopes between the two. What a word adds
#   is what it did to the state, times how much of that is still there at the end.
# - **Telescoping** feeds the words one after the other and notes what each one changes.
#   It judges a word after those before it, and without those after it.
# - **Propagation** (`LinearizedPropagation`) is layer-wise relevance propagation. It
#   passes the score back through the gates, and needs no baseline.
# - **IG**, Integrated Gradients, averages the gradient on a straight way from the
#   baseline to the text.
# - **Input x Grad** takes the gradient at the text alone, times the word.
# - **DeepLift** replaces slopes by differences from the baseline.
# - **Ablation** replaces one word at a time by the baseline.
# - **Saliency** is the size of the gradient: how *touchy* the score is, and not which
#   way a word pushed it. It is here as a warning.

# %%
by_word = torch.arange(embedded.shape[1])[None, :, None].expand(1, *embedded.shape[1:])
methods = {
    "Dynamics": DynamicsAttribution(score, model.rnn),
    "Telescoping": TelescopingAttribution(score, model.rnn),
    "Propagation": LinearizedPropagation(score, model.rnn, epsilon=1e-4),
    "IG": IntegratedGradients(score),
    "Input x Grad": InputXGradient(score),
    "DeepLift": DeepLift(score),
    "Ablation": FeatureAblation(score),
    "Saliency": Saliency(score),
}

# %% [markdown]
# ## Traps first
#
# Some methods are wrong on recurrent layers without a word. `check_method` runs the
# model and says so. Two examples: DeepLift on this model, and Integrated Gradients on
# one whose inputs have time first, as is torch's default:


# %%
class TimeFirst(nn.Module):
    """The same layer, called with (T, N, k)."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 8)

    def forward(self, inputs):
        return self.rnn(inputs)[0][-1].sum(-1)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the sentences are printed instead
    print(*check_method(DeepLift, score, (embedded, lengths)), sep="\n")
    print()
    print(
        *check_method(IntegratedGradients, TimeFirst(), torch.randn(9, 3, 4)), sep="\n"
    )

# %% [markdown]
# DeepLift stays in the comparison, so that we see what that costs.
#
# ## The table

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the trap above, which the table repeats
    result = compare(
        methods,
        embedded,
        baselines=baselines,
        target=0,
        additional_forward_args=(lengths,),
        valid=torch.arange(embedded.shape[1]) < lengths[:, None],
        settings={
            "IG": {"n_steps": 50},
            "Ablation": {"feature_mask": by_word},
        },
    )
print(result)

# %% [markdown]
# How to read it:
#
# - *calls* and *examples*: how often the model ran, and on how many texts. Integrated
#   Gradients ran it on 50 copies of each.
# - *delta*: what is missing from the sum, on average. Near zero is complete. A dash is
#   a method that promises no sum. (Propagation distributes the score itself, not its
#   difference from the baseline; its delta is what went to biases.)
# - *infidelity*: half of the words are replaced at random; how far is the change from
#   what the attributions predict? Small is good.
# - *sensitivity*: how much the attribution itself changes when the input is shaken a
#   little. Small is good, but a constant would be perfect.
# - *deletion* and *insertion*: words are replaced by the baseline, the most positive
#   first, or put in, the most positive first. The area under the score should be small
#   for deletion and large for insertion.
# - *agreement*: rank correlation with the first method.

# %%
figure, _ = plots.plot_comparison(result)
figure

# %% [markdown]
# On the left: seven of the eight methods rank the words almost alike. In the middle and
# on the right, a line at zero is what a random order would give on average. Saliency is
# *worse* than random, since a size does not say which way a word pushes.
#
# Are the small differences real? Each pair of methods saw the same reviews, so we can
# compare review by review. Positive numbers speak for `Dynamics`; the bracket is a 95 %
# interval, and where it holds zero, these reviews cannot tell the two apart.

# %%
for name in result.names[1:]:
    deletion = result.deletion_difference("Dynamics", name)
    insertion = result.insertion_difference("Dynamics", name)
    print(f"{name:12s}  deletion {deletion!s:31s}  insertion {insertion}")

# %% [markdown]
# Look at the sizes, too: apart from Saliency, all these differences are less than a
# hundredth of the areas in the table. **As for the order of the words, it hardly
# matters here which method you take.** That is a finding about this network, which adds
# up its words almost linearly. The [attribution page](../attribution.md) has longer
# reviews, and an LSTM that tells the methods apart more.
#
# ## Where they disagree: amounts
#
# An order is not an amount. For each review, the sum of the contributions should be the
# change of the score:

# %%
change = (result.outputs - result.baseline_outputs).numpy()
shown = ("Dynamics", "IG", "Input x Grad", "DeepLift", "Ablation")


def plot_sums(comparison, names, change, label):
    """Draw sums of contributions against what they should sum to."""
    figure, axes = plt.subplots(
        1,
        len(names),
        figsize=(10.5, 2.6),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    ends = [change.min(), change.max()]
    for ax, name in zip(axes, names, strict=True):
        ax.plot(ends, ends, color="0.8", lw=1)
        ax.plot(change, comparison[name].by_step.sum(1).numpy(), "o", ms=3.5)
        ax.set_title(name, fontsize=9)
    axes[len(names) // 2].set_xlabel(f"change of the {label}")
    axes[0].set_ylabel("sum of contributions")
    return figure


figure = plot_sums(result, shown, change, "score")
plt.close(figure)
figure

# %% [markdown]
# The two complete methods lie on the line. The others miss it, by amounts that differ
# from review to review.
#
# ## Where it gets serious: saturation
#
# A score can grow without end; a probability cannot. Once the network is sure, nothing
# moves the probability any more, and its gradient is near zero although words made it
# what it is. This is called **saturation**. We ask the same methods to explain the
# probability:


# %%
class Probability(Score):
    """The probability of praise."""

    def forward(self, embedded, lengths):
        return torch.sigmoid(super().forward(embedded, lengths))


probability = Probability(model)
saturated = compare(
    {
        "Dynamics": DynamicsAttribution(probability, model.rnn),
        "Telescoping": TelescopingAttribution(probability, model.rnn),
        "IG": IntegratedGradients(probability),
        "Input x Grad": InputXGradient(probability),
        "Ablation": FeatureAblation(probability),
    },
    embedded,
    baselines=baselines,
    target=0,
    additional_forward_args=(lengths,),
    valid=torch.arange(embedded.shape[1]) < lengths[:, None],
    settings={
        "IG": {"n_steps": 50},
        "Ablation": {"feature_mask": by_word},
    },
    n_perturb_samples=0,
)
change = (saturated.outputs - saturated.baseline_outputs).numpy()
figure = plot_sums(saturated, saturated.names, change, "probability")
plt.close(figure)
figure

# %% [markdown]
# Input x Grad explains next to nothing of the surest reviews, at the far left and
# right. Ablation fails there as well, for another reason: where three words say the
# same, taking one away changes little. The three complete methods still account for
# everything.
#
# ## One review, word by word
#
# Blue pushes the score up, orange pulls it down. Methods that promise a sum share one
# scale; the others have a scale of their own, so compare their colours only within a
# row.

# %%
row = 11
documents = Documents.of(
    words,
    result.attributions,
    outputs=result.outputs,
    baseline_outputs=result.baseline_outputs,
)
HTML(plots.text_html(documents, rows=[row]))

# %% [markdown]
# And how the score builds up from that of the baseline, word after word. Methods that
# promise a sum are drawn, and those that keep their promise end at the dotted line:

# %%
figure, _ = plots.plot_accumulation(documents, document=row)
figure

# %% [markdown]
# DeepLift does not get there, as `check_method` said. Propagation does not either,
# since it distributes another number. The other three differ on the way, and all are
# right: they answer different questions. *Telescoping* gives a word what it added when
# it was read, in the light of what came before. *Dynamics* and *IG* take into account
# what came after, too. Where do they differ most?

# %%
ours, others = result["Dynamics"].by_step, result["Telescoping"].by_step
gap = torch.where(result.valid, ours - others, 0.0).abs()
for place in gap.flatten().topk(5).indices.tolist():
    review, step = divmod(place, gap.shape[1])
    print(
        f"Dynamics {ours[review, step].item():+.2f}, "
        f"Telescoping {others[review, step].item():+.2f}: {words[review][step]!r} "
        f"in '... {' '.join(words[review][max(0, step - 2) : step + 3])} ...'"
    )
gap = torch.where(result.valid, ours - result["IG"].by_step, 0.0).abs()
print(f"Dynamics and IG differ by {gap.max().item():.2f} at most")

# %% [markdown]
# As a rule, where several words say the same, the first of them gets most from
# *Telescoping* and the later ones what is left; *Dynamics* shares more evenly. "Gem" is
# an exception: after all the praise before it, it added more than it would have on its
# own.
#
# ## Which one to choose
#
# - **To explain a number** (why 0.97?): a complete method. `DynamicsAttribution` and
#   Integrated Gradients agree here. Ours takes fewer runs of the model, and can say
#   *through which mode* a word counted; Integrated Gradients works on any model.
# - **To ask what a word did when it was read**: `TelescopingAttribution`. It needs no
#   gradient.
# - **To rank words quickly**: input times gradient, on the score and not on the
#   probability.
# - **Without a baseline**: `LinearizedPropagation`.
# - **Never to rank words by their push**: Saliency.
#
# What could mislead: that methods agree does not make them right, as they may share a
# blind spot; deletion asks about texts that nobody writes; and all of this is about the
# network, not about the language. On your own model, begin with `check_method`, take 50
# examples or more, and look at the intervals before you call a winner.
