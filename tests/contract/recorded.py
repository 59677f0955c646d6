"""Records states of this version for later ones: python -m tests.contract.recorded.

There is one file for each release, which is never rewritten: all later releases must
load a state that an older release saved. A name for the file may follow, and after it
the cases to record, if not all.
"""

import io
import json
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.resuming import CASES, write
from tests.contract.runs import Run

FOLDER = Path(__file__).with_name("recorded")
STOP = 3
STRUCTURES = "structures.json"


def named(head, tree):
    """Every leaf, in order, with its path, as Flax and Orbax name it."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {head + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def structure_of(tree, at="state"):
    """What each path has: the names of its parts, None, or a leaf.

    Parts without leaves count, too: Flax and Orbax refuse a state with another field,
    even if it is None.
    """
    parts, _ = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda x: x is not tree
    )
    if tree is None or jax.tree_util.all_leaves([tree]):
        return {at: None if tree is None else "leaf"}
    found = {at: [jax.tree_util.keystr(path) for path, _ in parts]}
    for path, part in parts:
        found |= structure_of(part, at + jax.tree_util.keystr(path))
    return found


def record(case):
    """The state after some updates, and what the next update is, of which metric."""
    kept = Run(case, STOP + 1, discovery.metric_at)
    found = named("state", kept.states[STOP]) | named("update", kept.us[STOP])
    found |= named("told", discovery.metric_at(STOP))
    return {key: np.asarray(x) for key, x in found.items()}


def main(name=oxe.__version__, *only):
    FOLDER.mkdir(exist_ok=True)
    path, structures = FOLDER / f"{name}.zip", {}
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as file:
        for case in CASES:
            if only and case.name not in only:
                continue
            data = io.BytesIO()
            write(data, record(case))
            file.writestr(f"{case.name}.npz", data.getvalue())
            state = jax.eval_shape(case.make().init, case.params())
            structures[case.name] = structure_of(state)
        file.writestr(STRUCTURES, json.dumps(structures))
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
