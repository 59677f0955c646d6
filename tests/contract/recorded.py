"""States of this version, kept for those to come: python -m tests.contract.recorded.

One file a release, of which nothing is ever written anew: a state that was saved by
an older release has to be understood by all later ones.
"""

import io
import zipfile
from pathlib import Path

import jax
import numpy as np

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.test_optimizers import Run

FOLDER = Path(__file__).with_name("recorded")
STOP = 3


def leaves_of(tree):
    """Every leaf with its path, as Flax and Orbax name it."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def record(case):
    """The state after some updates, and what the next update is."""
    kept = Run(case)
    state = {f"state{key}": x for key, x in leaves_of(kept.states[STOP]).items()}
    update = {f"update{key}": x for key, x in leaves_of(kept.us[STOP]).items()}
    return state | update


def main():
    cases = [x for x in discovery.CASES if x.is_plain or x.name in discovery.COMBINED]
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{oxe.__version__}.zip"
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as file:
        for case in cases:
            data = io.BytesIO()
            np.savez(data, **record(case))
            file.writestr(f"{case.name}.npz", data.getvalue())
    print(path)


if __name__ == "__main__":
    main()
