"""Params that are rebuilt from sharded averages are sharded like them."""

import pytest

from tests.contract.devices import on_eight_devices

SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import optax_extras as oxe

GAMMAS = {"narrow": 16.97, "wide": 6.94}

def rebuilt(place):
    leaf = np.arange(48, dtype=np.float32).reshape(16, 3)
    averages = {name: {"w": place(leaf * g)} for name, g in GAMMAS.items()}
    grown = lambda t: jax.tree.map(lambda x: x * t, averages)
    snapshots = [oxe.averages.Snapshot(t, grown(t), GAMMAS) for t in (10, 20, 30, 40)]
    return oxe.averages.rebuild(snapshots, "cosine", at=35, steps=20).params["w"]

wanted, found = rebuilt(jnp.asarray), {}
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(kind,))
    sharding = NamedSharding(mesh, P("x"))
    w = rebuilt(lambda leaf: jax.device_put(leaf, sharding))
    same = bool(np.allclose(np.asarray(w), np.asarray(wanted), rtol=1e-6))
    found[kind.name] = same and w.sharding.is_equivalent_to(sharding, w.ndim)
print(json.dumps(found))
"""


@pytest.mark.ci
def test_rebuilt_params_are_sharded_like_the_averages():
    assert on_eight_devices(SCRIPT) == {"Auto": True, "Explicit": True}
