"""Whether an optimizer is the same in stacks: what is noticed, and what is let pass."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe


def by_dimension(tree):
    return jax.tree.map(lambda x: x.ndim > 1, tree)


def of_norms(together):
    """Divides by what the norms of the leaves make together."""

    def update(grads, params):
        norms = jnp.stack([jnp.linalg.norm(x.ravel()) for x in jax.tree.leaves(grads)])
        return jax.tree.map(lambda x: x / together(norms), grads)

    return optax.stateless(update)


def before_a_line_search(tx):
    return optax.chain(tx, optax.scale_by_backtracking_linesearch(3))


NOT_ELEMENTWISE = {
    "lars": lambda: optax.lars(0.1),
    "lamb": lambda: optax.lamb(0.1),
    "lamb behind a clip": lambda: optax.chain(
        optax.clip_by_global_norm(1.0), optax.lamb(0.1)
    ),
    "novograd": lambda: optax.novograd(0.1),
    "fromage": lambda: optax.fromage(0.1),
    "sm3": lambda: optax.sm3(0.1),
    "optax.adafactor": lambda: optax.adafactor(0.1),
    "adafactor": lambda: oxe.adafactor(0.1),
    "muon": lambda: oxe.muon(0.1),
    "centralize": optax.centralize,
    "adaptive clip": lambda: optax.adaptive_grad_clip(0.1),
    "block clip": lambda: optax.clip_by_block_rms(1.0),
    "swats per leaf": lambda: oxe.swats(0.1, per_leaf=True),
    "flatten": lambda: optax.flatten(optax.adam(0.1)),
    "state in few bits": lambda: oxe.low_precision_state(optax.adam(0.1)),
    "size": lambda: optax.stateless_with_tree_map(lambda g, p: g / g.size),
    "decay of matrices": lambda: optax.stateless_with_tree_map(
        lambda g, p: g + 0.1 * p if p.ndim > 1 else g
    ),
    "mean of leaves": lambda: optax.stateless(
        lambda g, p: jax.tree.map(lambda x: x / len(jax.tree.leaves(g)), g)
    ),
    "noise": lambda: optax.add_noise(0.1, 0.5, 0),
    "places": lambda: optax.stateless_with_tree_map(
        lambda g, p: g * jax.lax.broadcasted_iota(g.dtype, g.shape, 0)
    ),
    "masked": lambda: optax.masked(optax.sgd(0.1), {"a": True}),
    "mask of a tree": lambda: optax.adamw(0.1, mask={"a": True}),
    "mask of a function": lambda: optax.adamw(0.1, mask=by_dimension),
    "our mask": lambda: oxe.nadam(0.1, weight_decay=0.1, mask=by_dimension),
    "partition": lambda: optax.partition(
        {"all": optax.sgd(0.1)}, lambda tree: jax.tree.map(lambda x: "all", tree)
    ),
    "cumulative": lambda: optax.stateless_with_tree_map(lambda g, p: jnp.cumsum(g, 0)),
    "a loop": lambda: optax.stateless_with_tree_map(
        lambda g, p: jax.lax.fori_loop(0, 2, lambda i, x: x - x.mean(), g)
    ),
    "a branch": lambda: optax.stateless_with_tree_map(
        lambda g, p: jax.lax.cond(g.sum() > 0, lambda: g, lambda: -g)
    ),
    "the greatest norm": lambda: of_norms(jnp.max),
    "the sum of norms": lambda: of_norms(jnp.sum),
    "the greatest sum": lambda: optax.stateless(
        lambda g, p: jax.tree.map(
            lambda x: x / jnp.max(jnp.stack([jnp.sum(y) for y in jax.tree.leaves(g)])),
            g,
        )
    ),
    "lamb before a line search": lambda: before_a_line_search(optax.lamb(1.0)),
    "block clip before a line search": lambda: before_a_line_search(
        optax.clip_by_block_rms(1.0)
    ),
    "scalars": lambda: optax.stateless_with_tree_map(
        lambda g, p: 2 * g if g.ndim == 0 else g
    ),
    "three axes": lambda: optax.stateless_with_tree_map(
        lambda g, p: 2 * g if g.ndim == 3 else g
    ),
    "a size in a broadcast": lambda: optax.stateless_with_tree_map(
        lambda g, p: g * jnp.full(g.shape, float(g.size))
    ),
    "the leaf beside": lambda: optax.stateless(
        lambda g, p: jax.tree.map(lambda x: x + jax.tree.leaves(g)[0].mean(), g)
    ),
}


# What is 1 for leaves of a kind and not for others, at once or after a while.
FACTORS = {
    "matrices frozen": lambda g: 1.0 if g.ndim < 2 else jnp.zeros_like(g),
    "biases twice as fast": lambda g: 2.0 if g.ndim < 2 else 1.0,
    "powers": lambda g: g**g.ndim,
    "a window": lambda g: np.arange(g.size, dtype="f").reshape(g.shape),
    "biases rounded": lambda g: g.astype(jnp.bfloat16) if g.ndim < 2 else g,
}
# What of a leaf, summed over all leaves, depends on which there are.
OF_LEAVES = {
    "products": jnp.prod,
    "places of the greatest": lambda g: 1.0 * jnp.argmax(g),
    "squared sums": lambda g: jnp.sum(g) ** 2,
    "cut off": lambda g: jnp.sum(g).astype(jnp.int32),
    "from the other end": lambda g: jnp.vdot(g, jnp.flip(g)),
}
FIRST_STATES = {
    "1 / size": lambda p: jnp.full_like(p, 1 / p.size),
    "norms": lambda p: jnp.full_like(p, jnp.linalg.norm(p.ravel())),
    "at random": lambda p: jax.random.normal(jax.random.key(0), p.shape),
}


def scaled_by_trust():
    return optax.chain(optax.scale_by_trust_ratio(), optax.scale(-0.1))


def after_a_while(g, count):
    return g / jnp.where(count < 100, 1.0, jnp.max(jnp.abs(g)))


def by_chance(grads, params):
    leaves, treedef = jax.tree.flatten(grads)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return treedef.unflatten([x * jax.random.normal(key) for x, key in pairs])


def in_order(grads, params):
    vector, unravel = jax.flatten_util.ravel_pytree(grads)
    return unravel(vector @ np.linspace(-1, 1, vector.size) * vector)


def times_the_state(init):
    def update(grads, state, params=None):
        return jax.tree.map(jnp.multiply, grads, state), state

    return optax.GradientTransformation(partial(jax.tree.map, init), update)


NOT_ELEMENTWISE |= {
    **{
        name: partial(
            optax.stateless_with_tree_map, lambda g, p, factor=factor: g * factor(g)
        )
        for name, factor in FACTORS.items()
    },
    **{
        name: partial(
            optax.stateless,
            lambda grads, params, of=of: jax.tree.map(
                lambda x: x * sum(map(of, jax.tree.leaves(grads))), grads
            ),
        )
        for name, of in OF_LEAVES.items()
    },
    **{
        f"a state of {name}": partial(times_the_state, init)
        for name, init in FIRST_STATES.items()
    },
    "after a while": lambda: optax.GradientTransformation(
        lambda params: jnp.zeros((), jnp.int32),
        lambda g, s, p=None: (
            jax.tree.map(partial(after_a_while, count=s), g),
            s + 1,
        ),
    ),
    "a number by chance for each leaf": lambda: optax.stateless(by_chance),
    "the order of the leaves": lambda: optax.stateless(in_order),
    "a second phase": lambda: oxe.switch(
        optax.sgd(0.1), scaled_by_trust(), oxe.at_step(1)
    ),
    "a second phase of a second": lambda: oxe.switch(
        optax.sgd(0.1),
        oxe.switch(scaled_by_trust(), optax.sgd(0.1), oxe.at_step(3)),
        oxe.at_step(2),
    ),
    "every third step": lambda: optax.conditionally_transform(
        scaled_by_trust(), lambda step, **extra: step % 3 == 1
    ),
    "for a while": lambda: optax.conditionally_transform(
        scaled_by_trust(), lambda step, **extra: (step >= 3) & (step < 1000)
    ),
    "where all is finite": lambda: optax.apply_if_finite(scaled_by_trust(), 3),
    "a rate of its own": lambda: optax.contrib.mechanize(scaled_by_trust()),
    "clip of large ones": lambda: optax.clip_by_block_rms(1e4),
    "clip of small ones": lambda: optax.clip_by_block_rms(1e-5),
}


@pytest.mark.parametrize("make", NOT_ELEMENTWISE.values(), ids=NOT_ELEMENTWISE)
def test_what_is_not_elementwise_is_refused(make):
    with pytest.raises(
        ValueError, match=r"^check_elementwise: `tx` must be elementwise, got "
    ):
        oxe.lab.check_elementwise(make())


def by_value(grads, state, params=None, *, value):
    return jax.tree.map(lambda x: x * value, grads), state


def all_or_nothing(grads, params):
    finite = [~jnp.any(~jnp.isfinite(x)) for x in jax.tree.leaves(grads)]
    return jax.tree.map(lambda x: x * jnp.all(jnp.stack(finite)), grads)


ELEMENTWISE = {
    "a loop": lambda: optax.stateless_with_tree_map(
        lambda g, p: jax.lax.fori_loop(0, 2, lambda i, x: jnp.tanh(x), g)
    ),
    "another shape": lambda: optax.stateless_with_tree_map(
        lambda g, p: jax.vmap(jnp.tanh)(g.ravel()).reshape(g.shape)
    ),
    "a callback": lambda: optax.stateless_with_tree_map(
        lambda g, p: jax.pure_callback(lambda x: x, g, g)
    ),
    "a norm of norms": lambda: of_norms(jnp.linalg.norm),
    "all or nothing": lambda: optax.stateless(all_or_nothing),
    "sam": lambda: optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
    "zoom line search": lambda: optax.chain(
        optax.sgd(1.0), optax.scale_by_zoom_linesearch(3)
    ),
    "a metric and no more": lambda: optax.GradientTransformationExtraArgs(
        optax.init_empty_state, by_value
    ),
    "prodigy": lambda: optax.contrib.prodigy(0.1),
    "schedule free": lambda: optax.contrib.schedule_free_adamw(0.1),
    "half precision": lambda: optax.adam(0.1, mu_dtype=jnp.bfloat16),
}


@pytest.mark.parametrize("make", ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_what_is_elementwise_is_taken(make):
    oxe.lab.check_elementwise(make())


def test_traced_numbers_are_tried_as_others():
    def made(rate, make=optax.adam):
        oxe.lab.check_elementwise(make(rate))
        return rate

    for transform in (jax.jit, jax.grad, lambda f: jax.jit(jax.vmap(f))):
        given = jnp.ones(2) if transform not in (jax.jit, jax.grad) else 1.0
        transform(made)(given)
        with pytest.raises(ValueError, match="`tx` must be elementwise"):
            transform(partial(made, make=optax.lamb))(given)
    # These are not to be had: it is taken as it is.
    jax.vmap(made)(jnp.ones(2))


def test_what_cannot_be_tried_is_refused():
    def update(updates, state, params=None, *, hint, **extra):
        return jax.tree.map(lambda g: hint * g, updates), state

    tx = optax.GradientTransformationExtraArgs(lambda params: (), update)
    with pytest.raises(ValueError, match=r"cannot be tried on a small tree .*'hint'"):
        oxe.lab.check_elementwise(tx)
    with pytest.raises(ValueError, match=r"tried in `jax.shard_map` only, .* i"):
        oxe.lab.check_elementwise(oxe.swats(0.1, axis_name="i"))

    def of_three_axes(g, p):
        return g.reshape(g.shape[:3]).reshape(g.shape)

    with pytest.raises(ValueError, match=r"got one that fails on stacks \("):
        oxe.lab.check_elementwise(optax.stateless_with_tree_map(of_three_axes))


@pytest.mark.parametrize(
    "mode",
    [
        lambda: jax.debug_nans(True),
        lambda: jax.debug_infs(True),
        lambda: jax.transfer_guard("disallow"),
        lambda: jax.numpy_rank_promotion("raise"),
        pytest.param(jax.disable_jit, marks=pytest.mark.full),
    ],
    ids=["debug_nans", "debug_infs", "transfer_guard", "rank_promotion", "disable_jit"],
)
def test_it_is_tried_apart_from_modes(mode):
    infinite = optax.stateless_with_tree_map(lambda g, p: 1 / jnp.abs(g - g))
    with mode():
        for tx in (optax.adam(0.1), infinite):
            oxe.lab.check_elementwise(tx)
