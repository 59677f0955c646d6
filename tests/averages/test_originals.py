"""Against the averages of the installed PyTorch and Keras, in float64."""

import os

import jax
import numpy as np
import pytest

import optax_extras as oxe
from tests.averages.loops import STEPS, follow, walk, weights_at_once

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]'")
swa_utils = pytest.importorskip("torch.optim.swa_utils")


def torch_average(start, every, **kwargs):
    """PyTorch's averages after each update, begun and called as its examples do."""
    w = walk()
    model = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    averaged = swa_utils.AveragedModel(model, **kwargs)
    found = []
    for t in range(1, STEPS + 1):
        with torch.no_grad():
            model.weight.copy_(torch.tensor(w[t : t + 1]))
        if t > start and (t - start) % every == 0:
            averaged.update_parameters(model)
        is_before = int(averaged.n_averaged) == 0
        source = model if is_before else averaged.module
        found.append(source.weight.detach().numpy()[0].copy())
    return np.stack(found)


@pytest.mark.parametrize(("start", "every"), [(0, 1), (7, 1), (5, 4)])
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_ema_of_torch(decay, start, every):
    function = swa_utils.get_ema_multi_avg_fn(decay)
    wanted = torch_average(start, every, multi_avg_fn=function)
    c = weights_at_once(lambda: oxe.averages.ema(decay, start=start, every=every))
    np.testing.assert_allclose(follow(c, walk())[1:], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("start", "every"), [(0, 1), (7, 1), (5, 4)])
def test_swa_of_torch(start, every):
    # Its own function divides in float32; this is the one for a model by itself.
    wanted = torch_average(start, every, avg_fn=swa_utils.get_swa_avg_fn())
    c = weights_at_once(lambda: oxe.averages.uniform(start, every))
    np.testing.assert_allclose(follow(c, walk())[1:], wanted, rtol=0, atol=1e-12)


def test_use_ema_of_keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    w = walk()
    with jax.enable_x64(True):
        variable = keras.Variable(w[0], dtype="float64")
        optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.9)
        optimizer.build([variable])
        found = []
        for t in range(1, STEPS + 1):
            # The gradient whose update, at the learning rate 1, leads to w_t.
            optimizer.apply([np.asarray(variable.value) - w[t]])
            found.append(np.asarray(optimizer._model_variables_moving_average[0].value))
    c = weights_at_once(lambda: oxe.averages.ema(0.9))
    np.testing.assert_allclose(follow(c, w)[1:], found, rtol=0, atol=1e-12)
