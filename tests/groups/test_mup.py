"""muP: the authors' package, formulas for other layouts, two widths, errors."""

import functools
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe


def shapes(width, heads=2):
    """A small Transformer, with one axis of scanned layers."""
    sizes = {
        "embed": (50, width),
        "query": (3, width, heads, 5),
        "out": (3, heads, 5, width),
        "mlp": (3, width, 4 * width),
        "scale": (3, width),
        "query_bias": (3, heads, width // heads),
        "readout": (width, 50),
        "bias": (50,),
        "temperature": (),
    }
    return {name: jax.ShapeDtypeStruct(x, jnp.float32) for name, x in sizes.items()}


def layout(path, leaf):
    return {
        "query": oxe.MatrixAxes(inputs=1, outputs=(2, 3), batch=0),
        "out": oxe.MatrixAxes(inputs=(1, 2), outputs=3, batch=0),
        "mlp": oxe.MatrixAxes(inputs=-2, outputs=-1, batch=0),
        "query_bias": oxe.MatrixAxes(inputs=(), outputs=(1, 2), batch=0),
        "embed": oxe.MatrixAxes(inputs=0, outputs=1),
        "readout": oxe.MatrixAxes(inputs=0, outputs=1),
    }.get(path)


def ones(tree):
    return jax.tree.map(lambda x: np.ones(x.shape, x.dtype), tree)


def first_update(tx, grads, params):
    """It, and the state after it."""
    return jax.jit(lambda g, w: tx.update(g, tx.init(w), w))(grads, params)


def multiples(rate, params):
    """The learning rate of each leaf."""
    tx, grads = oxe.scale_by_rate(rate, flip_sign=False), ones(params)
    us, _ = first_update(tx, grads, grads)
    return {name: np.asarray(u).flat[0] for name, u in us.items()}


# 1 / m_in; m_out / m_in or the m that is not 1: 6 times the width, 3 times the heads.
WIDTHS = dict.fromkeys(("embed", "readout", "scale", "query_bias"), 6)
MULTIPLES = {
    "adam": {"query": 1 / 6, "out": 1 / 3, "mlp": 1 / 6},
    "sgd": {"query": 3 / 6, "out": 6 / 3, **WIDTHS},
}


@pytest.mark.parametrize("optimizer", MULTIPLES)
def test_heads_and_scanned_layers(optimizer):
    params, base = shapes(48, heads=6), shapes(8, heads=2)
    make = functools.partial(oxe.mup, params, base, layout=layout, optimizer=optimizer)
    for name, got in multiples(make()[0], params).items():
        expected = MULTIPLES[optimizer].get(name, 1)
        np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=name)
    rate, decay = make(learning_rate=0.5, weight_decay=0.1)
    zeros = jax.tree.map(np.zeros_like, ones(params))
    us, _ = first_update(oxe.adamw(rate, weight_decay=decay), zeros, ones(params))
    for name, u in us.items():  # the product does not depend on the width
        np.testing.assert_allclose(u, -0.05, rtol=1e-6, err_msg=name)


# ---- The authors' package ------------------------------------------------------------

DATA = Path(__file__).parents[1] / "data" / "mup.json"
TORCH = {  # name: (a base model's shape, the model's), as PyTorch has them
    "embed.weight": ((11, 4), (11, 8)),
    "conv.weight": ((6, 4, 3), (18, 8, 3)),
    "conv.bias": ((6,), (18,)),
    "hidden.weight": ((4, 6), (10, 18)),
    "hidden.bias": ((4,), (10,)),
    "readout.weight": ((5, 4), (5, 10)),
    "readout.bias": ((5,), (5,)),
}


def ours(name, x):
    """Kernels of Flax have their inputs first; an embedding is the same in both."""
    return np.swapaxes(x, 0, -1) if x.ndim > 1 and "embed" not in name else x


def gradient(name, step):
    shape = TORCH[name][1]
    return np.cos(np.arange(np.prod(shape)) ** 1.5 + step).reshape(shape)


def their_params(optimizer):
    """The params after five steps, which their package computed in float64.

    By ``mup.MuAdamW`` and ``mup.MuSGD`` of these shapes, given by ``mup.zip_infshape``,
    with a learning rate of 0.1 and a weight decay of 0.3.
    """
    recorded = json.loads(DATA.read_text())[optimizer]
    return {
        name: np.reshape(recorded[name], ours(name, np.ones(shape)).shape)
        for name, (_, shape) in TORCH.items()
    }


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_authors_package(optimizer):
    theirs = their_params(optimizer)
    trees = [
        {name: ours(name, np.ones(x[i])) for name, x in TORCH.items()} for i in (0, 1)
    ]

    def axes(path, leaf):
        inputs = tuple(range(leaf.ndim - 1))
        return oxe.MatrixAxes(inputs, leaf.ndim - 1) if inputs else None

    with jax.enable_x64(True):
        rate, decay = oxe.mup(
            trees[1],
            trees[0],
            layout=axes,
            learning_rate=0.1,
            weight_decay=0.3,
            optimizer=optimizer,
        )
        if optimizer == "adam":
            tx = oxe.adamw(rate, weight_decay=decay)
        else:
            decays = oxe.scale_by_rate(decay, flip_sign=False)
            tx = oxe.sgd(rate)
        params = {name: ours(name, gradient(name, -1)) for name in TORCH}
        state = jax.jit(tx.init)(params)

        @jax.jit
        def update(grads, state, params):
            if optimizer == "sgd":  # PyTorch's decay is part of the gradient
                decayed, _ = decays.update(params, decays.init(params))
                grads = jax.tree.map(jnp.add, grads, decayed)
            us, state = tx.update(grads, state, params)
            return optax.apply_updates(params, us), state

        for step in range(5):
            grads = {name: ours(name, gradient(name, step)) for name in TORCH}
            params, state = update(grads, state, params)
        for name, x in params.items():
            # NumPy's powers of up to 9000 differ by 1.8e-12, a unit in the last place,
            # between the processor of the recording and others; so do their cosines.
            np.testing.assert_allclose(x, theirs[name], rtol=1e-12, atol=2e-12)


# ---- What it is for ------------------------------------------------------------------


class Network(nn.Module):
    width: int
    m: float

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = nn.relu(nn.Dense(self.width, use_bias=False)(x))
        return nn.Dense(1, kernel_init=nn.initializers.zeros, name="readout")(
            x / self.m
        )


def change_of_outputs(width, with_mup, base=16):
    """The mean change of the outputs in three updates of Adam."""
    inputs = jax.random.normal(jax.random.key(1), (16, 8))
    model = Network(width, width / base if with_mup else 1.0)
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    of_base = jax.eval_shape(Network(base, 1.0).init, jax.random.key(0), inputs)
    rate = 1e-3
    if with_mup:
        rate, _ = oxe.mup(params, of_base, layout="in_out", learning_rate=rate)
    tx = oxe.adam(rate)
    state, outputs = jax.jit(tx.init)(params), []

    @jax.jit
    def step(params, state):
        def loss(params):
            outputs = model.apply(params, inputs)
            return jnp.mean((outputs - jnp.sin(3 * inputs[:, :1])) ** 2), outputs

        grads, found = jax.grad(loss, has_aux=True)(params)
        us, state = tx.update(grads, state, params)
        return optax.apply_updates(params, us), state, found

    for _ in range(4):
        params, state, found = step(params, state)
        outputs.append(found)
    return np.mean(np.abs(np.subtract(outputs[-1], outputs[0])))


def test_the_first_updates_change_the_outputs_equally_at_every_width():
    narrow, wide = (change_of_outputs(width, True) for width in (16, 256))
    plain = change_of_outputs(256, False)
    assert 0.5 < wide / narrow < 2
    assert plain / narrow > 8


# ---- What it goes together with ------------------------------------------------------


def test_with_schedules_and_other_groups():
    params, base = ones(shapes(16)), shapes(8)
    schedule = oxe.schedules.linear(0.1, 10, 0.2)
    rate, decay = oxe.mup(params, base, layout=layout, weight_decay=0.1)
    tx = oxe.adamw(
        oxe.by_path({"embed": 5.0, "scale": oxe.FROZEN}, rate, times=schedule),
        weight_decay=oxe.by_path({"bias": 0.0}, default=decay),
    )
    us, _ = first_update(tx, params, params)
    expected = {"embed": 0.5 * 1.1, "scale": 0.0, "bias": 0.1, "mlp": 0.05 * 1.2}
    for name, x in expected.items():
        np.testing.assert_allclose(us[name], -x, rtol=1e-6)
    rate, decay = oxe.mup(
        params, base, layout=layout, learning_rate=schedule, weight_decay=schedule
    )
    tx = oxe.adamw(rate, weight_decay=decay)
    us, state = first_update(tx, params, params)
    np.testing.assert_allclose(us["mlp"], -0.05 * 1.2, rtol=1e-6)
    np.testing.assert_allclose(us["bias"], -0.1 * 1.1, rtol=1e-6)
    numbers = oxe.hyperparameters(state)
    np.testing.assert_allclose(numbers["inputs x2, outputs x2/learning_rate"], 0.05)
    np.testing.assert_allclose(numbers["inputs x2, outputs x2/weight_decay"], 0.2)
    assert "inputs x2  " in oxe.describe_groups(tx, params)


def test_vmap_over_the_learning_rate():
    params, base = ones(shapes(16)), shapes(8)

    def first(rate):
        tx = oxe.sgd(oxe.mup(params, base, layout=layout, learning_rate=rate)[0])
        return tx.update(params, tx.init(params), params)[0]

    us = jax.jit(jax.vmap(first))(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(us["mlp"][:, 0, 0, 0], [-0.05, -0.1], rtol=1e-6)


# ---- What it refuses -----------------------------------------------------------------

W = {"w": np.ones((4, 4))}
MAP = oxe.MatrixAxes(inputs=1, outputs=2, batch=0)
REFUSED = {
    "a leaf is missing in the base": (
        ({**W, "b": np.ones(4)}, W, "in_out"),
        "`base` must have the leaf 'b' of `params`, got ['w'].",
    ),
    "a leaf is missing in the params": (
        (W, {**W, "b": np.ones(4)}, "in_out"),
        "`params` must have the leaf 'b' of `base`, got ['w'].",
    ),
    "another number of axes": (
        (W, {"w": np.ones(4)}, "in_out"),
        "`base` must have as many axes as `params` at 'w', none of size 0, got ",
    ),
    "an empty base": (
        ({"b": np.ones(4)}, {"b": np.ones(0)}, "in_out"),
        "`base` must have as many axes as `params` at 'b', none of size 0, got ",
    ),
    "it grows along a batch axis": (
        ({"w": np.ones((6, 4, 4))}, {"w": np.ones((3, 2, 2))}, lambda *_: MAP),
        "`params` must not grow along a batch axis at 'w', got "
        "'(6, 4, 4) for a base of (3, 2, 2)'.",
    ),
    "it grows along two axes and is not a matrix": (
        (W, {"w": np.ones((2, 2))}, lambda *_: None),
        "`params` must grow along one axis at 'w', which is not a matrix of the "
        "layout, got '(4, 4) for a base of (2, 2)'.",
    ),
    "three axes and a word": (
        ({"w": np.ones((3, 4, 4))}, {"w": np.ones((3, 2, 2))}, "in_out"),
        "`params`['w'] must be a matrix with layout='in_out', got 'float32[3, 4, 4]'.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    (params, base, given), text = REFUSED[case]
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        oxe.mup(params, base, layout=given, learning_rate=0.1)
    assert str(raised.value).startswith(f"mup: {text}")


def test_refuses_numbers_by_path_and_other_params():
    for name in ("learning_rate", "weight_decay"):
        right = f"^mup: `{name}` must not depend on the path, got by_path"
        with pytest.raises(TypeError, match=right):
            oxe.mup(W, W, layout="in_out", **{name: oxe.by_path({"w": 0.1})})
    rate, _ = oxe.mup(W, W, layout="in_out", learning_rate=0.1)
    with pytest.raises(
        ValueError, match=r"^mup: `params` must have the leaf 'other/w'"
    ):
        oxe.adamw(rate).init({"other": W})
