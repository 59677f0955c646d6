"""Runs that are saved in four ways, and go on from there: here, or as a new process.

python -m tests.contract.resuming FOLDER CASE ... writes what each restored run ends at.
"""

import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from tests.contract import discovery
from tests.contract.test_optimizers import STEPS, Run, run

WAYS = ("flatten", "flax", "equinox", "orbax")


def stop_of(name):
    """After how many updates a run is stopped: any number, but always the same."""
    return int(np.random.default_rng(list(name.encode())).integers(STEPS))


def save(folder, states):
    """Every state in every way."""
    for name, state in states.items():
        at = folder / name
        at.mkdir(parents=True)
        np.savez(at / "flatten.npz", *jax.tree.leaves(state))
        (at / "flax.msgpack").write_bytes(serialization.to_bytes(state))
        eqx.tree_serialise_leaves(at / "equinox.eqx", state)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve() / "orbax", states)


def restore(folder, fresh):
    """All states by each way; `fresh` are new ones of the same optimizers."""
    found = {(name, way): None for name in fresh for way in WAYS}
    for name, new in fresh.items():
        at = folder / name
        with np.load(at / "flatten.npz") as file:
            leaves = [file[f"arr_{i}"] for i in range(len(file.files))]
        found[name, "flatten"] = jax.tree.unflatten(jax.tree.structure(new), leaves)
        data = (at / "flax.msgpack").read_bytes()
        found[name, "flax"] = serialization.from_bytes(new, data)
        found[name, "equinox"] = eqx.tree_deserialise_leaves(at / "equinox.eqx", new)
    with ocp.StandardCheckpointer() as checkpointer:
        states = checkpointer.restore(folder.resolve() / "orbax", fresh)
    return found | {(name, "orbax"): state for name, state in states.items()}


def case_of(name):
    return next(case for case in discovery.CASES if case.name == name)


def main(folder, names):
    runs = {name: Run(case_of(name)) for name in names}
    fresh = {name: kept.states[0] for name, kept in runs.items()}
    for (name, way), state in restore(folder, fresh).items():
        kept, stop = runs[name], stop_of(name)
        end = run(kept.tx, kept.params, STEPS - stop, kept.update, state, stop)
        np.savez(folder / name / f"{way}-end.npz", *jax.tree.leaves(end))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
