"""Against the averages of the installed PyTorch, Keras, timm and ema-pytorch.

All in float64.
"""

import os

import jax
import numpy as np
import pytest

import optax_extras as oxe
from tests.averages.loops import STEPS, follow, walk, weights_at_once, weights_of
from tests.parity import timm_stub

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


def linear_model(w):
    """A model of PyTorch with these weights."""
    model = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    set_weights(model, w)
    return model


def set_weights(model, w):
    with torch.no_grad():
        model.weight.copy_(torch.tensor(w[None]))


def weights_in(model):
    return model.weight.detach().numpy()[0].copy()


def timm_average(decay, step=lambda t: t, **kwargs):
    """timm's averages after each update, made as its training script does."""
    w = walk()
    model = linear_model(w[0])
    average = timm_stub.load("utils.model_ema").ModelEmaV3(model, decay, **kwargs)
    found = []
    for t in range(1, STEPS + 1):
        set_weights(model, w[t])
        average.update(model, step=step(t))
        found.append(weights_in(average.module))
    return np.stack(found)


def assert_same(make, wanted):
    found = follow(weights_at_once(make), walk())[1:]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("foreach", [True, False])
def test_ema_of_timm(start, foreach):
    """Also the default of `warmup`, timm's with `use_warmup`."""
    options = {"update_after_step": start, "foreach": foreach}
    for decay in (0.0, 0.9, 0.9999):
        ours = lambda d=decay: oxe.averages.ema(d, start=start)  # noqa: E731
        assert_same(ours, timm_average(decay, **options))
        warm = lambda d=decay: oxe.averages.ema(  # noqa: E731
            oxe.averages.warmup(d), start=start
        )
        assert_same(warm, timm_average(decay, use_warmup=True, **options))


def test_ema_of_timm_without_a_step():
    """The initial params take part in it."""
    wanted = timm_average(0.9, step=lambda t: None)
    assert_same(lambda: oxe.averages.ema(0.9, include_init=True), wanted)


WARM = [
    {"power": 1.0, "gamma": 1.0, "min_decay": 0.0},
    {"power": 0.75, "gamma": 5.0, "min_decay": 0.4},
    {"power": 2 / 3, "gamma": 0.3, "min_decay": 0.0},
]


def warm(decay, start, words):
    return lambda: oxe.averages.ema(oxe.averages.warmup(decay, **words), start=start)


@pytest.mark.parametrize("words", WARM)
@pytest.mark.parametrize("start", [0, 7])
def test_warmup_of_timm(start, words):
    theirs = {f"warmup_{x}": y for x, y in words.items() if x != "min_decay"}
    theirs |= {"min_decay": words["min_decay"], "update_after_step": start}
    wanted = timm_average(0.85, use_warmup=True, **theirs)
    assert_same(warm(0.85, start, words), wanted)


@pytest.fixture
def double():
    """ema-pytorch computes its decay in PyTorch's default dtype, else float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def ema_pytorch_average(beta, **kwargs):
    """The averages after each update of the installed ema-pytorch."""
    ema_pytorch = pytest.importorskip("ema_pytorch")
    w = walk()
    model = linear_model(w[0])
    average = ema_pytorch.EMA(model, beta=beta, **kwargs)
    found = []
    for t in range(1, STEPS + 1):
        set_weights(model, w[t])
        average.update()
        found.append(weights_in(average.ema_model))
    return np.stack(found)


@pytest.mark.parametrize("words", WARM)
@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("use_foreach", [True, False])
def test_ema_pytorch(double, start, use_foreach, words):
    wanted = ema_pytorch_average(
        0.85,
        update_every=1,
        update_after_step=start,
        use_foreach=use_foreach,
        power=words["power"],
        inv_gamma=words["gamma"],
        min_value=words["min_decay"],
    )
    assert_same(warm(0.85, start, words), wanted)


def test_ema_pytorch_at_every_fifth_update(double):
    """Its decay counts updates, and it copies only at every fifth of them, too."""
    wanted = ema_pytorch_average(0.95, update_every=5, update_after_step=10)
    decay = oxe.averages.warmup(0.95)

    # A decay of one's own gets one count at a time.
    c = weights_of(lambda: oxe.averages.ema(lambda k: decay(5 * k), start=6, every=5))
    found = follow(c, walk())[1:]
    np.testing.assert_allclose(found[10:], wanted[10:], rtol=0, atol=1e-12)
