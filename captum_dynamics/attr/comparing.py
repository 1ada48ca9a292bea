"""compare: any methods of Captum's and ours on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_dynamics import _checks
from captum_dynamics._execution import progress
from captum_dynamics._typing import StepMask
from captum_dynamics.attr._asked import forward_of
from captum_dynamics.attr._compat import Target
from captum_dynamics.attr._judging import Judge, told
from captum_dynamics.attr._perturbed import Perturbations
from captum_dynamics.attr._question import ask
from captum_dynamics.attr.comparison import Comparison

Methods = Mapping[str, Attribution] | Sequence[Attribution]


@torch.inference_mode(False)
def compare(
    methods: Methods,
    inputs: Tensor,
    *,
    baselines: Any = None,
    target: Target = None,
    additional_forward_args: Any = None,
    forward_func: Callable[..., Any] | None = None,
    valid: StepMask | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    points: int = 20,
    n_perturb_samples: int = 10,
    perturb_radius: float = 0.02,
    internal_batch_size: int | None = None,
    generator: torch.Generator | None = None,
    show_progress: bool = False,
) -> Comparison:
    """Ask several attribution methods the same question, and judge their answers.

    Each method is called once, with those of the arguments below that its `attribute`
    knows, then judged: by Captum's infidelity and sensitivity, and by how the output
    moves while steps are replaced by the baseline in the order of their attributions,
    the most positive first. Steps are judged whole: attributions are summed over
    features. A method that fails, or that explains another function, is a row with
    its error; a number that is not defined for a method is NaN with the reason.

    The infidelity replaces each step by the baseline with probability 1/2. Methods
    that give gradients, and not contributions, are judged by gradient times change, as
    Captum says; the two are not in the same units where a method gives sizes only.
    `calls` count the model: what our own methods run of the recurrent layer besides,
    their time tells.

    Args:
        methods: attribution objects of Captum or of this package, by name, or in a
            sequence, where their names are those of `get_name()`.
        inputs: what each `attribute` explains: (N, T) token ids or (N, T, ...) numbers;
            examples on axis 0, steps on axis 1.
        baselines: what takes the place of removed steps, in Captum's forms: a tensor of
            the shape of `inputs` or of one example, or a number. Without it methods
            use their own, and removed steps are 0; token ids need one.
        target: the output to explain, in any of Captum's forms.
        additional_forward_args: further arguments of the model.
        forward_func: the model whose outputs judge the methods; by default that of the
            first method that has one.
        valid: (N, T) true at steps that belong to their sequence, where some are
            padding; all by default. Of lengths (N,) it is
            `torch.arange(T) < lengths[:, None]`.
        settings: further arguments of each method's `attribute`, by the method's name,
            such as `{"Occlusion": {"sliding_window_shapes": (1, 8)}}`.
        points: pieces of the curves; the output is asked at `points + 1` shares.
        n_perturb_samples: perturbed copies of each example for infidelity and
            sensitivity; 0 leaves both out.
        perturb_radius: noise of the sensitivity, as in `sensitivity_max`.
        internal_batch_size: examples to run at once, also for methods that take it;
            infidelity and sensitivity take no fewer than all of them.
        generator: source of all randomness; by default always the same one. Captum's
            methods draw from global generators, which are seeded and put back.
        show_progress: show a progress bar over methods.

    Returns:
        Attributions and scores of each method; `print` shows a table.

    Raises:
        TypeError: If `inputs` are no tensor or a method is no attribution.
        ValueError: If an argument does not fit the inputs, or no method gave
            attributions.

    Warns:
        AttributionWarning: For each trap that `check_method` finds.

    References:
        Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (in)fidelity and sensitivity
        of explanations", NeurIPS 2019, arXiv 1901.09392. Petsiuk, Das and Saenko,
        "RISE", BMVC 2018, arXiv 1806.07421: deletion and insertion. Samek, Binder,
        Montavon, Lapuschkin and Mueller, IEEE TNNLS 28 (2017), 2660-2673.

    Example:
        >>> import torch
        >>> from captum.attr import InputXGradient, IntegratedGradients
        >>> from captum_dynamics.attr import DynamicsAttribution, compare
        >>> gru = torch.nn.GRU(3, 4, batch_first=True).double()
        >>> def score(x):
        ...     return gru(x)[0][:, -1].sum(-1)
        >>> inputs = torch.ones(2, 5, 3).double().cumsum(1)
        >>> result = compare(
        ...     {
        ...         "ours": DynamicsAttribution(score, gru),
        ...         "IG": IntegratedGradients(score),
        ...         "gradient": InputXGradient(score),
        ...     },
        ...     inputs,
        ...     baselines=0.0,
        ...     settings={"IG": {"n_steps": 20}},
        ... )
        >>> result.names, result.rank_correlations.shape
        (['ours', 'IG', 'gradient'], torch.Size([3, 3]))
        >>> result.table().split()[:4]
        ['method', 'seconds', 'calls', 'examples']
    """
    named = _named(methods)
    own = _settings(settings, named)
    _checks.check_count("points", points)
    _checks.check_count("n_perturb_samples", n_perturb_samples, 0)
    _checks.check_positive("perturb_radius", perturb_radius)
    question = ask(
        inputs,
        baselines,
        target,
        additional_forward_args,
        valid,
        internal_batch_size,
        generator,
    )
    judge = Judge.of(
        _model(named, forward_func),
        question,
        points,
        Perturbations(n_perturb_samples, perturb_radius),
    )
    scores, failures = [], {}
    for name in progress(named, show=show_progress, desc="methods"):
        try:
            scores.append(judge.scores(name, named[name], own.get(name, {})))
        except Exception as error:  # whose method, whose error: the others go on
            failures[name] = told(error)
    if not scores:
        name, why = next(iter(failures.items()))
        raise ValueError(f"Expected a method that can be called; {name}: {why}")
    return Comparison(
        tuple(scores),
        failures,
        question.valid,
        judge.outputs,
        judge.baseline_outputs,
        judge.shares,
    )


def _named(methods: Methods) -> dict[str, Attribution]:
    """Methods by name; those of a sequence by their own, made unique."""
    if isinstance(methods, Mapping):
        named = dict(methods)
    else:
        named = {}
        for method in methods:
            _check_method(method)
            name = method.get_name()
            same = sum(type(method) is type(other) for other in named.values())
            named[name if name not in named else f"{name} {same + 1}"] = method
    for method in named.values():
        _check_method(method)
    if not named:
        raise ValueError("Expected `methods` to hold at least one, got none.")
    return named


def _check_method(method: Any) -> None:
    if not isinstance(method, Attribution):
        raise TypeError(
            f"Expected `methods` to hold attribution objects, built for their model, "
            f"got {method!r}."
        )


def _settings(
    settings: Mapping[str, Mapping[str, Any]] | None, named: Mapping[str, Attribution]
) -> dict[str, dict[str, Any]]:
    own = {name: dict(given) for name, given in (settings or {}).items()}
    unknown = [name for name in own if name not in named]
    if unknown:
        raise ValueError(
            f"Expected `settings` for methods among {list(named)}, got {unknown}."
        )
    return own


def _model(
    named: Mapping[str, Attribution], forward_func: Callable[..., Any] | None
) -> Callable[..., Any]:
    """The model that judges."""
    known = [forward_func, *map(forward_of, named.values())]
    found = next((model for model in known if model is not None), None)
    if found is None:
        raise ValueError(
            "Expected `forward_func`, as no method tells what it explains."
        )
    return found
