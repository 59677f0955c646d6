"""Leaves of one shape in stacks: the numbers of the optimizer alone, leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.runs import assert_close, assert_same, gradient, run

SHAPES = [(3,), (2, 2), (3,), (), (3,), (2, 2), (), (5,), (3,), (2, 2), (0, 3), (0, 3)]


def params():
    """Groups of leaves of one shape, one leaf that is left over, and single leaves."""

    def leaf(i, shape):
        return np.cos(np.arange(np.prod(shape)) + i).reshape(shape).astype(np.float32)

    tree = {f"p{i:02}": jnp.array(leaf(i, shape)) for i, shape in enumerate(SHAPES)}
    half = jnp.ones(3, jnp.bfloat16)
    return {**tree, "deep": [{"none": None}, half, (half, optax.MaskedNode())]}


def stacks_of(state):
    found = jax.tree.leaves(state, is_leaf=is_grouped)
    return [x.stacks for x in found if is_grouped(x)]


def is_grouped(x):
    return isinstance(x, oxe.states.GroupedLeaves)


# Each leaf is one to these: means of rows, norms; `stacked` refuses a partition and
# averages of the weights.
NOT_ELEMENTWISE = ("adafactor", "pytorch.Adafactor", "keras.Adafactor", "keras.Lamb")
NOT_ELEMENTWISE += ("keras.Muon", "keras.ScheduleFreeAdamW")
STACKED = {
    "adamw": lambda: optax.adamw(1e-3),
    "clip": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1, 0.9)),
    "inject": lambda: optax.inject_hyperparams(optax.sgd)(optax.constant_schedule(0.1)),
    "optax.lion": lambda: optax.lion(1e-3),
    "optax.adan": lambda: optax.adan(1e-3),
    **{
        case.name: case.make
        for case in discovery.OPTIMIZERS
        if (case.is_plain and case.name not in NOT_ELEMENTWISE)
        or case.name in ("rmsprop-centered", "rmsprop-momentum")  # which keep more
    },
}
FAST = ("adamw", "clip")


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=() if x in FAST else pytest.mark.full) for x in STACKED],
)
def test_the_numbers_are_those_of_the_optimizer_alone(name):
    alone, tree = STACKED[name](), params()
    tx = oxe.stacked(alone, group=3)
    grads = [gradient(tree, step) for step in range(3)]
    grads = jax.tree.map(lambda *xs: jnp.stack(xs), *grads)

    @jax.jit
    def both(grads):
        def step(states, g):
            found = [x.update(g, s, tree) for x, s in zip(txs, states, strict=True)]
            return [state for _, state in found], [u for u, _ in found]

        txs = tx, alone
        return jax.lax.scan(step, [x.init(tree) for x in txs], grads)

    (state, _), (us, expected) = both(grads)
    assert_close(us, expected)
    assert all(len(stacks) == 4 for stacks in stacks_of(state))


@pytest.mark.full
@pytest.mark.parametrize("make", STACKED.values(), ids=STACKED)
def test_without_jit_the_numbers_are_the_same_to_the_last_bit(make):
    alone, tree = make(), params()
    tx = oxe.stacked(alone, group=3)
    assert_same(run(tx, tree, 1)[0], run(alone, tree, 1)[0])


def test_the_state_is_that_of_the_optimizer_in_stacks():
    tx, tree, adam = oxe.stacked(optax.adam(0.1), group=3), params(), optax.adam(0.1)

    @jax.jit
    def states(grads):
        return [x.update(grads, x.init(tree), tree)[1][0] for x in (tx, adam)]

    state, expected = states(gradient(tree, 0))
    assert state.count == expected.count == 1
    members = [("p00", "p02", "p04"), ("p01", "p05", "p09"), ("p03", "p06")]
    half, *stacks = state.mu.stacks  # in the order of the params: "deep" is the first
    assert (half.shape, half.dtype) == ((2, 3), jnp.bfloat16)
    assert [x.shape for x in stacks] == [(3, 3), (3, 2, 2), (2,)]
    for stack, names in zip(stacks, members, strict=True):
        for row, name in zip(stack, names, strict=True):
            np.testing.assert_allclose(row, expected.mu[name], rtol=1e-6)
    # The fourth of three, the one of its shape, and what has no elements.
    names = ("p07", "p08", "p10", "p11")
    for leaf, name in zip(state.mu.unstacked, names, strict=True):
        np.testing.assert_allclose(leaf, expected.mu[name], rtol=1e-6)


def test_which_leaves_are_stacked():
    tree = [jax.ShapeDtypeStruct((8,), jnp.float32)] * 40
    trace = optax.trace(0.9)
    plain = jax.tree.structure(jax.eval_shape(trace.init, tree))
    for options, shapes in (
        ({}, [(32, 8), (8, 8)]),
        ({"group": 39}, [(39, 8)]),  # the fortieth leaf is not stacked
        ({"group": 1}, []),
        ({"max_size": 7}, []),
        ({"max_size": 0}, []),
        ({"max_size": 8, "group": 100}, [(40, 8)]),
    ):
        state = jax.eval_shape(oxe.stacked(trace, **options).init, tree)
        found = [x.shape for stacks in stacks_of(state) for x in stacks]
        assert found == shapes, options
        # Where nothing is stacked it is the optimizer itself.
        assert (jax.tree.structure(state) == plain) == (not shapes), options


def test_how_large_a_leaf_and_a_stack_may_be():
    tree = [jnp.ones(1024)] * 33 + [jnp.ones(1025)] * 2
    state = jax.eval_shape(oxe.stacked(optax.trace(0.9)).init, tree)
    assert [x.shape for x in stacks_of(state)[0]] == [(32, 1024)]


def test_integer_leaves_are_not_stacked():
    tree = {"a": jnp.ones(3, jnp.int32), "b": jnp.ones(3, jnp.int32), "c": jnp.ones(3)}
    grads = {
        name: np.zeros(3, jax.dtypes.float0) if name in "ab" else x
        for name, x in tree.items()
    }
    tx = oxe.stacked(optax.identity())
    us, _ = tx.update(grads, tx.init(tree), tree)
    assert us["a"] is grads["a"]


def test_numpy_leaves():
    tree = {name: np.ones(3, np.float32) for name in "abc"}
    tx = oxe.stacked(optax.sgd(0.1, 0.9))
    us, _ = tx.update(tree, tx.init(tree), tree)
    for u in us.values():
        np.testing.assert_allclose(u, np.full(3, -0.1), rtol=1e-6)


def test_complex_leaves_to_the_last_bit():
    tree = [jnp.ones(2, jnp.complex64), jnp.full(2, 1j), jnp.ones(2)]
    alone, tx = optax.trace(0.9), oxe.stacked(optax.trace(0.9))
    state, expected = tx.init(tree), alone.init(tree)
    assert [(x.shape, x.dtype) for x in state.trace.stacks] == [((2, 2), jnp.complex64)]
    for step in range(2):
        grads = gradient(tree, step)
        u, state = tx.update(grads, state, tree)
        v, expected = alone.update(grads, expected, tree)
        assert_same(u, v)
    with pytest.raises(ValueError, match="must be real"):
        oxe.stacked(oxe.rprop(0.1)).init(tree)


def test_empty_trees():
    tx = oxe.stacked(optax.adam(0.1))
    for tree in ({}, None, [], {"a": None}):
        u, state = tx.update(tree, tx.init(tree), tree)
        assert u == tree
        assert jax.tree.structure(state) == jax.tree.structure(tx.init(tree))


def test_a_nan_stays_in_its_leaf():
    tree = [jnp.ones(3)] * 3
    tx, alone = oxe.stacked(oxe.nadam(0.1)), oxe.nadam(0.1)
    update = jax.jit(
        lambda g: [x.update(g, x.init(tree), tree)[0] for x in (tx, alone)]
    )
    for bad in (np.nan, np.inf, -np.inf):
        us, expected = update([tree[0], tree[1].at[1].set(bad), tree[2]])
        for u, v in zip(us, expected, strict=True):
            np.testing.assert_allclose(u, v, rtol=1e-6)
        assert np.isfinite(us[0]).all()
        assert np.isfinite(us[1]).tolist() == [True, False, True]


def test_a_leaf_of_a_stack_without_a_gradient_stays():
    """Its state too; and the others go on."""
    tree = [jnp.ones(3), jnp.ones(3), jnp.ones(3), jnp.ones(2), jnp.ones(2)]
    tx, alone = oxe.stacked(oxe.nadam(0.1)), oxe.nadam(0.1)
    grads = gradient(tree, 2)
    grads = [grads[0], None, grads[2], None, None]

    @jax.jit
    def run(first, grads):
        _, state = tx.update(first, tx.init(tree), tree)
        _, other = alone.update(first, alone.init(tree), tree)
        expected = alone.update(grads, other, tree)[0]
        return state, tx.update(grads, state, tree), expected

    state, (us, after), expected = run(gradient(tree, 0), grads)
    assert us[1] is us[3] is us[4] is None
    assert_close(us, expected)
    assert len(stacks_of(state)) == 2
    for before, now in zip(stacks_of(state), stacks_of(after), strict=True):
        assert_same(before[0][1], now[0][1])
        assert_same(before[1], now[1])
        assert not np.array_equal(before[0][0], now[0][0])
        assert not np.array_equal(before[0][2], now[0][2])


# ---- Extra arguments -----------------------------------------------------------------


def test_extra_arguments():
    """Trees like the params in stacks; functions get them back; all else as it is."""
    seen = {}

    def update(updates, state, params=None, **extra):
        seen.update(extra, loss=extra["value_fn"](params))
        return updates, state

    inner = optax.GradientTransformationExtraArgs(lambda params: (), update)
    tree = {"a": jnp.ones(2), "b": jnp.full(2, 3.0), "c": jnp.ones(3)}
    oxe.stacked(inner).update(
        tree,
        (),
        tree,
        value=1.0,
        like=jax.tree.map(lambda x: -x, tree),
        sums=(sums := jax.tree.map(jnp.sum, tree)),
        key=jax.random.key(0),
        value_fn=lambda p: p["b"].sum() + p["c"].sum(),
    )
    assert seen["value"] == 1.0
    assert seen["loss"] == 9.0
    assert jax.random.key_data(seen["key"]).shape == (2,)
    np.testing.assert_array_equal(seen["like"].stacks[0], [[-1, -1], [-3, -3]])
    assert seen["sums"] is sums  # one number a leaf: like the params in structure only


def test_a_line_search_searches_the_params():
    """Which calls the loss, with gradients, on what it is given."""
    tree = [jnp.array([1.0, -2.0]), jnp.array([3.0, 0.5]), jnp.ones(3)]
    alone = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(9))
    both = oxe.stacked(alone), alone

    def loss(p):
        return sum(jnp.sum((i + 1) * x**2) for i, x in enumerate(p))

    @jax.jit
    def ends(tree):
        def step(carry, _):
            new = []
            for tx, (p, state) in zip(both, carry, strict=True):
                value, grads = jax.value_and_grad(loss)(p)
                given = {"value": value, "grad": grads, "value_fn": loss}
                u, state = tx.update(grads, state, p, **given)
                new.append((optax.apply_updates(p, u), state))
            return new, None

        carry, _ = jax.lax.scan(step, [(tree, tx.init(tree)) for tx in both], length=3)
        return [p for p, _ in carry]

    end, expected = ends(tree)
    assert loss(end) < 0.5 * loss(tree)
    assert_close(end, expected)


def test_metrics_learning_rates_and_hyperparameters():
    tree = [jnp.ones(3)] * 3
    rate = oxe.plateau(0.1, patience=0)
    tx = oxe.stacked(oxe.scheduled(oxe.heavy_ball)(rate, momentum=0.8))
    state, update = tx.init(tree), jax.jit(tx.update)
    for _ in range(2):
        _, state = update(tree, state, tree, value=1.0)
    assert oxe.learning_rate(state) == jnp.float32(0.1)
    state = oxe.observe(state, 2.0)
    # Two values that were no better, with a patience of 0.
    np.testing.assert_allclose(oxe.learning_rate(state), 0.1 * 0.1**2, rtol=1e-6)
    state = oxe.set_hyperparameters(state, momentum=0.5)
    assert oxe.hyperparameters(state)["momentum"] == 0.5


# ---- Wrong arguments and calls -------------------------------------------------------


def matrices(tree):
    return jax.tree.map(lambda x: x.ndim > 1, tree)


def one_label(tree):
    return jax.tree.map(lambda x: "all", tree)


# What the first state shows, by the words of the message.
NOT_ELEMENTWISE = {
    "swats per leaf": (lambda: oxe.swats(0.1, per_leaf=True), "number or sizes"),
    "flatten": (lambda: optax.flatten(optax.adam(0.1)), "number or sizes"),
    "a number for each leaf": (
        lambda: optax.identity()._replace(
            init=lambda params: jnp.zeros(len(jax.tree.leaves(params)))
        ),
        "number or sizes",
    ),
    "adafactor": (lambda: oxe.adafactor(0.1), "another shape or dtype"),
    "quantized": (
        lambda: oxe.low_precision_state(optax.adam(0.1), min_size=1),
        "number or sizes",
    ),
    "mask of a function": (lambda: optax.adamw(0.1, mask=matrices), "mask or lab"),
    "partition": (
        lambda: optax.partition({"all": optax.sgd(0.1)}, one_label), "mask or labels",
    ),
}  # fmt: skip


def test_an_optimizer_that_is_not_elementwise():
    tree = [jnp.ones((160, 4)), jnp.ones((160, 4)), jnp.ones(3), jnp.ones(3)]
    for make, reason in NOT_ELEMENTWISE.values():
        must = rf"^stacked: `tx` must be elementwise, .*{reason}.* `optax.chain"
        with pytest.raises(ValueError, match=must):
            jax.eval_shape(oxe.stacked(make()).init, tree)


def test_reductions_over_the_whole_tree():
    """The same for leaves and for stacks, for every kind of reduction."""
    sums = {
        "sums": lambda g: sum(jnp.sum(x) for x in jax.tree.leaves(g)),
        "dot products": lambda g: sum(jnp.vdot(x, x) for x in jax.tree.leaves(g)),
        "norms": lambda g: optax.tree.norm(g) + optax.tree.norm(g, ord=jnp.inf),
    }

    def update(grads, state, params=None):
        factors = {name: 1 / (1 + total(grads)) for name, total in sums.items()}
        return jax.tree.map(lambda x: sum(factors.values()) * x, grads), factors

    def init(params):
        return dict.fromkeys(sums, jnp.zeros(()))

    tx, tree = optax.GradientTransformation(init, update), [jnp.arange(3.0)] * 2
    tree.append(jnp.ones((2, 2)))
    us, expected = jax.jit(
        lambda tree: [x.update(tree, x.init(tree)) for x in (oxe.stacked(tx), tx)]
    )(tree)
    assert_close(us, expected)


def test_a_state_whose_shape_or_dtype_depends_on_the_size():
    def dropped(p):
        return p[..., 0] if p.ndim == 3 else p

    def cast(p):
        return p.astype(jnp.bfloat16 if p.size > 20 else jnp.float32)

    for kind, shape in ((dropped, (2, 2)), (cast, (3,))):
        tx = optax.GradientTransformation(
            lambda params, kind=kind: jax.tree.map(kind, params),
            lambda g, s, p=None: (g, s),
        )
        tree = [jnp.ones(shape)] * 10
        with pytest.raises(ValueError, match="for a leaf has another shape or dtype"):
            oxe.stacked(tx).init(tree)
    state = oxe.stacked(tx, group=5).init(tree)
    assert [x.dtype for x in stacks_of(state)[0]] == [jnp.float32] * 2


def test_wrong_calls():
    with pytest.raises(TypeError, match=r"stacked: `tx` must be an optax\.Grad"):
        oxe.stacked(0.1)
    for name in ("group", "max_size"):
        with pytest.raises(TypeError, match=f"stacked: `{name}` must be an integer"):
            oxe.stacked(optax.sgd(0.1), **{name: 1.5})
        with pytest.raises(TypeError, match=f"stacked: `{name}` must be concrete,"):
            jax.jit(lambda n, name=name: oxe.stacked(optax.sgd(0.1), **{name: n}))(2)
    with pytest.raises(ValueError, match="stacked: `group` must be an integer of at l"):
        oxe.stacked(optax.sgd(0.1), group=0)
    with pytest.raises(ValueError, match="stacked: `max_size` must be an integer of a"):
        oxe.stacked(optax.sgd(0.1), max_size=-1)
    tree = [jnp.ones(3), jnp.ones(3), jnp.ones(2)]
    tx = oxe.stacked(optax.sgd(0.1, 0.9))
    state = tx.init(tree)
    with pytest.raises(ValueError, match="stacked: `state` must be what `init` makes"):
        tx.update(tree, tx.init(tree * 2), tree)
    half = [tree[0].astype(jnp.bfloat16), *tree[1:]]
    with pytest.raises(ValueError, match=r"`updates` must have one dtype .*bfloat16"):
        tx.update(half, state, tree)
    # Without the params gradients of other dtypes are other groups.
    with pytest.raises(ValueError, match=r"stacked: `state` must be what `init` makes"):
        tx.update(half, state)
    flat = [jnp.ones(()), *tree[1:]]
    with pytest.raises(ValueError, match=r"`updates` must have leaves of the params' .*"
                       r"\(3,\), got \(\)\."):  # fmt: skip
        tx.update(flat, state, tree)
    with pytest.raises(ValueError, match=r"`updates` must have the params' tree"):
        tx.update(tree[1:], state, tree)
    with pytest.raises(ValueError, match=r"`grads_before` must have one dtype"):
        tx.update(tree, state, tree, grads_before=half)


@pytest.mark.parametrize("given", [True, False])
def test_errors_of_the_optimizer_itself(given):
    def update(updates, state, params=None, *, hint=1.0, **extra):
        if hint is None:
            raise ValueError("of its own")
        return updates, state

    inner = optax.GradientTransformationExtraArgs(optax.trace(0.9).init, update)
    tree = [jnp.ones(3)] * 2
    tx = oxe.stacked(inner)
    with pytest.raises(ValueError, match=r"^of its own$"):
        tx.update(tree, tx.init(tree), tree if given else None, hint=None)


# ---- What it is for ------------------------------------------------------------------


def test_the_program_is_a_fraction_of_the_size():
    """Its time is measured by `python -m benchmarks small_leaves`."""
    tree = [jnp.ones(32)] * 100

    def lines(tx):
        state = jax.eval_shape(tx.init, tree)
        return jax.jit(tx.update).lower(tree, state, tree).as_text().count("\n")

    assert lines(oxe.stacked(optax.adamw(0.1))) < 0.25 * lines(optax.adamw(0.1))


def test_stacks_share_no_memory_with_the_params():
    tree = [jnp.ones(3)] * 4
    tx = oxe.stacked(optax.sgd(0.1, 0.9))
    step = jax.jit(lambda *args: tx.update(*args), donate_argnums=1)
    _, state = step(tree, tx.init(tree), tree)
    step(tree, state, tree)
    assert all(np.all(x == 1) for x in tree)
