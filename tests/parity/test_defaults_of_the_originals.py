"""Every default equals that of the installed PyTorch and Keras."""

import inspect
import os

import pytest

import optax_extras as oxe

os.environ.setdefault("KERAS_BACKEND", "jax")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")

ORIGINALS = {
    oxe.pytorch: (torch.optim, torch.optim.lr_scheduler),
    oxe.keras: (keras.optimizers, keras.optimizers.schedules, keras.callbacks),
}
PAIRS = {
    f"{package.__name__.rpartition('.')[2]}.{name}": (getattr(package, name), original)
    for package, modules in ORIGINALS.items()
    for name in package.__all__
    if (original := next((getattr(m, name) for m in modules if hasattr(m, name)), None))
}


@pytest.mark.parametrize("name", PAIRS)
def test_defaults(name):
    ours, theirs = (inspect.signature(x).parameters for x in PAIRS[name])
    shared = [x for x in ours if x in theirs]
    different = {
        x: (ours[x].default, theirs[x].default)
        for x in shared
        if ours[x].default != theirs[x].default
        and not (ours[x].default is None and theirs[x].default is ours[x].empty)
    }
    assert not different


def test_most_are_compared():
    assert len(PAIRS) > 35
