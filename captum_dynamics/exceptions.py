"""The errors and warnings of the package, so that callers can catch them by name."""

from __future__ import annotations


class AdapterNotFoundError(TypeError):
    """No registered adapter knows how to read this layer."""


class LayerNotFoundError(LookupError):
    """The model has no layer at the given path."""


class UnsupportedLayerError(TypeError):
    """The layer is known, but its dynamics cannot be read faithfully."""


class FileFormatError(ValueError):
    """A saved file is truncated, foreign, or of a version this release cannot read."""


class AdapterWarning(UserWarning):
    """Another package's adapters cannot be loaded; they are left out."""


class ConvergenceWarning(UserWarning):
    """A whole search failed; its rows are returned all the same, with their status."""


class ExecutionWarning(UserWarning):
    """Workers failed; what they left was done in the caller's process."""


class AttributionWarning(UserWarning):
    """An attribution can be computed, but would be read wrongly without a remedy."""


class RecordingWarning(UserWarning):
    """Recorded states are not those of the layer's own output."""


class SurrogateWarning(UserWarning):
    """An adapter reads a layer like the given one, not the given one itself."""
