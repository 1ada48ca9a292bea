"""A tiny random Hugging Face model: how it is built, fed and asked for its cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from captum_dynamics.testing._tiny_sizes import VOCABULARY, WEIGHT_SCALE


def tokens(sequences: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw ids alone: the model counts no positions."""
    shape = sequences, steps
    ids = torch.randint(3, VOCABULARY, shape, generator=generator)
    return {"input_ids": ids}


def positioned_tokens(
    sequences: int, steps: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw ids, and tell their positions: some models take 0 otherwise."""
    positions = torch.arange(steps).expand(sequences, steps)
    return {**tokens(sequences, steps, generator), "position_ids": positions}


def sound(sequences: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the samples of a sound."""
    # Strides 2 and 2: four samples make one step of the LSTM.
    shape = sequences, 1, 4 * steps
    return {"input_values": torch.randn(shape, generator=generator)}


def speech(sequences: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the features of speech, and the ids said so far."""
    features = torch.randn(sequences, 16, 8, generator=generator)
    ids = tokens(sequences, steps, generator)["input_ids"]
    return {"input_features": features, "decoder_input_ids": ids}


def features(
    sequences: int, steps: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw features of an image, of which the model reads what it wants."""
    del steps  # the model decides itself
    return {"hidden_states": torch.randn(sequences, 5, 8, generator=generator)}


Inputs = Callable[[int, int, torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class TinyModel:
    """A family of Hugging Face models, and a tiny random member of it.

    Widths are 16 to 64, with 2 or 3 layers and 40 tokens. transformers is imported by
    `build` and `missing`, not before.

    Attributes:
        name: the family.
        folder: where transformers keeps it, below `transformers.models`.
        mixer: dotted name of the class of its recurrent layers, the same in all
            versions of transformers that have it.
        layer: path of one recurrent layer in the built model.
        model: name of the class that `build` makes an object of.
        config: name of its configuration's class.
        sizes: keyword arguments of that configuration.
        hybrid: whether it attends to the past too, and so keeps keys and values.
        cache_names: what its cache may be called, newest name first, as an argument
            and as a field of the output alike; none where it has no such cache.
        cache_class: class of the cache that the caller must make, in the versions
            whose modeling file has it; the others make their own.
        draw: draws the arguments of a forward pass, for `inputs`.
        since: first version of transformers known to have the family.

    Example:
        >>> from captum_dynamics.testing import TINY_MODELS
        >>> TINY_MODELS["mamba"].layer
        'backbone.layers.0.mixer'
    """

    name: str
    folder: str
    mixer: str
    layer: str
    model: str
    config: str
    sizes: Mapping[str, Any] = field(repr=False)
    hybrid: bool = False
    cache_names: tuple[str, ...] = ("cache", "past_key_values")
    cache_class: str | None = None
    since: str = "4.57"
    draw: Inputs = field(default=tokens, repr=False)

    @property
    def missing(self) -> str | None:
        """Why the model cannot be built here, in one sentence; None if it can."""
        try:
            version = import_module("transformers").__version__
        except ImportError:
            return "transformers is not installed."
        try:
            self._find("modeling", self.model)
            self._mixer()
        except (ImportError, AttributeError) as error:
            return (
                f"transformers {version} has no {self.model}, known since version "
                f"{self.since}: {error}"
            )
        return None

    def build(self, *, seed: int = 0) -> nn.Module:
        """Make the model: random weights in float32, in eval mode.

        Weights are larger than transformers draws them, and vectors (biases, gains,
        rates) are moved a little off the constants it starts them at, so that the
        outputs of so small a model depend on its state. The global generators of
        random numbers are left as they were.

        Args:
            seed: of the weights; the same seed gives the same model.

        Returns:
            The model, a `transformers.PreTrainedModel`.

        Raises:
            ImportError: the installed transformers lacks the family; `missing` tells
                so without raising.

        Example:
            >>> from captum_dynamics.testing import TINY_MODELS
            >>> family = TINY_MODELS["mamba"]
            >>> if family.missing is None:
            ...     model = family.build(seed=0)
            ...     layer = model.get_submodule(family.layer)
        """
        if self.missing is not None:
            raise ImportError(self.missing)
        config = self._find("configuration", self.config)(**deepcopy(dict(self.sizes)))
        config.initializer_range = WEIGHT_SCALE
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model: nn.Module = self._find("modeling", self.model)(config)
        model.to(torch.float32).eval()
        _move_vectors(model, torch.Generator().manual_seed(seed))
        return model

    def inputs(
        self, sequences: int = 2, steps: int = 7, *, seed: int = 0
    ) -> dict[str, Tensor]:
        """Draw keyword arguments for a forward pass of the model.

        Args:
            sequences: how many.
            steps: how many the recurrent layer takes of each.
            seed: of the draw.

        Returns:
            Tensors by argument: `input_ids` (sequences, steps) for a language model,
            with `position_ids` where it takes them; sound or features for others.

        Example:
            >>> from captum_dynamics.testing import TINY_MODELS
            >>> TINY_MODELS["mamba"].inputs(3, 5)["input_ids"].shape
            torch.Size([3, 5])
        """
        return self.draw(sequences, steps, torch.Generator().manual_seed(seed))

    def cache_name(self, model: nn.Module) -> str | None:
        """Name of the cache in a built model's `forward` and in its output.

        Args:
            model: what `build` gave.

        Returns:
            The name, the newest that the installed version knows; None if the model
            takes no cache: it keeps its state itself, or keeps none.

        Example:
            >>> from captum_dynamics.testing import TINY_MODELS
            >>> family = TINY_MODELS["rwkv"]
            >>> if family.missing is None:
            ...     name = family.cache_name(family.build())  # "state"
        """
        known = signature(model.forward).parameters
        return next((name for name in self.cache_names if name in known), None)

    def new_cache(self, model: nn.Module, sequences: int = 2) -> Any:
        """Make an empty cache where the model wants the caller to.

        Args:
            model: what `build` gave.
            sequences: the batch it is for.

        Returns:
            The cache to pass as `cache_name(model)`; None where the model makes its
            own.

        Example:
            >>> from captum_dynamics.testing import TINY_MODELS
            >>> family = TINY_MODELS["mamba"]
            >>> if family.missing is None:
            ...     cache = family.new_cache(family.build())  # the model makes its own
        """
        modeling = self._module("modeling")
        if self.cache_class is None or not hasattr(modeling, self.cache_class):
            return None
        make = getattr(modeling, self.cache_class)
        config: Any = model.config
        given = {
            "config": config,
            "batch_size": sequences,
            "dtype": torch.float32,  # its default is half precision
            "devices": ["cpu"] * config.num_hidden_layers,
        }
        known = signature(make).parameters
        return make(**{name: given[name] for name in given if name in known})

    def _find(self, kind: str, name: str) -> Any:
        return getattr(self._module(kind), name)

    def _module(self, kind: str) -> ModuleType:
        """Import one of the family's modules.

        Where the package xlstm is installed, transformers takes its layers instead of
        its own equations, or fails for want of kernels; so it is kept out of sight.
        """
        with patch("transformers.utils.is_xlstm_available", return_value=False):
            return import_module(
                f"transformers.models.{self.folder}.{kind}_{self.folder}"
            )

    def _mixer(self) -> Any:
        module, _, name = self.mixer.rpartition(".")
        return getattr(import_module(module), name)


@torch.no_grad()
def _move_vectors(model: nn.Module, generator: torch.Generator) -> None:
    """Move biases, gains and rates off the constants at which they start."""
    for name, parameter in model.named_parameters():
        if parameter.numel() == max(parameter.shape):
            noise = torch.randn(parameter.shape, generator=generator)
            # The mLSTM's input gate starts shut, at -10.
            base = parameter.clamp(min=-1.0) if "igate" in name else parameter
            parameter.copy_(base + 0.1 * noise)
        elif name.rpartition(".")[2].startswith(("weight_ih", "weight_hh")):
            # torch's own draw of LSTMs and GRUs, at which they hardly remember.
            parameter.mul_(3.0)
        elif name.endswith("temporal_block.linear_out.weight"):
            # What a block of RecurrentGemma adds is little beside what it adds it to.
            parameter.mul_(4.0)
    for name, buffer in model.named_buffers():
        # Codebooks start at zero, which would cut the output from the state.
        if name.endswith("codebook.embed"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
