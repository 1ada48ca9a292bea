"""Shapes as types: points are always axis 0, the state is always last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    Graph = nx.MultiDiGraph[int]
else:  # where it runs, the class takes no parameters
    Graph = nx.MultiDiGraph

States = Float[Tensor, "n d"]
Inputs = Float[Tensor, "n k"]
GivenInputs = Float[Tensor, "*n k"]  # one row each, one row for all, or a vector
OneInput = Float[Tensor, " k"]
OneState = Float[Tensor, " d"]
OneJacobian = Float[Tensor, "d d"]
OutputSequences = Float[Tensor, "n t m"]
StateSequences = Float[Tensor, "n t d"]
InputSequences = Float[Tensor, "n t k"]
PerPoint = Float[Tensor, " n"]
Outputs = Float[Tensor, "n m"]  # what a layer gives out in one step
ReducedStates = Float[Tensor, "n m"]  # the part of states that a smaller map moves
OtherStates = Float[Tensor, "m d"]  # another set of states of the same map
FewStates = Float[Tensor, "few d"]  # chosen from others
PerOther = Float[Tensor, " m"]
Mask = Bool[Tensor, " n"]
StepMask = Bool[Tensor, "n t"]
Counts = Int[Tensor, " n"]
Jacobians = Float[Tensor, "n d d"]
InputJacobians = Float[Tensor, "n d k"]
Eigenvalues = Complex[Tensor, "n d"]
Eigenvectors = Complex[Tensor, "n d d"]
Memory = Float[Tensor, "n m"]
