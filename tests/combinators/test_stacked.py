"""Leaves of one shape in stacks: the numbers of the optimizer alone, leaf by leaf."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.devices import on_eight_devices
from tests.contract.test_optimizers import assert_close, assert_same, gradient, run

ROOT = Path(__file__).parents[2]
SHAPES = [(3,), (2, 2), (3,), (), (3,), (2, 2), (), (5,), (3,), (2, 2), (0, 3), (0, 3)]
THEIRS = {
    "optax.adamw": lambda: optax.adamw(1e-3),
    "optax.lion": lambda: optax.lion(1e-3),
    "optax.adan": lambda: optax.adan(1e-3),
    "clip": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1, 0.9)),
    "inject": lambda: optax.inject_hyperparams(optax.sgd)(optax.constant_schedule(0.1)),
}


def leaf(i, shape):
    return jnp.cos(jnp.arange(np.prod(shape, dtype=int)) + i).reshape(shape)


def params():
    """Groups of fellows, one leaf that is left over, and leaves without any."""
    tree = {f"p{i:02}": leaf(i, shape) for i, shape in enumerate(SHAPES)}
    half = jnp.ones(3, jnp.bfloat16)
    return {**tree, "deep": [{"none": None}, half, (half / 2, optax.MaskedNode())]}


def stacks_of(state):
    found = jax.tree.leaves(state, is_leaf=is_grouped)
    return [x.stacks for x in found if is_grouped(x)]


def is_grouped(x):
    return isinstance(x, oxe.GroupedLeaves)


STACKED = [
    case
    for case in discovery.OPTIMIZERS
    if (case.is_plain and case.name not in discovery.OF_SHAPE)
    or case.name in ("rmsprop-centered", "rmsprop-momentum")  # which keep more
]
# By operation, these take a second each and more.
SLOW = {"adabound", "adadelta", "amsbound", "amsgrad", "asgd", "rprop", "swats"}


def each(cases, slow):
    """Of the cases, and of Optax's."""
    ours = [
        pytest.param(x.make, id=x.name, marks=pytest.mark.full if slow(x) else ())
        for x in cases
    ]
    theirs = [pytest.param(make, id=name) for name, make in THEIRS.items()]
    return pytest.mark.parametrize("make", ours + theirs)


@each(STACKED, slow=lambda case: case.is_slow)
def test_the_numbers_are_those_of_the_optimizer_alone(make):
    alone, tree = make(), params()
    tx = oxe.stacked(alone, group=3)
    expected, _ = run(alone, tree, 3, jax.jit(alone.update))
    us, state = run(tx, tree, 3, jax.jit(tx.update))
    assert_close(us, expected)
    assert all(len(stacks) == 4 for stacks in stacks_of(state))


@each([x for x in STACKED if not x.is_slow], slow=lambda case: case.name in SLOW)
def test_without_jit_the_numbers_are_the_same_to_the_last_bit(make):
    alone, tree = make(), params()
    tx = oxe.stacked(alone, group=3)
    assert_same(run(tx, tree, 1)[0], run(alone, tree, 1)[0])


def test_the_state_is_the_optimizers_own_in_stacks():
    tx, tree = oxe.stacked(optax.adam(0.1), group=3), params()
    _, state = run(tx, tree, 2, jax.jit(tx.update))
    _, alone = run(optax.adam(0.1), tree, 2, jax.jit(optax.adam(0.1).update))
    (adam, _), (expected, _) = state, alone
    assert adam.count == expected.count == 2
    members = [("p00", "p02", "p04"), ("p01", "p05", "p09"), ("p03", "p06")]
    half, *stacks = adam.mu.stacks  # in the order of the params: "deep" is the first
    assert (half.shape, half.dtype) == ((2, 3), jnp.bfloat16)
    assert [x.shape for x in stacks] == [(3, 3), (3, 2, 2), (2,)]
    for stack, names in zip(stacks, members, strict=True):
        for row, name in zip(stack, names, strict=True):
            np.testing.assert_allclose(row, expected.mu[name], rtol=1e-6)
    # The fourth of three, the one of its shape, and what has no elements.
    left = {name for name, x in adam.mu.alone.items() if x is not None}
    assert left == {"p07", "p08", "p10", "p11", "deep"}


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, [(32, 8), (8, 8)]),
        ({"group": 39}, [(39, 8)]),  # a leaf without a fellow stays alone
        ({"group": 1}, []),
        ({"max_size": 7}, []),
        ({"max_size": 0}, []),
        ({"max_size": 8, "group": 100}, [(40, 8)]),
    ],
)
def test_which_leaves_are_stacked(options, shapes):
    tree = [jnp.ones(8)] * 40
    state = oxe.stacked(optax.trace(0.9), **options).init(tree)
    assert [x.shape for stacks in stacks_of(state) for x in stacks] == shapes
    # Where nothing is stacked it is the optimizer itself.
    own = jax.tree.structure(optax.trace(0.9).init(tree))
    assert (jax.tree.structure(state) == own) == (not shapes)


def test_how_large_a_leaf_and_a_stack_may_be():
    tree = [jnp.ones(1024)] * 33 + [jnp.ones(1025)] * 2
    (stacks,) = stacks_of(oxe.stacked(optax.trace(0.9)).init(tree))
    assert [x.shape for x in stacks] == [(32, 1024)]


def test_what_is_no_float_stays_as_it_is():
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


def test_complex_leaves():
    tree = [jnp.ones(2, jnp.complex64), jnp.full(2, 1j), jnp.ones(2)]
    tx = oxe.stacked(oxe.nadam(0.1))
    (mu, *_) = stacks_of(tx.init(tree))
    assert [(x.shape, x.dtype) for x in mu] == [((2, 2), jnp.complex64)]
    assert_same(run(tx, tree, 2)[0], run(oxe.nadam(0.1), tree, 2)[0])
    with pytest.raises(ValueError, match="must be real"):
        oxe.stacked(oxe.rprop(0.1)).init(tree)


@pytest.mark.parametrize("tree", [{}, None, [], {"a": None}])
def test_empty_trees(tree):
    tx = oxe.stacked(optax.adam(0.1))
    u, state = tx.update(tree, tx.init(tree), tree)
    assert u == tree
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(tree))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_leaf(bad):
    tree = [jnp.ones(3), jnp.ones(3), jnp.ones(3)]
    grads = [jnp.ones(3), jnp.array([1.0, bad, 1.0]), jnp.ones(3)]
    tx = oxe.stacked(oxe.nadam(0.1))
    us, _ = tx.update(grads, tx.init(tree), tree)
    expected, _ = oxe.nadam(0.1).update(grads, oxe.nadam(0.1).init(tree), tree)
    assert_same(us, expected)
    assert np.isfinite(us[0]).all()


def test_a_leaf_of_a_stack_without_a_gradient_stays():
    """Its state too; and the others go on."""
    tree = [jnp.ones(3), jnp.ones(3), jnp.ones(3), jnp.ones(2), jnp.ones(2)]
    tx, alone = oxe.stacked(oxe.nadam(0.1)), oxe.nadam(0.1)
    _, state = run(tx, tree, 2)
    _, own = run(alone, tree, 2)
    grads = gradient(tree, 2)
    grads = [grads[0], None, grads[2], None, None]
    for update in (tx.update, jax.jit(tx.update)):
        us, after = update(grads, state, tree)
        expected, _ = alone.update(grads, own, tree)
        assert us[1] is us[3] is us[4] is None
        assert_close(us, expected)
        for before, now in zip(stacks_of(state), stacks_of(after), strict=True):
            assert_same(before[0][1], now[0][1])
            assert_same(before[1], now[1])
            assert not np.array_equal(before[0][0], now[0][0])


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

    def loss(p):
        return sum(jnp.sum((i + 1) * x**2) for i, x in enumerate(p))

    ends = []
    for wrap in (oxe.stacked, lambda tx: tx):
        tx = wrap(
            optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(9))
        )
        p, state = tree, tx.init(tree)
        for _ in range(3):
            value, grads = jax.value_and_grad(loss)(p)
            more = {"value": value, "grad": grads, "value_fn": loss}
            u, state = tx.update(grads, state, p, **more)
            p = optax.apply_updates(p, u)
        ends.append(p)
    assert loss(ends[0]) < 0.5 * loss(tree)
    assert_close(*ends)


def test_metrics_rates_and_hyperparameters():
    tree = [jnp.ones(3)] * 5
    tx = oxe.stacked(oxe.scheduled(oxe.nadam)(oxe.plateau(0.1, patience=0), b1=0.8))
    state = tx.init(tree)
    for _ in range(2):
        _, state = tx.update(tree, state, tree, value=1.0)
    assert oxe.learning_rate(state) == jnp.float32(0.1)
    state = oxe.observe(state, 2.0)
    # Two values that were no better, with a patience of 0.
    np.testing.assert_allclose(oxe.learning_rate(state), 0.1 * 0.1**2, rtol=1e-6)
    state = oxe.set_hyperparameters(state, b1=0.5)
    assert oxe.hyperparameters(state)["b1"] == 0.5


# ---- Refused -------------------------------------------------------------------------


def by_dimension(tree):
    return jax.tree.map(lambda x: x.ndim > 1, tree)


# What the first state shows, by the words of the refusal.
NOT_ELEMENTWISE = {
    "swats per leaf": (lambda: oxe.swats(0.1, per_leaf=True), "number or the sizes"),
    "flatten": (lambda: optax.flatten(optax.adam(0.1)), "number or the sizes"),
    "optax.adafactor": (lambda: optax.adafactor(0.1), "another shape or dtype"),
    "adafactor": (lambda: oxe.adafactor(0.1), "another shape or dtype"),
    "state in few bits": (
        lambda: oxe.low_precision_state(optax.adam(0.1), min_size=1),
        "another shape or dtype",
    ),
    "mask of a function": (lambda: optax.adamw(0.1, mask=by_dimension), "mask or lab"),
    "partition": (
        lambda: optax.partition(
            {"all": optax.sgd(0.1)}, lambda tree: jax.tree.map(lambda x: "all", tree)
        ),
        "mask or labels",
    ),
}


@pytest.mark.parametrize("name", NOT_ELEMENTWISE)
def test_what_the_state_shows_is_refused(name):
    make, said = NOT_ELEMENTWISE[name]
    tree = [jnp.ones((160, 4)), jnp.ones((160, 4)), jnp.ones(3), jnp.ones(3)]
    right = rf"^stacked: `tx` must be elementwise, .*{said}.* `optax.chain"
    with pytest.raises(ValueError, match=right):
        oxe.stacked(make()).init(tree)


def test_a_mask_without_a_state_is_refused():
    """One that goes by names would say the same of a tree and of its stacks."""

    def by_name(tree):
        return jax.tree_util.tree_map_with_path(lambda path, x: "b" in str(path), tree)

    tx = oxe.stacked(oxe.heavy_ball(0.1, weight_decay=0.1, mask=by_name))
    tree = [jnp.ones(3)] * 2
    with pytest.raises(ValueError, match="stacked: `tx` must have no mask"):
        tx.update(tree, tx.init(tree), tree)


WHOLE = {
    "sums": lambda g: sum(jnp.sum(x) for x in jax.tree.leaves(g)),
    "means of sums": lambda g: sum(-jnp.sum(x) / 4 for x in jax.tree.leaves(g)),
    "stacked": lambda g: jnp.sum(jnp.stack([jnp.sum(x) for x in jax.tree.leaves(g)])),
    "dot products": lambda g: sum(jnp.vdot(x, x) for x in jax.tree.leaves(g) if x.size),
    "norm": lambda g: optax.tree.norm(g) + optax.tree.norm(g, ord=jnp.inf),
    "greatest": lambda g: jnp.max(
        jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(g)])
    ),
    "all finite": lambda g: (
        1.0 * jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(g)]))
    ),
}


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_numbers_of_the_whole_tree(whole):
    """The same for leaves and for stacks, however they are put together."""

    def update(grads, params):
        return jax.tree.map(lambda x: x / (1 + whole(grads)), grads)

    tx, tree = optax.stateless(update), [jnp.arange(3.0), jnp.ones(3), jnp.ones((2, 2))]
    us, _ = oxe.stacked(tx).update(tree, optax.EmptyState(), tree)
    assert_close(us, tx.update(tree, optax.EmptyState(), tree)[0])


def test_a_state_of_another_shape_is_refused():

    def init(params):
        return jax.tree.map(lambda p: p[..., 0] if p.ndim == 3 else p, params)

    tx = optax.GradientTransformation(init, lambda g, s, p=None: (g, s))
    with pytest.raises(ValueError, match="state of a leaf has another shape"):
        oxe.stacked(tx).init([jnp.ones((2, 2))] * 3)


def test_a_state_whose_dtype_goes_by_the_size_is_refused():
    def init(params):
        return jax.tree.map(
            lambda p: p.astype(jnp.bfloat16 if p.size > 20 else jnp.float32), params
        )

    tx = optax.GradientTransformation(init, lambda g, s, p=None: (g, s))
    tree = [jnp.ones(3)] * 10
    with pytest.raises(ValueError, match="state of a leaf has another shape or dtype"):
        oxe.stacked(tx).init(tree)
    state = oxe.stacked(tx, group=5).init(tree)
    assert [x.dtype for x in stacks_of(state)[0]] == [jnp.float32] * 2


def test_a_number_by_chance_for_all_leaves_is_no_noise():
    """Nor is a table of a schedule: scalars of no leaf."""

    def update(updates, state, params=None):
        table = jnp.arange(4.0)
        factor = jax.random.uniform(jax.random.key(1)) + jnp.sum(table)
        return jax.tree.map(lambda g: factor * g, updates), state

    tx = optax.GradientTransformation(lambda params: (), update)
    tree = [jnp.ones(3), jnp.ones(3), jnp.ones(2)]
    us, _ = oxe.stacked(tx).update(tree, (), tree)
    assert_same(us, tx.update(tree, (), tree)[0])


def test_wrong_calls():
    with pytest.raises(TypeError, match="stacked: `tx` must be an optax transf"):
        oxe.stacked(0.1)
    for name in ("group", "max_size"):
        with pytest.raises(TypeError, match=f"stacked: `{name}` must be an integer"):
            oxe.stacked(optax.sgd(0.1), **{name: 1.5})
        with pytest.raises(TypeError, match=f"stacked: `{name}` must be known, as"):
            jax.jit(lambda n, name=name: oxe.stacked(optax.sgd(0.1), **{name: n}))(2)
    with pytest.raises(ValueError, match="stacked: `group` must be an integer of at l"):
        oxe.stacked(optax.sgd(0.1), group=0)
    tree = [jnp.ones(3), jnp.ones(3), jnp.ones(2)]
    tx = oxe.stacked(optax.sgd(0.1, 0.9))
    with pytest.raises(ValueError, match="stacked: `state` must be what `init` makes"):
        tx.update(tree, tx.init(tree * 2), tree)
    half = [tree[0].astype(jnp.bfloat16), *tree[1:]]
    with pytest.raises(ValueError, match=r"`updates` must be of one dtype .*bfloat16"):
        tx.update(half, tx.init(tree), tree)
    # Without the params gradients of other dtypes are other groups.
    with pytest.raises(ValueError, match=r"stacked: `state` must be what `init` makes"):
        tx.update(half, tx.init(tree))


@pytest.mark.parametrize("given", [True, False])
def test_errors_of_the_optimizers_own_are_handed_on(given):
    def update(updates, state, params=None, *, hint=1.0, **extra):
        if hint is None:
            raise ValueError("of its own")
        return updates, state

    inner = optax.GradientTransformationExtraArgs(optax.trace(0.9).init, update)
    tree = [jnp.ones(3)] * 2
    tx = oxe.stacked(inner)
    with pytest.raises(ValueError, match=r"^of its own$"):
        tx.update(tree, tx.init(tree), tree if given else None, hint=None)


def test_trees_unlike_the_params():
    tree = [jnp.ones(3), jnp.ones(3), jnp.ones(2)]
    tx = oxe.stacked(optax.sgd(0.1, 0.9))
    state = tx.init(tree)
    flat = [jnp.ones(()), *tree[1:]]
    with pytest.raises(ValueError, match=r"`updates` must have the params' shapes, he.*"
                       r"\(3,\), got \(\)\."):  # fmt: skip
        tx.update(flat, state, tree)
    with pytest.raises(ValueError, match=r"`updates` must be a tree like the params"):
        tx.update(tree[1:], state, tree)
    half = [tree[0].astype(jnp.bfloat16), *tree[1:]]
    with pytest.raises(ValueError, match=r"`grads_before` must be of one dtype"):
        tx.update(tree, state, tree, grads_before=half)


# ---- Many devices --------------------------------------------------------------------

# In a process of its own: the number of CPU devices is fixed when JAX starts.
SHARDED = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
import optax_extras as oxe
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

def meshed(kind):
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)

def lying(mesh, spec, n=3):
    return [jax.device_put(jnp.cos(jnp.arange(32.0).reshape(8, 4) + i),
            NamedSharding(mesh, spec)) for i in range(n)]

def places(state):
    found = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, oxe.GroupedLeaves))
    return [list(s.sharding.spec) for x in found if isinstance(x, oxe.GroupedLeaves)
            for s in x.stacks]

def refusal(function, *args):
    try:
        function(*args)
    except ValueError as error:
        return str(error)

report = {}
tx = oxe.stacked(oxe.nadam(0.1))
mesh = meshed(AxisType.Auto)
alike = lying(mesh, P("x", "y"))
mixed = {"rows": lying(mesh, P("x"), 1)[0], "columns": lying(mesh, P(None, "y"), 1)[0]}
report["refused"] = refusal(tx.init, mixed)
spelled = [lying(mesh, P("x", *more), 1)[0] for more in ((), (None,))]
report["spelled in two ways"] = [refusal(tx.init, spelled), places(tx.init(spelled))]
report["refused later"] = refusal(tx.update, mixed, (), mixed)

report["init"] = places(tx.init(alike))
report["jitted init"] = places(jax.jit(tx.init)(alike))
state = tx.init(alike)
step = jax.jit(tx.update).lower(alike, state, alike).compile()
report["communicates"] = any(x in step.as_text() for x in
                             ("all-gather", "all-to-all", "collective-permute"))
us, state = step(alike, state, alike)
report["state"] = places(state)
report["updates"] = [list(u.sharding.spec) for u in us]
expected, _ = oxe.nadam(0.1).update(alike, oxe.nadam(0.1).init(alike), alike)
report["error"] = max(float(jnp.abs(a - b).max()) for a, b in zip(us, expected))

# What cannot be seen gives the right numbers.
us, _ = jax.jit(lambda p: tx.update(p, tx.init(p), p))(mixed)
expected, _ = oxe.nadam(0.1).update(mixed, oxe.nadam(0.1).init(mixed), mixed)
report["unseen"] = max(float(jnp.abs(us[k] - expected[k]).max()) for k in us)
# As the message says.
split = optax.partition({k: tx for k in mixed}, {k: k for k in mixed})
us, _ = jax.jit(lambda p: split.update(p, split.init(p), p))(mixed)
report["apart"] = [us[k].sharding.is_equivalent_to(mixed[k].sharding, 2) for k in mixed]

mesh = meshed(AxisType.Explicit)
with jax.set_mesh(mesh):
    alike = lying(mesh, P("x", "y"))
    us, state = jax.jit(lambda p: tx.update(p, tx.init(p), p))(alike)
    report["explicit"] = [places(state), [list(u.sharding.spec) for u in us]]
    mixed = [*lying(mesh, P("x"), 1), *lying(mesh, P(None, "y"), 1)]
    report["explicit refused"] = refusal(jax.jit(tx.init), mixed)
    params = alike[:2]
    state = jax.jit(tx.init)(params)
    report["gradients refused"] = refusal(jax.jit(tx.update), mixed, state, params)
print(json.dumps(report))
"""


@pytest.mark.full
def test_eight_devices():
    found = on_eight_devices(SHARDED)
    for where in ("refused", "refused later"):
        assert "`params`['rows'] must be sharded as params['columns']" in found[where]
        assert "in `optax.partition`" in found[where]
    refused, specs = found["spelled in two ways"]
    assert refused is None
    assert [spec[:2] for spec in specs] == [[None, "x"]] * 2
    for where in ("init", "jitted init", "state"):
        assert found[where] == [[None, "x", "y"]] * 2, where  # of both moments
    assert found["updates"] == [["x", "y"]] * 3
    assert not found["communicates"]
    assert found["error"] <= 2.0**-23
    assert found["unseen"] <= 2.0**-23
    assert all(found["apart"])
    states, updates = found["explicit"]
    assert states == [[None, "x", "y"]] * 2
    assert updates == [["x", "y"]] * 3
    assert "`params`[1] must be sharded as params[0]" in found["explicit refused"]
    assert "got P(None, 'y'), not P('x', None)" in found["explicit refused"]
    assert "`updates`[1] must be sharded as updates[0]" in found["gradients refused"]


# ---- What it is for ------------------------------------------------------------------


def test_the_program_is_a_fraction_of_the_size():
    """Its time is measured by `python -m benchmarks small_leaves`."""

    def lines(tx, n=200):
        tree = [jnp.ones(32)] * n
        state = tx.init(tree)
        return jax.jit(tx.update).lower(tree, state, tree).as_text().count("\n")

    assert lines(oxe.stacked(optax.adamw(0.1))) < 0.25 * lines(optax.adamw(0.1))


def test_stacks_share_nothing_with_the_params():
    tree = [jnp.ones(3)] * 4
    tx = oxe.stacked(optax.sgd(0.1, 0.9))
    step = jax.jit(partial(tx.update), donate_argnums=1)
    _, state = step(tree, tx.init(tree), tree)
    step(tree, state, tree)
    assert all(np.all(x == 1) for x in tree)
