"""Runs that are saved in four ways and resumed: here, or in a new process.

python -m tests.contract.resuming FOLDER CASE ... writes the end of each restored run.
"""

import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from tests.contract import discovery
from tests.contract.runs import Run, gradient

WAYS = ("flatten", "flax", "equinox", "orbax")
STEPS = 9  # enough for a metric-driven learning rate to fall
HALVES = "-halves"
# Cases also run on half-precision leaves, and the dtypes of the first leaves.
HALVED = ("nadam", "heavy_ball", "swats-early", "stacked", "accumulate")
HALVED += ("with_master_copy", "with_compensation", "low_precision_state")
HALVED += ("with_average", "with_average-bfloat16", "keras.ScheduleFreeAdamW")
DTYPES = ("float16", "float32")


class OfHalves(discovery.Case):
    """A case on bfloat16 leaves, except for the first ones."""

    __slots__ = ()

    def params(self):
        return self.fit(case_of(self.name.removesuffix(HALVES)).params())

    def fit(self, tree):
        leaves, treedef = jax.tree.flatten(super().fit(tree))
        dtypes = [*DTYPES, *["bfloat16"] * (len(leaves) - len(DTYPES))]
        return treedef.unflatten(map(jnp.asarray, leaves, dtypes))

    @property
    def ulps(self):
        """What bfloat16 updates round to."""
        return 2**16


def run_of(name):
    """A run without a stop, in which every update gets a metric."""
    return Run(case_of(name), STEPS, discovery.metric_at)


def stops_of(name):
    """The updates after which it stops: arbitrary, but always the same."""
    rng = np.random.default_rng(list(name.encode()))
    return sorted(map(int, rng.choice(STEPS, 2, replace=False)))


def write(file, arrays):
    """NumPy's files cannot hold bfloat16: they hold its bits, and other dtypes."""
    arrays = {key: np.asarray(x) for key, x in arrays.items()}
    bits = {
        key: x.view(f"u{x.itemsize}") if x.dtype == jnp.bfloat16 else x
        for key, x in arrays.items()
    }
    np.savez(file, **bits, dtypes=[x.dtype.name for x in arrays.values()])


def read(file):
    """What was written, in its order; the first files hold no dtypes."""
    with np.load(file) as data:
        found = {key: data[key] for key in data.files}
    dtypes = found.pop("dtypes", [x.dtype for x in found.values()])
    pairs = zip(found.items(), dtypes, strict=True)
    return {key: x.view(jnp.dtype(dtype)) for (key, x), dtype in pairs}


def numbered(tree):
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def save(folder, states):
    """Every state in every way; they are known by their name and step."""
    for key, state in states.items():
        at = folder / key
        at.mkdir(parents=True)
        write(at / "flatten.npz", numbered(state))
        (at / "flax.msgpack").write_bytes(serialization.to_bytes(state))
        eqx.tree_serialise_leaves(at / "equinox.eqx", state)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve() / "orbax", states)


def restore(folder, fresh):
    """All states by each way; `fresh` are new ones of the same optimizers."""
    found = {(key, way): None for key in fresh for way in WAYS}
    for key, new in fresh.items():
        at = folder / key
        leaves = read(at / "flatten.npz").values()
        found[key, "flatten"] = jax.tree.unflatten(jax.tree.structure(new), leaves)
        data = (at / "flax.msgpack").read_bytes()
        found[key, "flax"] = serialization.from_bytes(new, data)
        found[key, "equinox"] = eqx.tree_deserialise_leaves(at / "equinox.eqx", new)
    with ocp.StandardCheckpointer() as checkpointer:
        states = checkpointer.restore(folder.resolve() / "orbax", fresh)
    return found | {(key, "orbax"): state for key, state in states.items()}


def case_of(name):
    return next(case for case in CASES if case.name == name)


def key_of(name, stop):
    return f"{name} {stop}"


def main(folder, names):
    runs = {name: (case.make(), case) for name in names for case in [case_of(name)]}
    updates = {name: jax.jit(tx.update) for name, (tx, _) in runs.items()}
    fresh = {
        key_of(name, stop): tx.init(case.params())
        for name, (tx, case) in runs.items()
        for stop in stops_of(name)
    }
    for (key, way), state in restore(folder, fresh).items():
        name, stop = key.split()
        params, us = runs[name][1].params(), []
        for step in range(int(stop), STEPS):
            grads, extra = gradient(params, step), discovery.metric_at(step)
            u, state = updates[name](grads, state, params, **extra)
            us.append(u)
        write(folder / key / f"{way}-end.npz", numbered((us, state)))


CASES = [
    *discovery.CASES,
    *(
        OfHalves(case.name + HALVES, *case[1:])
        for case in discovery.CASES
        if case.name in HALVED
    ),
]

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
