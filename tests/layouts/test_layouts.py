"""The readers of layouts, on models of Flax NNX and Linen, Haiku and Equinox."""

import re
from typing import Any

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_extras as oxe

KEY = jax.random.key(0)
ROW, IMAGE = jnp.ones((2, 4)), jnp.ones((1, 5, 5, 4))


def flat(w):
    return [w.reshape(-1, w.shape[-1])]


def outputs_last(axis, groups=1):
    """Of a kernel whose outputs are one axis: the matrix of each group."""

    def matrices(w):
        w = np.moveaxis(w, axis, -1)
        return np.split(w.reshape(-1, w.shape[-1]), groups, axis=1)

    return matrices


def rows(n):
    """The first n axes are inputs."""
    return lambda w: [w.reshape(np.prod(w.shape[:n]), -1)]


def each(matrices, axis=0):
    """The matrices of each layer of a stack."""
    return lambda w: [x for layer in np.moveaxis(w, axis, 0) for x in matrices(layer)]


# For each client: the params, the layout, and by path how NumPy makes matrices of a
# kernel. All other leaves are left to `others`.


def of_nnx():
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def stack(rngs):
        return nnx.MultiHeadAttention(3, 6, decode=False, rngs=rngs)

    class Model(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.linear = nnx.Linear(4, 6, rngs=rngs)
            axes = {"axis": (-2, -1), "rngs": rngs}
            self.general = nnx.LinearGeneral((2, 3), (4, 5), **axes)
            self.batched = nnx.LinearGeneral((2, 3), (4, 5), batch_axis={0: 7}, **axes)
            self.einsum = nnx.Einsum("...hd,hdm->...m", (2, 3, 5), rngs=rngs)
            self.by_head = nnx.Einsum("bhd,hdm->bhm", (2, 3, 5), rngs=rngs)
            self.conv = nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=rngs)
            self.depthwise = nnx.Conv(4, 4, 3, feature_group_count=4, rngs=rngs)
            self.up = nnx.ConvTranspose(4, 6, (3, 3), rngs=rngs)
            more = {"transpose_kernel": True, "rngs": rngs}
            self.transposed = nnx.ConvTranspose(4, 6, (3, 3), **more)
            self.lora = nnx.LoRALinear(4, 6, lora_rank=2, rngs=rngs)
            self.embed = nnx.Embed(7, 4, rngs=rngs)
            self.norms = nnx.List([nnx.LayerNorm(4, rngs=rngs), nnx.PReLU()])
            self.cell = nnx.OptimizedLSTMCell(4, 5, rngs=rngs)
            self.stack = stack(rngs)
            self.head = nnx.Linear(4, 3, rngs=rngs)

    model = nnx.eval_shape(Model)
    layout = oxe.layouts.nnx(model, others="head/.*")
    return nnx.state(model, nnx.Param), layout, {
        "linear/kernel": flat,
        "general/kernel": rows(2),
        "batched/kernel": each(rows(2)),
        "einsum/kernel": flat,
        "by_head/kernel": each(flat),
        "conv/kernel": outputs_last(3, 2),
        "up/kernel": flat,
        "transposed/kernel": outputs_last(2),
        "lora/kernel": flat,
        "cell/dense_i/kernel": flat,
        "cell/dense_h/kernel": flat,
        **{f"stack/{x}/kernel": each(rows(1)) for x in ("query", "key", "value")},
        "stack/out/kernel": each(flat),
    }  # fmt: skip


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(x[:, None])[:, 0]
        normal = nn.initializers.normal()
        x = nn.Dense(4, kernel_init=nn.with_partitioning(normal, (None, None)))(x)
        return nn.LayerNorm()(x), None


class Layers(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return scanned(1, "layers", "inner")(Block)(x, None)


def scanned(axis, name, inner):
    """Four layers, as many as heads and features: shapes do not tell the axis."""
    return lambda block: nn.scan(
        nn.remat(block), variable_axes={"params": axis}, split_rngs={"params": True},
        length=4, metadata_params={nn.PARTITION_NAME: name},
    )(name=inner)  # fmt: skip


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, image, train=False):
        x = x if train else x / 0  # the argument is a bool, not traced
        shared = nn.Dense(4, name="dense")
        x = shared(shared(x))
        nn.DenseGeneral((4, 5), axis=(-2, -1), name="general")(image)
        nn.DenseGeneral(3, axis=-1, batch_dims=0, name="batched")(x)
        nn.Einsum((4, 6), "bc,cd->bd", name="einsum")(x)
        nn.Conv(6, (3, 3), feature_group_count=2, name="conv")(image)
        nn.Conv(4, (3, 3), feature_group_count=4, name="depthwise")(image)
        nn.ConvTranspose(6, (3, 3), name="up")(image)
        nn.ConvTranspose(6, (3, 3), transpose_kernel=True, name="transposed")(image)
        nn.WeightNorm(nn.Dense(5, name="normed"), name="norm")(x)
        nn.RNN(nn.OptimizedLSTMCell(5, name="cell"))(x[None])
        nn.Embed(7, 4, name="embed")(jnp.zeros(2, int))
        lifted = {"variable_axes": {"params": 1}, "split_rngs": {"params": True}}
        heads = nn.vmap(nn.Dense, in_axes=None, out_axes=0, axis_size=4, **lifted)
        heads(6, name="heads")(x)
        x, _ = scanned(1, "layers", "stack")(Block)(x, None)
        x, _ = scanned(0, "outer", "nested")(Layers)(x, None)
        nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(3, name="head")(x)


def of_linen():
    model, shapes = Linen(), (ROW, jax.ShapeDtypeStruct(IMAGE.shape, IMAGE.dtype))
    layout = oxe.layouts.linen(model, *shapes, train=True, others="head/.*")
    params = jax.eval_shape(lambda: model.init(KEY, ROW, IMAGE, train=True))

    def attention(name, stack):
        kernels = dict.fromkeys(("query", "key", "value"), rows(1)) | {"out": flat}
        at = f"{name}/MultiHeadDotProductAttention_0"
        of_block = {f"{at}/{x}/kernel": stack(y) for x, y in kernels.items()}
        return of_block | {f"{name}/Dense_0/kernel": stack(flat)}

    kernels = {
        "dense/kernel": flat,
        "general/kernel": rows(2),
        "batched/kernel": each(flat),
        "einsum/kernel": flat,
        "conv/kernel": outputs_last(3, 2),
        "up/kernel": flat,
        "transposed/kernel": outputs_last(2),
        "normed/kernel": flat,
        **{f"cell/{x}{y}/kernel": flat for x in "ih" for y in "ifgo"},
        "heads/kernel": each(flat, 1),
        **attention("stack", lambda x: each(x, 1)),
        **attention("nested/inner", lambda x: each(each(x, 1))),
    }
    return params, layout, {f"params/{path}": x for path, x in kernels.items()}


def of_haiku():
    def function(x, image, is_training):
        layer = lambda x: hk.LayerNorm(-1, True, True)(hk.Linear(4)(x))  # noqa: E731
        x = hk.experimental.layer_stack(3)(layer)(x)
        attention = hk.MultiHeadAttention(2, 3, w_init=jnp.zeros, model_size=4)
        attention(x, x, x)
        hk.Conv2D(6, 3, feature_group_count=2)(image)
        hk.Conv2DTranspose(6, 3)(image)
        hk.DepthwiseConv2D(1, 3)(image)
        hk.Embed(5, 3)(jnp.zeros(2, int))
        hk.BatchNorm(True, True, 0.9)(x, is_training)
        hk.GRU(5)(x, jnp.zeros((2, 5)))
        return hk.nets.MLP([8, 3])(x)

    model = hk.transform_with_state(function)
    layout = oxe.layouts.haiku(model, ROW, IMAGE, True, others=["mlp/~/linear_1/w"])
    params = jax.eval_shape(lambda: model.init(KEY, ROW, IMAGE, True)[0])
    return params, layout, {
        "__layer_stack_no_per_layer/linear/w": each(flat),
        **{
            f"multi_head_attention/{x}/w": flat
            for x in ("query", "key", "value", "linear")
        },
        "conv2_d/w": outputs_last(3, 2),
        "conv2_d_transpose/w": outputs_last(2),
        "gru/w_i": outputs_last(1, 3),
        "gru/w_h": outputs_last(1, 3),
        "mlp/~/linear_0/w": flat,
    }  # fmt: skip


def equinox_modules():
    stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, key=key))
    return {
        "mlp": eqx.nn.MLP(4, 3, 8, 1, key=KEY),
        "scalar": eqx.nn.Linear("scalar", 3, key=KEY),
        "conv": eqx.nn.Conv2d(4, 6, 3, groups=2, key=KEY),
        "depthwise": eqx.nn.Conv1d(4, 4, 3, groups=4, key=KEY),
        "up": eqx.nn.ConvTranspose2d(4, 6, 3, groups=2, key=KEY),
        "attention": eqx.nn.MultiheadAttention(2, 4, key=KEY),
        "lstm": eqx.nn.LSTMCell(4, 5, key=KEY),
        "rest": [eqx.nn.Embedding(7, 4, key=KEY), eqx.nn.LayerNorm((4, 4))],
        "norm": eqx.nn.WeightNorm(eqx.nn.Linear(4, 5, key=KEY)),
        "stack": stack(jax.random.split(KEY, 3)),
    }


def of_equinox():
    model = eqx.filter_eval_shape(equinox_modules)
    names = ("query", "key", "value", "output")

    def is_last(path, leaf):
        return path.startswith("mlp/layers/1/") and leaf.ndim == 2

    layout = oxe.layouts.equinox(model, others=is_last)
    is_array = lambda x: isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
    return eqx.filter(model, is_array), layout, {
        "mlp/layers/0/weight": outputs_last(0),
        "scalar/weight": outputs_last(0),
        "conv/weight": outputs_last(0, 2),
        "up/weight": outputs_last(0, 2),
        **{f"attention/{x}_proj/weight": outputs_last(0) for x in names},
        "lstm/weight_ih": outputs_last(0, 4),
        "lstm/weight_hh": outputs_last(0, 4),
        "norm/layer/weight": outputs_last(0),
        "stack/weight": each(outputs_last(0)),
    }  # fmt: skip


CLIENTS = {x.__name__[3:]: x for x in (of_nnx, of_linen, of_haiku, of_equinox)}


def leaves_of(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(x, simple=True, separator="/") for x, _ in found]
    # The boxes of Flax.
    names = [x.removesuffix("/value") for x in names]
    return dict(zip(names, (np.asarray(x) for _, x in found), strict=True))


def wave(x):
    return np.cos(np.arange(x.size, dtype=np.float32) ** 1.5).reshape(x.shape)


def step_of(g):
    """Of a plain matrix: one iteration of (1.5, -0.5, 0), with the spectral scale."""
    x = g / np.linalg.norm(g)
    return -0.1 * max(g.shape) ** 0.5 * (1.5 * x - 0.5 * x @ x.T @ x)


def first_update(layout, grads):
    tx = oxe.scale_by_muon(layout=layout, ns_coefficients=[(1.5, -0.5, 0.0)])
    return jax.jit(lambda g: tx.update(g, tx.init(g))[0])(grads)


@pytest.mark.parametrize("client", CLIENTS)
def test_updates_are_those_of_plain_matrices(client):
    params, layout, kernels = CLIENTS[client]()
    left = {path for path, x in leaves_of(params).items() if layout(path, x) is None}
    assert left == leaves_of(params).keys() - kernels.keys()
    setting: Any = {"ns_coefficients": [(1.5, -0.5, 0.0)], "scale": "spectral"}
    tx = oxe.muon(0.1, layout=layout, others=optax.sgd(1.0), **setting)
    grads = jax.tree.map(wave, params)
    got = leaves_of(jax.jit(lambda g: tx.update(g, tx.init(g))[0])(grads))
    grads = leaves_of(grads)
    for path, matrices in kernels.items():
        for u, g in zip(matrices(got[path]), matrices(grads[path]), strict=True):
            np.testing.assert_allclose(u, step_of(g), 1e-4, 1e-6, err_msg=path)
    for path in left:
        np.testing.assert_array_equal(got[path], -grads[path])


def test_a_stack_is_a_loop_over_its_layers():
    stack = {"kernel": wave(np.ones((3, 4, 6)))}
    layout = oxe.layouts.nnx(stacked_along(0), others="bias")
    steps = first_update(layout, stack)["kernel"]
    expected = first_update("in_out", [*stack["kernel"]])
    np.testing.assert_allclose(steps, expected, 1e-3, 1e-5)


# Modules of six channels: how they are applied, and the shapes of their params.


def of_nnx_module(kind, **more):
    make = lambda: kind(4, 6, (3, 3), rngs=nnx.Rngs(0), **more)  # noqa: E731
    graph, params = nnx.split(nnx.eval_shape(make))
    return lambda params: nnx.merge(graph, params)(IMAGE), params


def of_linen_module(kind, **more):
    module = kind(6, (3, 3), **more)
    shapes = jax.eval_shape(module.init, KEY, IMAGE)
    return lambda params: module.apply(params, IMAGE), shapes


def of_haiku_module(kind, **more):
    model = hk.transform(lambda: kind(6, 3, **more)(IMAGE))
    return lambda params: model.apply(params, KEY), jax.eval_shape(model.init, KEY)


def of_equinox_module(kind, **more):
    module = eqx.filter_eval_shape(lambda: kind(4, 6, 3, key=KEY, **more))
    is_shape = lambda x: isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
    params, rest = eqx.partition(module, is_shape)

    def apply(params):
        y = eqx.combine(params, rest)(jnp.moveaxis(IMAGE[0], -1, 0))
        return jnp.moveaxis(y, 0, -1)

    return apply, params


GROUPED, TRANSPOSED = {"feature_group_count": 2}, {"transpose_kernel": True}
CONVOLUTIONS = [
    (of_nnx_module, nnx.Conv, GROUPED, outputs_last(3, 2)),
    (of_nnx_module, nnx.ConvTranspose, TRANSPOSED, outputs_last(2)),
    (of_linen_module, nn.Conv, GROUPED, outputs_last(3, 2)),
    (of_linen_module, nn.ConvTranspose, {}, flat),
    (of_haiku_module, hk.Conv2D, GROUPED, outputs_last(3, 2)),
    (of_haiku_module, hk.Conv2DTranspose, {}, outputs_last(2)),
    (of_equinox_module, eqx.nn.Conv2d, {"groups": 2}, outputs_last(0, 2)),
    (of_equinox_module, eqx.nn.ConvTranspose2d, {"groups": 2}, outputs_last(0, 2)),
]


@pytest.mark.parametrize(
    "case", CONVOLUTIONS, ids=lambda x: f"{x[0].__name__[3:-7]}-{x[1].__name__}"
)
def test_a_channel_depends_on_its_column_only(case):
    """The matrices of the test above are those of the modules."""
    prepare, kind, more, matrices = case
    apply, shapes = prepare(kind, **more)
    by_channel = jax.jit(jax.jacobian(lambda p: apply(p).reshape(-1, 6).sum(0)))
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    kernel = next(x for x in leaves_of(by_channel(params)).values() if x.ndim == 5)
    for channel, of_kernel in enumerate(kernel):
        columns = np.concatenate(matrices(of_kernel), axis=1)
        assert columns.shape[1] == 6
        assert [*np.flatnonzero(columns.any(0))] == [channel]


def test_nnx_optimizer():
    @nnx.split_rngs(splits=2)
    @nnx.vmap
    def stack(rngs):
        return nnx.Linear(4, 4, rngs=rngs)

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.layers, self.head = stack(rngs), nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            for i in range(2):
                x = jnp.tanh(x @ self.layers.kernel[i] + self.layers.bias[i])
            return self.head(x)

    model = Model(nnx.Rngs(0))
    layout = oxe.layouts.nnx(model, others="head/.*")
    tx = oxe.muon(0.05, layout=layout, others=optax.sgd(0.1))
    optimizer, x = nnx.Optimizer(model, tx, wrt=nnx.Param), wave(jnp.ones((8, 4)))

    @nnx.jit
    def step(model, optimizer):
        loss = lambda m: jnp.mean((m(x) - x[:, :2]) ** 2)  # noqa: E731
        value, grads = nnx.value_and_grad(loss)(model)
        optimizer.update(model, grads)
        return value

    losses = [float(step(model, optimizer)) for _ in range(20)]
    assert losses[-1] < 0.2 * losses[0]


def stacked_along(axis):
    make = nnx.vmap(lambda rngs: nnx.Linear(4, 6, rngs=rngs), in_axes=0, out_axes=axis)
    return make(nnx.Rngs(0).split(3))


def test_nnx_stack_axis():
    for axis in (1, np.int64(1)):
        layout = oxe.layouts.nnx(stacked_along(1), stack_axis=axis)  # pyright: ignore
        assert layout("kernel", None) == oxe.MatrixAxes((0,), (2,), (1,))
    with pytest.raises(ValueError, match="of a module that says another shape"):
        oxe.layouts.nnx(stacked_along(1))
    shapes = nnx.eval_shape(lambda: stacked_along(0))
    assert oxe.layouts.nnx(shapes)("kernel", None) == oxe.MatrixAxes((1,), (2,), (0,))


class Own(nnx.Module):
    def __init__(self):
        self.w, self.scale = nnx.Param(jnp.ones((2, 3, 4))), nnx.Param(jnp.ones(3))
        self.linear = nnx.Linear(4, 6, rngs=nnx.Rngs(0))


class Extended(nn.Dense):
    @nn.compact
    def __call__(self, x):
        gate = self.param("gate", nn.initializers.ones, (4, 4))
        return super().__call__(x) * (x @ gate).sum()


def haiku_own(x):
    return x @ hk.get_parameter("w", (4, 4), init=jnp.ones)


def haiku_twice(x):
    """Modules of two kinds, of one name in two stacks."""
    first = lambda x: hk.Linear(4, name="same")(x)  # noqa: E731
    second = lambda x: x + hk.Embed(5, 4, name="same")(jnp.zeros(2, int))  # noqa: E731
    for name, layer in (("first", first), ("second", second)):
        x = hk.experimental.layer_stack(2, name=name)(layer)(x)
    return x


class OwnEquinox(eqx.Module):
    w: jax.Array


class Traced(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Einsum((4, 6))(x, "bc,cd->bd")


UNKNOWN = {
    "nnx": (lambda **more: oxe.layouts.nnx(Own(), **more), "w"),
    "linen": (lambda **more: oxe.layouts.linen(Extended(4), ROW, **more), "gate"),
    "linen einsum": (
        lambda **more: oxe.layouts.linen(Traced(), ROW, **more),
        "Einsum_0/kernel",
    ),
    "haiku": (
        lambda **more: oxe.layouts.haiku(hk.transform(haiku_own), ROW, **more),
        "~/w",
    ),
    "haiku twice": (
        lambda **more: oxe.layouts.haiku(hk.transform(haiku_twice), ROW, **more),
        "first/same/w",
    ),
    "equinox": (
        lambda **more: oxe.layouts.equinox(OwnEquinox(jnp.ones((3, 4))), **more),
        "w",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_known_is_refused(case):
    """The message names the param, and says what to write."""
    make, path = UNKNOWN[case]
    right = f"^{case.split()[0]}: `model` must .* got .*'{path}': 'float32.* of .*"
    right += rf"Say what each is: `matrices={{'{path}': .*` or `others='{path}'`\.$"
    with pytest.raises(ValueError, match=right):
        make()
    if case != "haiku twice":
        assert make(others=path)(path, None) is None
    axes = oxe.MatrixAxes(-2, -1, 0)
    if case != "haiku twice":
        assert make(matrices={path: axes})(path, None) == axes


def test_selectors():
    def make(**more):
        return oxe.layouts.nnx(Own(), matrices={"w": axes}, **more)

    axes = oxe.MatrixAxes(1, 2, 0)
    for others in ("linear/kernel", ["scale", "lin.*"], lambda path, x: x.ndim == 2):
        layout = make(others=others)
        assert layout("linear/kernel", None) is None
        assert layout("w", None) == axes
    said = "must match the whole path of a param, got 'linear'. The paths are linear/"
    with pytest.raises(ValueError, match=f"^nnx: `others` {re.escape(said)}"):
        make(others="linear")
    with pytest.raises(
        ValueError, match=r"^nnx: `others` must be a regular expression"
    ):
        make(others="(")
    with pytest.raises(ValueError, match=r"^nnx: `matrices` must match"):
        oxe.layouts.nnx(Own(), matrices={"v": axes})
    with pytest.raises(TypeError, match=r"^nnx: `matrices`\['w'\] must be an oxe"):
        oxe.layouts.nnx(Own(), matrices={"w": None})  # pyright: ignore
    with pytest.raises(ValueError, match=r"^nnx: `path` must be of a param"):
        make()("v", None)


def test_the_first_expression_that_matches_wins():
    one, other = oxe.MatrixAxes(1, 2, 0), oxe.MatrixAxes(2, 1, 0)
    layout = oxe.layouts.nnx(Own(), matrices={"w": one, "w|x": other})
    assert layout("w", None) == one


def test_shared_modules():
    """Each param once, at its first path, as in the state."""
    linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    layout = oxe.layouts.nnx(nnx.Sequential(linear, linear))
    assert layout("layers/0/kernel", None) == oxe.MatrixAxes((0,), (1,))


def test_nnx_stacks_by_the_name_of_their_axis():
    """Four layers of width four: the shape does not say which axis is which."""
    init = nnx.with_partitioning(nnx.initializers.lecun_normal(), ("in", "out"))

    @nnx.split_rngs(splits=4)
    @nnx.vmap(out_axes=1, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def make(rngs):
        return nnx.Linear(4, 4, kernel_init=init, rngs=rngs)

    with nnx.use_eager_sharding(False):
        model = make(nnx.Rngs(0))
    for axis in (1, "layers"):
        layout = oxe.layouts.nnx(model, stack_axis=axis)
        assert layout("kernel", None) == oxe.MatrixAxes((0,), (2,), (1,))
    with pytest.raises(TypeError, match=r"^nnx: `stack_axis` must be an axis, or its"):
        oxe.layouts.nnx(model, stack_axis="layer")


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_linen_stacks_along_any_axis(axis):
    """Three layers along an axis of each of four modules."""
    more = {"split_rngs": {"params": True}}

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(4, name="dense")(x), None

    layers = nn.scan(Layer, variable_axes={"params": axis}, length=3, **more)
    copies = {"variable_axes": {"params": 0}, "in_axes": None, "axis_size": 4}
    layout = oxe.layouts.linen(nn.vmap(layers, **copies, **more)(), ROW, None)
    stack = range(1, 4)[axis]
    inputs, outputs = (i for i in (1, 2, 3) if i != stack)
    expected = oxe.MatrixAxes((inputs,), (outputs,), (0, stack))
    assert layout("dense/kernel", None) == expected


def test_linen_modules_that_read_params_of_others():
    """Their types cannot be found: every matrix has to be given."""

    class Tied(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(4)
            return dense(x) @ dense.variables["params"]["kernel"].T

    class Mapped(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(4)
            y, params = dense(x), dense.variables["params"]
            masks = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}
            return y + jax.tree.map(jnp.multiply, params, masks)["bias"]

    x = jnp.ones((2, 4))
    for model in (Tied(), Mapped()):
        said = f"of {type(model).__name__}, whose code reads params of a submodule"
        with pytest.raises(ValueError, match=f"^linen: `model` must have .* {said}"):
            oxe.layouts.linen(model, x)
    layout = oxe.layouts.linen(Tied(), x, matrices={".*kernel": oxe.MatrixAxes(0, 1)})
    assert layout("Dense_0/kernel", None) == oxe.MatrixAxes(0, 1)


@pytest.mark.parametrize("reader", ["linen", "haiku"])
def test_inputs_by_name(reader):
    """They may be shapes, as the others."""

    class Masked(nn.Module):
        @nn.compact
        def __call__(self, x, *, mask, train):
            return nn.Dense(3, name="linear")(x * mask if train else x)

    def function(x, *, mask, train):
        return hk.Linear(3)(x * mask if train else x)

    model = Masked() if reader == "linen" else hk.transform(function)
    inputs = {"mask": jax.ShapeDtypeStruct((4,), jnp.float32), "train": np.bool_(True)}
    layout = getattr(oxe.layouts, reader)(model, ROW, **inputs)
    kernel = "linear/kernel" if reader == "linen" else "linear/w"
    assert layout(kernel, None) == oxe.MatrixAxes((0,), (1,))
