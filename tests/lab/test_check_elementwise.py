"""Which optimizers `check_elementwise` accepts, and which it refuses."""

import itertools
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.lab import _check_elementwise

FULL = pytest.mark.full
of_each = optax.stateless_with_tree_map
REFUSED = r"^check_elementwise: `tx` must be elementwise, got "


def by_dimension(tree):
    return jax.tree.map(lambda x: x.ndim > 1, tree)


def of_norms(together):
    """Divides by a function of the norms of all leaves."""

    def update(grads, params):
        norms = jnp.stack([jnp.linalg.norm(x.ravel()) for x in jax.tree.leaves(grads)])
        return jax.tree.map(lambda x: x / together(norms), grads)

    return optax.stateless(update)


def of_all_leaves(of):
    """Multiplies by a number that is a sum over the leaves."""

    def update(grads, params):
        total = sum(map(of, jax.tree.leaves(grads)))
        return jax.tree.map(lambda x: x * total, grads)

    return optax.stateless(update)


def by_leaf(where):
    """Divides by the largest entry of a leaf, in states in which `where` is true."""

    def update(grads, state, params=None):
        def one(g):
            return g / jnp.where(where(*state), jnp.max(jnp.abs(g)), 1.0)

        return jax.tree.map(one, grads), state

    def init(params):
        return jnp.zeros((), jnp.int32), (jnp.array(False), jnp.array(True), False)

    return optax.GradientTransformation(init, update)


def times_the_state(init):
    def update(grads, state, params=None):
        return jax.tree.map(jnp.multiply, grads, state), state

    return optax.GradientTransformation(partial(jax.tree.map, init), update)


def scaled_by_trust():
    return optax.chain(optax.scale_by_trust_ratio(), optax.scale(-0.1))


def before_a_line_search(tx):
    return optax.chain(tx, optax.scale_by_backtracking_linesearch(3))


def by_chance(grads, params):
    leaves, treedef = jax.tree.flatten(grads)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return treedef.unflatten([x * jax.random.normal(key) for x, key in pairs])


def in_order(grads, params):
    vector, unravel = jax.flatten_util.ravel_pytree(grads)
    return unravel(vector @ np.linspace(-1, 1, vector.size) * vector)


# Optimizers that are refused, with a part of the message. Of those that compile a
# program, the fast run has one for each way to differ and for each kind of state.
WITHOUT_A_PROGRAM = {
    "state in few bits": (
        lambda: oxe.low_precision_state(optax.adam(0.1)),
        "one whose state depends on the number or sizes of the leaves",
    ),
    "flatten": (
        lambda: optax.flatten(optax.adam(0.1)),
        "one whose state depends on the number or sizes of the leaves",
    ),
    "mask of a function": (
        lambda: optax.adamw(0.1, mask=by_dimension),
        "one with a mask or labels, which do not fit stacks",
    ),
    "mask of a tree": (
        lambda: optax.adamw(0.1, mask={"a": True}),
        r"one that cannot be tried on a small tree \(",
    ),
    "an axis of a mesh": (
        lambda: oxe.swats(0.1, axis_name="i"),
        r"one that can be tried in `jax.shard_map` only, if at all \(.* i",
    ),
    "another argument": (
        lambda: optax.GradientTransformationExtraArgs(
            optax.init_empty_state, lambda g, s, p=None, *, hint, **extra: (g, s)
        ),
        r"one that cannot be tried on a small tree \(.*'hint'",
    ),
}
SOME = {
    "at most three axes": (
        lambda: of_each(lambda g, p: g.reshape(g.shape[:3]).reshape(g.shape)),
        r"one that fails on stacks \(",
    ),
    "the leaf beside": (
        lambda: of_all_leaves(lambda g: g.ravel()[-1]),
        r"one whose updates of leaves of shape \(3,\) change in a stack\.$",
    ),
    "a state of 1 / size": (
        lambda: times_the_state(lambda p: jnp.full_like(p, 1 / p.size)),
        "one whose updates",
    ),
    "in one of eight states": (
        lambda: by_leaf(lambda count, truths: truths[0] & ~truths[1] & truths[2]),
        "one whose updates",
    ),
    "leaves that are not finite": (
        lambda: of_each(lambda g, p: g * jnp.all(jnp.isfinite(g))),
        "one whose updates",
    ),
}
OTHERS = {
    "lars": lambda: optax.lars(0.1),
    "lamb": lambda: optax.lamb(0.1),
    "lamb behind a clip": lambda: optax.chain(
        optax.clip_by_global_norm(1.0), optax.lamb(0.1)
    ),
    "novograd": lambda: optax.novograd(0.1),
    "fromage": lambda: optax.fromage(0.1),
    "sm3": lambda: optax.sm3(0.1),
    "adafactor": lambda: oxe.adafactor(0.1),
    "muon": lambda: oxe.muon(0.1, layout="in_out"),
    "swats per leaf": lambda: oxe.swats(0.1, per_leaf=True),
    "our mask": lambda: oxe.nadam(0.1, weight_decay=0.1, mask=by_dimension),
    "partition": lambda: optax.partition(
        {"all": optax.sgd(0.1)}, lambda tree: jax.tree.map(lambda x: "all", tree)
    ),
    "optax.adafactor": lambda: optax.adafactor(0.1),
    "centralize": optax.centralize,
    "adaptive clip": lambda: optax.adaptive_grad_clip(0.1),
    "block clip": lambda: optax.clip_by_block_rms(1.0),
    "noise": lambda: optax.add_noise(0.1, 0.5, 0),
    "places": lambda: of_each(
        lambda g, p: g * jax.lax.broadcasted_iota(g.dtype, g.shape, 0)
    ),
    "decay of matrices": lambda: of_each(lambda g, p: g + 0.1 * p if p.ndim > 1 else g),
    "cumulative": lambda: of_each(lambda g, p: jnp.cumsum(g, 0)),
    "a loop": lambda: of_each(
        lambda g, p: jax.lax.fori_loop(0, 2, lambda i, x: x - x.mean(), g)
    ),
    "a branch": lambda: of_each(
        lambda g, p: jax.lax.cond(g.sum() > 0, lambda: g, lambda: -g)
    ),
    "the greatest norm": lambda: of_norms(jnp.max),
    "the sum of norms": lambda: of_norms(jnp.sum),
    "lamb before a line search": lambda: before_a_line_search(optax.lamb(1.0)),
    "block clip before a line search": lambda: before_a_line_search(
        optax.clip_by_block_rms(1.0)
    ),
    "three axes": lambda: of_each(lambda g, p: 2 * g if g.ndim == 3 else g),
    "powers": lambda: of_each(lambda g, p: g * g**g.ndim),
    "a window": lambda: of_each(
        lambda g, p: g * np.arange(g.size, dtype="f").reshape(g.shape)
    ),
    "biases rounded": lambda: of_each(
        lambda g, p: g * g.astype(jnp.bfloat16) if g.ndim < 2 else g * g
    ),
    "mean of leaves": lambda: of_all_leaves(lambda g: 1.0),
    "products": lambda: of_all_leaves(jnp.prod),
    "places of the greatest": lambda: of_all_leaves(lambda g: 1.0 * jnp.argmax(g)),
    "squared sums": lambda: of_all_leaves(lambda g: jnp.sum(g) ** 2),
    "cut off": lambda: of_all_leaves(lambda g: jnp.sum(g).astype(jnp.int32)),
    "from the other end": lambda: of_all_leaves(lambda g: jnp.vdot(g, jnp.flip(g))),
    "a state of norms": lambda: times_the_state(
        lambda p: jnp.full_like(p, jnp.linalg.norm(p.ravel()))
    ),
    "a state at random": lambda: times_the_state(
        lambda p: jax.random.normal(jax.random.key(0), p.shape)
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
    "for a while": lambda: by_leaf(lambda count, truths: (count > 2) & (count < 1000)),
    "every third step": lambda: optax.conditionally_transform(
        scaled_by_trust(), lambda step, **extra: step % 3 == 1
    ),
    "where all is finite": lambda: optax.apply_if_finite(scaled_by_trust(), 3),
    "its own learning rate": lambda: optax.contrib.mechanize(scaled_by_trust()),
    "clip of large ones": lambda: optax.clip_by_block_rms(1e4),
    "clip of small ones": lambda: optax.clip_by_block_rms(1e-5),
}


def test_refused_without_a_program():
    for make, what in WITHOUT_A_PROGRAM.values():
        with pytest.raises(ValueError, match=REFUSED + what):
            oxe.lab.check_elementwise(make())


@pytest.mark.parametrize("name", SOME)
def test_refused(name):
    make, what = SOME[name]
    with pytest.raises(ValueError, match=REFUSED + what):
        oxe.lab.check_elementwise(make())


@FULL
@pytest.mark.parametrize("name", OTHERS)
def test_others_refused(name):
    with pytest.raises(ValueError, match=REFUSED):
        oxe.lab.check_elementwise(OTHERS[name]())


def all_or_nothing(grads, params):
    finite = [~jnp.any(~jnp.isfinite(x)) for x in jax.tree.leaves(grads)]
    return jax.tree.map(lambda x: x / jnp.all(jnp.stack(finite)), grads)


def by_value(grads, state, params=None, *, value):
    return jax.tree.map(lambda x: x * value, grads), state


def by_value_fn(grads, state, params=None, *, value, grad, value_fn):
    factor = value + value_fn(grad)
    return jax.tree.map(lambda x: x * factor, params), state


def with_extra(update):
    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


ELEMENTWISE = {
    "a metric and no more": lambda: with_extra(by_value),
    "what line searches ask for": lambda: with_extra(by_value_fn),
}
MORE_ELEMENTWISE = {
    "a norm of norms": lambda: of_norms(jnp.linalg.norm),
    "adam": lambda: optax.adam(0.1),
    "a loop": lambda: of_each(
        lambda g, p: jax.lax.fori_loop(0, 2, lambda i, x: jnp.tanh(x), g)
    ),
    "another shape": lambda: of_each(
        lambda g, p: jax.vmap(jnp.tanh)(g.ravel()).reshape(g.shape)
    ),
    "a callback": lambda: of_each(lambda g, p: jax.pure_callback(lambda x: x, g, g)),
    "sam": lambda: optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
    "zoom line search": lambda: optax.chain(
        optax.sgd(1.0), optax.scale_by_zoom_linesearch(3)
    ),
    "prodigy": lambda: optax.contrib.prodigy(0.1),
    "schedule free": lambda: optax.contrib.schedule_free_adamw(0.1),
    "half precision": lambda: optax.adam(0.1, mu_dtype=jnp.bfloat16),
}


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(x, id=name) for name, x in ELEMENTWISE.items()),
        *(pytest.param(x, id=name, marks=FULL) for name, x in MORE_ELEMENTWISE.items()),
    ],
)
def test_accepted(make):
    oxe.lab.check_elementwise(make())


def test_states_and_gradients():
    """Those that the docstring describes, as a transformation receives them."""

    def init(params):
        truths = jnp.array(False), jnp.array(True), jnp.array(False)
        return {"count": jnp.int32(0), "mu": jnp.float32(0), "truths": truths}

    def update(grads, state, params):
        return {**state, "grads": grads, "params": params}, state

    (seen,) = _check_elementwise._numbers(optax.GradientTransformation(init, update))
    counts = seen["count"]
    assert {0, 1, 2, 3, 10, 100, 1000, 10**4, 10**6} <= set(counts.tolist())
    np.testing.assert_array_equal(seen["mu"] > 0, counts > 0)
    truths = set(zip(*(x.tolist() for x in seen["truths"]), strict=True))
    assert truths == set(itertools.product([False, True], repeat=3))
    kinds = Counter(x.shape[1:] for x in seen["grads"])
    assert sorted(kinds.values()) == [1, 2, 2, 2, 2, 2], "one leaf is not stacked"
    assert {(), (3,), (2, 5), (130, 131), (2, 3, 4)} <= kinds.keys()
    for name in ("grads", "params"):
        sizes = np.abs(seen[name][1]).max(axis=(1, 2))
        assert sizes.min() < 1e-3 * sizes[0], name
        assert sizes.max() > 1e3 * sizes[0], name
    assert np.isnan(seen["grads"][0][:, 0]).sum() == 1
    assert np.isfinite(seen["grads"][1]).all()
    assert not np.allclose(seen["grads"][1], seen["params"][1])


def test_what_is_close():
    """Each run is compared by its own largest update and weights; NaN equals NaN."""
    runs = np.array([(g, w) for g, w, *_ in _check_elementwise._RUNS])
    updates = np.ones((len(runs), 2, 5)) * runs[:, :1, None]
    updates[4, 0, 0] = np.nan

    def close(run, change):
        changed = updates.copy()
        changed[run, 1, 1] += change
        return _check_elementwise._close(updates, changed)

    for run, (of_grads, of_params) in enumerate(runs):
        assert close(run, 1e-4 * of_grads)
        assert close(run, -9e-6 * of_params)
        assert not close(run, 2e-3 * of_grads + 2e-5 * of_params)
        assert not close(run, -2e-3 * of_grads - 2e-5 * of_params)
        assert not close(run, np.nan)
    infinite = np.where(np.isnan(updates), np.inf, updates)
    assert _check_elementwise._close(infinite, infinite)
    assert not _check_elementwise._close(infinite, -infinite)
    assert not _check_elementwise._close(infinite, updates)


@pytest.mark.parametrize("transform", [jax.jit, pytest.param(jax.grad, marks=FULL)])
def test_traced_numbers_are_tried_as_others(transform):
    """They are replaced by 0.5.

    Numbers under `vmap` cannot be read: the optimizer is accepted untried.
    """

    def tried(rate):
        def update(g, p):
            return g * jnp.where(rate == 0.5, 2, 1) if g.ndim == 0 else g

        oxe.lab.check_elementwise(of_each(update))
        return rate

    right = r"one whose updates of leaves of shape \(\) change in a stack\."
    with pytest.raises(ValueError, match=REFUSED + right):
        transform(tried)(1.0)
    jax.vmap(tried)(jnp.ones(2))


@pytest.mark.parametrize("jit", [True, pytest.param(False, marks=FULL)])
def test_it_is_tried_apart_from_modes(jit):
    """JAX's debugging modes do not apply, though one run gives only inf and NaN."""
    with (
        jax.debug_nans(True),
        jax.debug_infs(True),
        jax.transfer_guard("disallow"),
        jax.numpy_rank_promotion("raise"),
        jax.disable_jit(not jit),
    ):
        oxe.lab.check_elementwise(optax.stateless(all_or_nothing))


def test_bad_argument():
    with pytest.raises(TypeError, match=r"^check_elementwise: `tx` must be "):
        oxe.lab.check_elementwise(3)
