"""Set up pytest before anything of the package is imported, doctests included."""

from __future__ import annotations

import os

os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: two of them with two threads each would be slower, and
    # threads of one that wait for each other must not keep the other from working.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if os.environ.get("CAPTUM_DYNAMICS_SHAPES") == "1":
    from jaxtyping import install_import_hook

    # An int may be passed for a float, as everywhere in Python's typing.
    _TOWER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
    install_import_hook("captum_dynamics", _TOWER)
