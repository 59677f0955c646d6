"""Layer-wise decay: timm's multiples, scanned layers, composition, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

LAYERS = 5
# The "lr_scale" of each layer, from `param_groups_layer_decay` of timm 1.0.31 for a
# module with the names and the `group_matcher` of its vision transformer and 5 blocks.
# timm cannot be imported without torchvision: its two files were loaded alone.
TIMM = {
    (0.75, 0.0): [0.177978515625, 0.2373046875, 0.31640625, 0.421875, 0.5625, 0.75, 1],
    (0.65, 0.25): [0.25, 0.25, 0.25, 0.274625, 0.42250000000000004, 0.65, 1.0],
}
PARAMS = {
    "pos_embed": jnp.ones((3, 4)),
    "patch_embed": {"kernel": jnp.ones((2, 4)), "bias": jnp.ones(4)},
    **{
        f"block_{i}": {"kernel": jnp.full((4, 4), i + 1.0), "scale": jnp.ones(4)}
        for i in range(LAYERS)
    },
    "head": {"kernel": jnp.ones((4, 2))},
}


def depth_of(path, leaf):
    first = path.split("/")[0]
    if first.startswith("block_"):
        return int(first.removeprefix("block_")) + 1
    return {"pos_embed": 0, "patch_embed": 0, "head": LAYERS + 1}[first]


def rates(rate, params=PARAMS):
    """The learning rate of each leaf: its update for a gradient of ones."""
    tx = oxe.scale_by_rate(rate, flip_sign=False)
    ones = jax.tree.map(np.ones_like, params)
    return jax.jit(lambda x: tx.update(x, tx.init(x))[0])(ones)


@pytest.mark.parametrize(("decay", "min_scale"), TIMM)
def test_the_numbers_of_timm(decay, min_scale):
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: np.ones(x.shape), PARAMS)
        rate = oxe.layerwise(decay, depth_of, LAYERS, min_scale=min_scale)
        got = jax.tree_util.tree_flatten_with_path(rates(rate, params))[0]
        for path, leaf in got:
            path = jax.tree_util.keystr(path, simple=True, separator="/")
            expected = TIMM[decay, min_scale][depth_of(path, leaf)]
            np.testing.assert_array_equal(leaf, expected)


def wave(shape, step):
    size = int(np.prod(shape))
    return np.float32(np.cos(np.arange(size) ** 1.5 + step).reshape(shape))


def walk(rate, params, gradient):
    """Ten steps of AdamW, compiled."""
    tx = oxe.adamw(rate, weight_decay=0.1)
    state, update = jax.jit(tx.init)(params), jax.jit(tx.update)
    for step in range(10):
        u, state = update(gradient(step), state, params)
        params = jax.tree.map(np.add, params, u)
    return params


def test_scanned_layers_equal_separate_layers_to_the_bit():
    schedule = oxe.schedules.cosine(1e-2, 10)

    def gradients(step):
        kernels, scales = wave((LAYERS, 4, 3), step), wave((LAYERS, 3), step)
        return {"head": wave((3, 2), step)}, {"kernel": kernels, "scale": scales}

    def separate(step):
        head, blocks = gradients(step)
        rows = [jax.tree.map(lambda x, i=i: x[i], blocks) for i in range(LAYERS)]
        return head | {f"block_{i}": row for i, row in enumerate(rows)}

    def scanned(step):
        head, blocks = gradients(step)
        return head | {"blocks": blocks}

    def depth_of_scanned(path, leaf):
        return LAYERS + 1 if path == "head" else range(1, LAYERS + 1)

    one, many = (
        walk(oxe.layerwise(0.65, d, LAYERS, times=schedule), gradient(-1), gradient)
        for d, gradient in ((depth_of_scanned, scanned), (depth_of, separate))
    )
    np.testing.assert_array_equal(one["head"], many["head"])
    for i in range(LAYERS):
        for name, leaf in one["blocks"].items():
            np.testing.assert_array_equal(leaf[i], many[f"block_{i}"][name])


def test_several_stacks():
    """Every other layer, and numbers given as a NumPy array."""
    params = {"even": jnp.ones((2, 3)), "odd": jnp.ones(2), "head": jnp.ones(2)}
    ids = {"even": (2, 4), "odd": np.array([1, 3]), "head": 5}
    stacks = [range(1, 5, 2), range(2, 5, 2)]
    rate = oxe.layerwise(0.5, lambda path, _: ids[path], 4, stacks=stacks)
    got = rates(rate, params)
    np.testing.assert_array_equal(got["even"], [[0.125] * 3, [0.5] * 3])
    np.testing.assert_array_equal(got["odd"], [0.0625, 0.25])
    np.testing.assert_array_equal(got["head"], [1.0, 1.0])
    names = {"layers [1, 3]/learning_rate", "layers [2, 4]/learning_rate"}
    assert names <= {*oxe.hyperparameters(oxe.adam(rate).init(params))}


def test_as_the_default_of_groups():
    """`depth` is not asked for params that other groups select."""
    params = PARAMS | {"stem": jnp.ones(3)}  # depth_of would raise
    schedule = oxe.schedules.linear(0.1, 10, 0.2)
    multiples = oxe.layerwise(0.75, depth_of, LAYERS)
    groups = {"head/.*": 10.0, "stem": oxe.FROZEN}
    rate = oxe.by_path(groups, default=multiples, times=schedule)
    tx = oxe.scheduled(oxe.adamw)(rate, b1=oxe.schedules.linear(0.5, 10, 0.9))
    ones = jax.tree.map(np.ones_like, params)
    us, state = jax.jit(tx.update)(ones, jax.jit(tx.init)(params), params)
    np.testing.assert_array_equal(us["stem"], 0.0)
    # Adam's first step is the sign of the gradient; AdamW of Optax decays by 1e-4.
    expected = {"pos_embed": 0.75**6, "block_2": 0.75**3, "head": 10.0}
    for name, multiple in expected.items():
        for u, w in zip(*map(jax.tree.leaves, (us[name], params[name])), strict=True):
            np.testing.assert_allclose(u, -0.1 * multiple * (1 + 1e-4 * w), rtol=1e-6)
    numbers = oxe.hyperparameters(state)
    assert numbers["times/learning_rate"] == np.float32(0.1)
    np.testing.assert_allclose(numbers["layer 5/learning_rate"], 0.075, rtol=1e-6)


def test_vmap_and_grad_over_the_decay_in_a_scan():
    params = {"blocks": jnp.ones((2, 3)), "block_0": jnp.ones(3), "head": jnp.ones(3)}

    def depth(path, leaf):
        return range(1, 3) if path == "blocks" else {"block_0": 1, "head": 3}[path]

    def last(decay):
        tx = oxe.sgd(oxe.layerwise(decay, depth, 2, times=0.1))

        def step(carry, _):
            params, state = carry
            us, state = tx.update(params, state, params)
            return (optax.apply_updates(params, us), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=3)[0][0]

    decays = np.array([0.5, 0.9], np.float32)
    got = jax.jit(jax.vmap(last))(decays)
    for i, d in enumerate(decays.astype(float)):  # w <- (1 - rate) w, three times
        first, second = (1 - 0.1 * d**2) ** 3, (1 - 0.1 * d) ** 3
        np.testing.assert_allclose(got["block_0"][i], first, rtol=1e-6)
        np.testing.assert_allclose(got["blocks"][i][:, 0], [first, second], rtol=1e-6)
        np.testing.assert_allclose(got["head"][i], 0.9**3, rtol=1e-6)
    grad = jax.jit(jax.grad(lambda d: last(d)["block_0"][0]))(0.5)
    np.testing.assert_allclose(grad, -3 * 0.975**2 * 0.1, rtol=1e-5)


BAD = {
    "None": (None, TypeError, "return integers from 0 to 4 for 'w', got None"),
    "a float": (1.0, TypeError, "return integers from 0 to 4 for 'w', got 1.0"),
    "a bool": (True, TypeError, "return integers from 0 to 4 for 'w', got True"),
    "a string": ("1", TypeError, "return integers from 0 to 4 for 'w', got '1'"),
    "too large": (5, ValueError, "return integers from 0 to 4 for 'w', got 5."),
    "negative": (-1, ValueError, "return integers from 0 to 4 for 'w', got -1."),
    "one too large": ([1, 2, 5], ValueError, "return integers from 0 to 4 for 'w'"),
    "no stack": ([1, 3], ValueError, "return a layer or one of `stacks` for 'w'"),
    "empty": ([], ValueError, "return a layer or one of `stacks` for 'w', got []."),
}


@pytest.mark.parametrize("case", BAD)
def test_what_depth_must_not_return(case):
    returned, error, text = BAD[case]
    tx = oxe.adamw(oxe.layerwise(0.5, lambda path, leaf: returned, 3))
    with pytest.raises(error) as raised:
        tx.init({"w": jnp.ones(2)})
    assert str(raised.value).startswith(f"layerwise: `depth` must {text}")


def test_a_vector_has_the_length_of_the_first_axis():
    tx = oxe.adamw(oxe.layerwise(0.5, lambda path, leaf: range(1, 4), 3))
    for shape in ((2, 3), ()):
        right = r"^adamw: `learning_rate`\[layers 1 to 3\] must .* 'w' along its first"
        with pytest.raises(ValueError, match=right):
            tx.init({"w": jnp.ones(shape)})


def test_stacks_are_sequences_of_layers():
    for stacks, error, text in (
        ([range(1, 5)], ValueError, r"`stacks`\[0\] must hold integers from 0 to 3"),
        ([[1], [1.0]], TypeError, r"`stacks`\[1\] must hold integers from 0 to 3"),
        ([1, 2], TypeError, r"`stacks`\[0\] must be a sequence"),
    ):
        with pytest.raises(error, match=f"^layerwise: {text}, got "):
            oxe.layerwise(0.5, depth_of, 2, stacks=stacks)
