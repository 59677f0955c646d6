"""Muon: its iteration in NumPy, layouts and batches, NorMuon, and what it refuses."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.devices import on_eight_devices

DATA = pathlib.Path(__file__).parents[1] / "data" / "normuon.json"
PARAMS = {"wide": jnp.ones((2, 5)), "inner": [jnp.ones((6, 3)), jnp.ones((4, 4))]}
SIMPLE = (3.4445, -4.775, 2.0315)
direction = functools.partial(oxe.scale_by_muon, layout="in_out")


def muon(layout="in_out", **options):
    """With one iteration, where more of them show no more."""
    return oxe.muon(0.1, **{"layout": layout, "ns_coefficients": [SIMPLE], **options})


def wave(shape, step=0):
    return np.cos(np.arange(np.prod(shape)) ** 1.5 + 0.7 * step).reshape(shape)


def gradient(step, like=PARAMS):
    return jax.tree.map(lambda x: wave(x.shape, step).astype(x.dtype), like)


def one_update(tx, g):
    """The first update, compiled; the params are the gradients."""
    return first_update(tx, g, g)[0]


def first_update(tx, params, g):
    """It, and the state after it."""
    return jax.jit(lambda w, g: tx.update(g, tx.init(w), w))(params, g)


def run(tx, steps=3, params=PARAMS):
    state, us, update = tx.init(params), [], jax.jit(tx.update)
    for step in range(steps):
        u, state = update(gradient(step, params), state, params)
        us.append(u)
    return us, state


def assert_close(got, expected, rtol=1e-4):
    """Relative to the norm of each leaf: the iteration amplifies rounding errors."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= rtol * np.linalg.norm(b) + 1e-30


def orthogonal(x, triples=(SIMPLE,) * 5, margin=1.0):
    x = x / (margin * np.linalg.norm(x))
    for a, b, c in triples:
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x


def almost_orthogonal(x, triples):
    """The first iteration divides by the root of the sums of the Gram matrix."""
    (a, b, c), *rest = triples
    x = x if x.shape[0] <= x.shape[1] else x.T
    s = 1 / np.sqrt(np.abs(x @ x.T).sum(1))
    gram, x = np.diag(s) @ (x @ x.T) @ np.diag(s), np.diag(s) @ x
    x = a * x + b * gram @ x + c * gram @ gram @ x
    for a, b, c in rest:
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x


# ---- The iteration -------------------------------------------------------------------


def test_the_first_step():
    """Momentum 0: the iteration of the gradient, times sqrt(max(1, out / in))."""
    rng = np.random.default_rng(0)
    gs = [rng.normal(size=shape) for shape in [(3, 3), (2, 7), (7, 2), (1, 5), (5, 1)]]
    for layout in ("in_out", "out_in"):
        tx = oxe.scale_by_muon(0.0, layout=layout)
        with jax.enable_x64(True):
            us = one_update(tx, [jnp.asarray(g) for g in gs])
        for u, g in zip(us, gs, strict=True):
            inputs, outputs = g.shape if layout == "in_out" else g.shape[::-1]
            scale = max(1, outputs / inputs) ** 0.5
            np.testing.assert_allclose(u, scale * orthogonal(g), rtol=0, atol=1e-12)


# From the papers and their authors' code, written down once more: not from the package.
SETS = {
    "simple": [SIMPLE] * 5,
    "quintic": [
        *((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377)),
        *((3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046)),
        (2.8366, -3.0525, 1.2012),
    ],
    "polar_express": [
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ],
    "polar_express_8": [
        *((8.2051, -22.9019, 16.4607), (4.0664, -2.8612, 0.5184)),
        *((3.9096, -2.8234, 0.5250), (3.2856, -2.4153, 0.4853)),
        *((2.2779, -1.6198, 0.3985), (1.8726, -1.2307, 0.3585)),
        *((1.8564, -1.2132, 0.3568), (1.8750, -1.2500, 0.3750)),
    ],
    "cans": [
        *((8.4703, -25.1081, 18.6293), (4.1828, -3.1087, 0.5806)),
        *((3.9619, -2.9541, 0.5630), (3.2866, -2.4647, 0.5074)),
        (2.2737, -1.6447, 0.4162),
    ],
    "aol": [
        *((4.0098, -7.0585, 2.4635), (3.4585, -5.5479, 2.5959)),
        *((2.7573, -3.2939, 1.4254), (2.7215, -3.0494, 1.3169)),
    ],
    "deepseek_v4": [SIMPLE] * 8 + [(2, -1.5, 0.5)] * 2,
    "cubic": [
        *((3.3656576, -3.3420992, 0), (2.5744352, -1.4957376, 0)),
        *((2.5368962, -1.4312570, 0), (2.4418906, -1.2764040, 0)),
        (2.2230472, -0.9630650, 0),
    ],
}


@pytest.mark.parametrize("name", SETS)
def test_the_named_coefficients(name):
    """In NumPy; and every singular value comes near 1, from wherever it was."""
    triples = SETS[name]
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    g = q @ np.diag(np.logspace(-1, 0, 6)) @ np.eye(6, 9)
    with jax.enable_x64(True):
        gs = [jnp.asarray(g), jnp.asarray(g.T)]
        tx = direction(0.0, ns_coefficients=name, scale="unit_rms")
        wide, tall = one_update(tx, gs)
        if name == "simple":
            given = direction(0.0, ns_coefficients=np.array(triples), scale="unit_rms")
            np.testing.assert_array_equal(one_update(given, gs)[0], wide)
    if name == "aol":
        expected = almost_orthogonal(g, triples)
    else:
        margin = 1.02 if name == "polar_express" else 1.0
        expected = orthogonal(g, triples, margin)
    np.testing.assert_allclose(wide, 1.5**0.5 * expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tall.T, 1.5**-0.5 * expected, rtol=0, atol=1e-12)
    values = np.linalg.svd(expected, compute_uv=False)
    assert np.all((values > 0.6) & (values < 1.3)), values


def test_the_rows_that_aol_scales():
    """Of a square matrix those of its outputs, whatever the layout."""
    g = wave((4, 4))
    for layout, turn in (("out_in", np.asarray), ("in_out", np.transpose)):
        tx = oxe.scale_by_muon(0.0, layout=layout, ns_coefficients="aol")
        with jax.enable_x64(True):
            u = one_update(tx, jnp.asarray(turn(g)))
        expected = almost_orthogonal(g, SETS["aol"])
        np.testing.assert_allclose(turn(u), expected, rtol=0, atol=1e-12)


def test_coefficients_of_ones_own():
    """Cubic Newton-Schulz brings singular values to 1; none leaves the direction."""
    g = jnp.asarray(wave((4, 6)))
    tx = direction(0.0, ns_coefficients=[(1.5, -0.5, 0.0)] * 40, scale="unit_rms")
    values = np.linalg.svd(np.asarray(one_update(tx, g)), compute_uv=False)
    np.testing.assert_allclose(values, 1.5**0.5, rtol=1e-4)
    same = one_update(direction(0.0, ns_coefficients=[], scale="unit_rms"), g)
    np.testing.assert_allclose(same, 1.5**0.5 * g / jnp.linalg.norm(g), rtol=1e-5)


def test_traced_coefficients():
    g = jnp.asarray(wave((4, 6)))

    def update(a):
        return one_update(direction(ns_coefficients=[(a, -4.775, 2.0315)] * 2), g)

    many = jax.vmap(update)(jnp.array([3.4445, 2.0]))
    for a, u in zip((3.4445, 2.0), many, strict=True):
        assert_close(u, update(a))


def test_what_is_smaller_than_epsilon():
    """Epsilon bounds the norm of the average.

    The first average is (1 - beta) g, with Nesterov's look-ahead (1 - beta^2) g.
    """
    g = np.random.default_rng(1).normal(size=(5, 3))
    gs = [g * size / np.linalg.norm(g) for size in (1e-8, 1e-5, 1.0)]
    for nesterov in (False, True):
        tx = direction(0.75, nesterov=nesterov, ns_coefficients=[], eps=1e-6)
        with jax.enable_x64(True):
            us = one_update(tx, [jnp.asarray(g) for g in gs])
        for u, g in zip(us, gs, strict=True):
            average = (1 - 0.75**2 if nesterov else 0.25) * g
            expected = average / max(np.linalg.norm(average), 1e-6)
            np.testing.assert_allclose(u, expected, rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.9, lambda t: 0.85 + 0.05 * t])
def test_the_averages(momentum):
    """Three steps without the iteration, with and without look-ahead."""
    g = [np.asarray(gradient(step)["wide"], np.float64) for step in range(3)]
    average = beta = 0.0
    for t, x in enumerate(g):
        beta = momentum(t) if callable(momentum) else momentum
        average = beta * average + (1 - beta) * x
    for nesterov in (False, True):
        tx = direction(momentum, nesterov=nesterov, ns_coefficients=[])
        u = run(tx, params=PARAMS["wide"])[0][-1]
        expected = beta * average + (1 - beta) * g[-1] if nesterov else average
        expected = 2.5**0.5 * expected / np.linalg.norm(expected)
        np.testing.assert_allclose(u, expected, 1e-5, 1e-6)


def test_products_do_not_grow_with_the_layers():
    """The Gram matrix is of the shorter side; transposed matrices are in the stack."""
    tx, counts = direction(ns_coefficients=[SIMPLE]), {"cuda": [], "cpu": []}
    for layers in (4, 9):
        shapes = [(64, 3), (3, 64), (3, 64)] * layers
        xs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        traced = jax.jit(tx.update).trace(xs, jax.eval_shape(tx.init, xs))
        for platform, products in counts.items():
            program = traced.lower(lowering_platforms=(platform,)).as_text()
            assert f"tensor<{3 * layers}x3x64xf32>" in program
            assert "64x64" not in program
            products.append(program.count("dot_general"))
    # Three products in an iteration; a CPU has the stack in 12 pieces.
    assert counts == {"cuda": [3, 3], "cpu": [36, 36]}


def test_nothing_divides_by_nothing():
    """Zero gradients and empty batches, with any epsilon."""
    zeros = [np.zeros((2, 5), np.float32), np.zeros((0, 2, 3), np.float32)]

    def layout(path, leaf):
        return oxe.MatrixAxes(-2, -1, () if leaf.ndim == 2 else 0)

    for eps in (1e-7, 0.0):
        for options in ({"normalize": "normuon"}, {"ns_coefficients": "aol"}):
            options = {"ns_coefficients": [SIMPLE], **options}
            tx = oxe.scale_by_muon(layout=layout, eps=eps, **options)
            us = one_update(tx, zeros)
            assert [u.shape for u in us] == [(2, 5), (0, 2, 3)]
            assert all(np.all(u == 0) for u in us)


def test_a_matrix_that_is_not_finite_stays_alone():
    """In a stack, too: the others do not become NaN."""
    g = np.float32([wave((3, 4), step) for step in range(3)])
    bad = g.copy()
    bad[1, 0, 0] = np.nan
    for options in ({}, {"normalize": "normuon"}):
        tx = direction(ns_coefficients=[SIMPLE], **options)
        update = jax.jit(lambda g, tx=tx: tx.update(g, tx.init(g))[0])
        good, other = update([*g]), update([*bad])
        assert np.isnan(other[1]).all()
        for i in (0, 2):
            np.testing.assert_allclose(other[i], good[i], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("coefficients", [[SIMPLE], "aol"])
def test_derivatives_at_a_gradient_of_0(coefficients):
    """In a single row, too, and in both directions of differentiation."""
    tx = direction(normalize="normuon", ns_coefficients=coefficients)

    def size(g):
        return jnp.sum(tx.update(g, tx.init(g))[0] ** 2)

    gs = np.float32([0 * wave((2, 3)), wave((2, 3)) * [[0], [1]]])
    for derivative in (jax.jacrev, jax.jacfwd):
        assert np.isfinite(jax.jit(jax.vmap(derivative(size)))(gs)).all()


def test_half_precision():
    """Computed in float32, rounded once; tiny gradients do not vanish in float16."""
    g, tx = np.float16(1e-4 * wave((3, 5))), direction(ns_coefficients=[SIMPLE])
    u, expected = one_update(tx, g), one_update(tx, np.float32(g))
    assert u.dtype == np.float16
    np.testing.assert_array_equal(u, np.float16(expected))


def test_the_dtype_of_the_iteration():
    """An iteration in bfloat16 gives similar updates, in the leaf's dtype."""
    g = gradient(0)["wide"]
    fine = one_update(direction(), g)
    rough = one_update(direction(ns_dtype=jnp.bfloat16), g)
    assert_close(rough, fine, 0.2)
    assert not np.array_equal(rough, fine)


# ---- The scale -----------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["in_out", "out_in"])
def test_the_scales(layout):
    g = gradient(0)
    tx = functools.partial(oxe.scale_by_muon, layout=layout, ns_coefficients=[SIMPLE])
    expected = {
        "original": lambda m, n: max(1, n / m) ** 0.5,
        "spectral": lambda m, n: max(m, n) ** 0.5,
        "match_rms_adamw": lambda m, n: 0.2 * max(m, n) ** 0.5,
        "unit_rms": lambda m, n: (n / m) ** 0.5,
    }
    for scale, factor in expected.items():
        us = one_update(tx(scale=scale), g)
        for u, x in zip(jax.tree.leaves(us), jax.tree.leaves(g), strict=True):
            m, n = x.shape if layout == "in_out" else x.shape[::-1]
            bare = orthogonal(np.asarray(x, np.float64), [SIMPLE])
            np.testing.assert_allclose(u, factor(m, n) * bare, 1e-4, 1e-6)


def test_the_layouts_are_transposes_of_each_other():
    """The input of a kernel, of either library, is scaled in the same way."""
    g = {"up": np.float32(wave((4, 16))), "down": np.float32(wave((16, 4)))}
    for options in ({}, {"normalize": "normuon"}, {"scale": "unit_rms"}):
        u = one_update(muon("in_out", **options), g)
        v = one_update(muon("out_in", **options), jax.tree.map(np.transpose, g))
        assert_close(jax.tree.map(np.transpose, v), u, 1e-5)


# ---- Axes of other leaves ------------------------------------------------------------


def by_axes(**kinds):
    """A layout by the name of the leaf."""
    return lambda path, leaf: kinds.get(path)


def test_scanned_layers_are_the_loop_over_layers():
    g = np.float32(wave((3, 4, 6)))
    for options in ({"normalize": "normuon"}, {"ns_coefficients": "aol"}):
        layout = by_axes(w=oxe.MatrixAxes(inputs=1, outputs=2, batch=0))
        u = one_update(muon(layout, **options), {"w": g})
        loop = one_update(muon(**options), [*g])
        assert_close(u["w"], np.stack(loop), 1e-5)


def test_heads():
    """One matrix of all heads, flattened; or a batch of them, like each alone."""
    g = np.float32(wave((6, 2, 4)))  # (embed, heads, head_dim)
    for options in ({}, {"normalize": "normuon"}):
        merged = oxe.MatrixAxes(inputs=0, outputs=(1, 2))
        apart = oxe.MatrixAxes(inputs=0, outputs=-1, batch=1)
        txs = [muon(by_axes(q=axes), **options) for axes in (merged, apart)]
        one, many = (np.asarray(one_update(tx, {"q": g})["q"]) for tx in txs)
        leaves = [g.reshape(6, 8), g[:, 0], g[:, 1]]
        flat, *alone = one_update(muon(**options), leaves)
        assert_close(one.reshape(6, 8), flat, 1e-5)
        for head in range(2):
            assert_close(many[:, head], alone[head], 1e-5)


def test_convolutions():
    """(height, width, in, out) of Flax, (out, in, height, width) of PyTorch."""
    g = np.float32(wave((3, 3, 2, 5)))
    flax = oxe.MatrixAxes(inputs=(0, 1, 2), outputs=3)
    pytorch = oxe.MatrixAxes(inputs=(2, 3, 1), outputs=0)
    tx = muon(by_axes(flax=flax, pytorch=pytorch))
    us = one_update(tx, {"flax": g, "pytorch": g.transpose(3, 2, 0, 1)})
    u, v = map(np.asarray, us.values())
    assert_close(u.reshape(18, 5), one_update(muon(), g.reshape(18, 5)), 1e-5)
    assert_close(v.transpose(2, 3, 1, 0), u, 1e-5)


def test_a_fused_kernel_is_cut():
    """Queries of width 4 beside keys and values of width 2: as three kernels."""
    g = np.float32(wave((3, 8)))
    for options in ({}, {"normalize": "normuon"}):
        axes = oxe.MatrixAxes(inputs=0, outputs=1, split=(4, 2, 2))
        u = one_update(muon(by_axes(qkv=axes), **options), {"qkv": g})["qkv"]
        *parts, whole = one_update(muon(**options), [*np.split(g, [4, 6], 1), g])
        assert_close(u, np.concatenate(parts, 1), 1e-5)
        assert np.abs(whole - u).max() > 1e-3


def test_the_path_is_a_string():
    seen = {}

    def layout(path, leaf):
        seen[path] = leaf.shape
        return oxe.MatrixAxes(0, 1)

    tx = oxe.muon(0.1, layout=layout)
    tx.init({"block": [{"kernel": jnp.ones((2, 3))}]})
    assert seen == {"block/0/kernel": (2, 3)}


# ---- The other leaves ----------------------------------------------------------------

MODEL = {"kernel": np.ones((2, 3)), "bias": np.ones(3), "scale": np.ones(())}
MODEL = jax.tree.map(np.float32, MODEL)


def test_the_others():
    """Each leaf as if its optimizer were alone; both learning rates are read."""
    others = oxe.nadam(0.3, weight_decay=0.1)
    tx = muon(others=others, weight_decay=0.2)
    g = gradient(0, MODEL)
    u, state = first_update(tx, MODEL, g)
    kernels = [{"kernel": t["kernel"]} for t in (MODEL, g)]
    expected, _ = first_update(muon(weight_decay=0.2), *kernels)
    np.testing.assert_allclose(u["kernel"], expected["kernel"], rtol=1e-6)
    vectors = [{x: t[x] for x in ("bias", "scale")} for t in (MODEL, g)]
    expected, _ = first_update(others, *vectors)
    for name in ("bias", "scale"):
        np.testing.assert_allclose(u[name], expected[name], rtol=1e-6)
    rates = {name: round(float(x), 3) for name, x in oxe.hyperparameters(state).items()}
    assert rates == {"matrices/learning_rate": 0.1, "others/learning_rate": 0.3}
    state = oxe.set_hyperparameters(state, **{"matrices/learning_rate": 0.0})
    u, _ = jax.jit(tx.update)(g, state, {**MODEL, "kernel": 0 * MODEL["kernel"]})
    assert not u["kernel"].any()
    assert u["bias"].any()


def test_a_layout_gives_leaves_to_the_others():
    params = {"embed": jnp.ones((5, 2)), "w": jnp.ones((2, 2))}

    def layout(path, leaf):
        return None if path == "embed" else oxe.MatrixAxes(0, 1)

    tx = oxe.muon(0.1, layout=layout, others=optax.sgd(1.0))
    u, _ = first_update(tx, params, gradient(0, params))
    np.testing.assert_array_equal(u["embed"], -gradient(0, params)["embed"])


def test_a_mask_and_a_metric():
    """They reach the matrices among other leaves."""
    for mask in (
        {"kernel": True, "bias": False, "scale": False},
        lambda p: jax.tree.map(lambda x: x.ndim == 2, p),
    ):
        rate = oxe.plateau(0.1, patience=0)
        tx = oxe.muon(
            rate, layout="in_out", others=optax.sgd(1.0), weight_decay=0.5, mask=mask
        )
        state, zeros = tx.init(MODEL), jax.tree.map(np.zeros_like, MODEL)
        for value in (1.0, 1.0):
            u, state = tx.update(zeros, state, MODEL, value=value)
        np.testing.assert_allclose(u["kernel"], -0.05, rtol=1e-6)
        assert oxe.learning_rate(state) == np.float32(0.1)
        u, _ = tx.update(zeros, state, MODEL)
        np.testing.assert_allclose(u["kernel"], -0.005, rtol=1e-6)


# ---- NorMuon -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layout", ["in_out", pytest.param("out_in", marks=pytest.mark.full)]
)
def test_normuon_is_its_authors(layout):
    """Numbers that the authors' code gave in float64, on (out, in)."""
    recorded = json.loads(DATA.read_text())
    shapes = {name: tuple(map(int, name.split("x"))) for name in recorded}
    turn = np.transpose if layout == "in_out" else np.asarray
    tx = oxe.scale_by_muon(layout=layout, normalize="normuon", eps=0.0)
    with jax.enable_x64(True):
        params = {name: turn(wave(x)) for name, x in shapes.items()}
        state, update = jax.jit(tx.init)(params), jax.jit(tx.update)
        for step in range(4):
            g = {name: turn(1e4 * wave(x, step)) for name, x in shapes.items()}
            us, state = update(g, state)
            for name, u in us.items():
                expected = turn(recorded[name][step])
                np.testing.assert_allclose(u, expected, rtol=0, atol=1e-10)
    axis = 0 if layout == "in_out" else 1  # of the inputs
    for name, nu in state[1].nu.items():
        assert nu.shape[axis] == 1
        assert nu.shape[1 - axis] == params[name].shape[1 - axis]


def test_normuon_in_numpy():
    """Another decay and no look-ahead, in a batch of two: from the formula."""
    gs = [1e3 * wave((2, 3, 5), step) for step in range(4)]
    average, v, expected = np.zeros((2, 3, 5)), np.zeros((2, 1, 5)), []
    for g in gs:
        average = 0.8 * average + 0.2 * g
        o = np.stack([orthogonal(x) for x in average])
        v = 0.7 * v + 0.3 * np.mean(o**2, 1, keepdims=True)
        u = o / (np.sqrt(v) + 1e-10)
        norms = [np.linalg.norm(x, axis=(1, 2), keepdims=True) for x in (o, u)]
        expected.append((5 / 3) ** 0.5 * u * norms[0] / (norms[1] + 1e-10))
    layout = by_axes(w=oxe.MatrixAxes(1, 2, 0))
    tx = oxe.scale_by_muon(
        0.8, layout=layout, nesterov=False, normalize="normuon", b2=0.7
    )
    with jax.enable_x64(True):
        state = jax.jit(tx.init)({"w": gs[0]})
        for g, want in zip(gs, expected, strict=True):
            u, state = jax.jit(tx.update)({"w": g}, state)
            np.testing.assert_allclose(u["w"], want, rtol=0, atol=1e-10)


# ---- States, other forms, wrong arguments --------------------------------------------


def test_buffers_and_leaves_without_a_gradient():
    for options in ({}, {"normalize": "normuon"}):
        tx = oxe.muon(0.1, layout="in_out", **options)
        state = jax.eval_shape(tx.init, PARAMS)
        like = [x.shape for x in jax.tree.leaves(state) if len(x.shape) == 2]
        shapes = [x.shape for x in jax.tree.leaves(PARAMS)]
        reduced = [(1, n) for _, n in shapes] if options else []
        assert like == shapes + reduced
        grads = {**gradient(0), "wide": None}
        u, after = jax.eval_shape(tx.update, grads, state, PARAMS)
        assert u["wide"] is None
        assert jax.tree.structure(after) == jax.tree.structure(state)


def test_optax_has_another_form():
    """It has a bias correction and another scale; without both they agree."""
    wide = jnp.ones((2, 5))

    def last(tx):  # normalized: the scale differs, also between Optax releases
        u = run(tx, params=wide)[0][-1]
        return u / jnp.linalg.norm(u)

    plain = last(direction(0.95, nesterov=False))
    theirs = optax.contrib.scale_by_muon(beta=0.95, nesterov=False)
    assert_close(plain, last(theirs), 1e-3)
    ahead = last(direction(0.95))
    gap = ahead - last(optax.contrib.scale_by_muon(beta=0.95))
    assert jnp.linalg.norm(gap) > 1e-2


def test_what_is_not_a_matrix_is_refused_by_its_path():
    say = "`oxe.layouts` reads the axes"
    give = "Give `oxe.muon` an optimizer"
    for leaf, got in (
        (jnp.ones(3), rf"be a matrix without `others`, got 'float32\[3\]'. {give}"),
        (
            jnp.ones((2, 2, 2)),
            rf"with layout='in_out', got 'float32\[2, 2, 2\]'. {say}",
        ),
        (jnp.ones((2, 2), complex), r"be real, got 'complex64\[2, 2\]'"),
        (jnp.ones((0, 2)), r"at least one input and one output, got 'float32\[0, 2\]'"),
    ):
        params = {"w": jnp.ones((2, 2)), "b": leaf}
        with pytest.raises(ValueError, match=rf"^muon: `params`\['b'\] must .*{got}"):
            oxe.muon(0.1, layout="in_out").init(params)


@pytest.mark.parametrize(
    ("axes", "must"),
    [
        (3, "return an `oxe.MatrixAxes` or None for 'w', got 3"),
        ((0, 1), "return an `oxe.MatrixAxes` or None for 'w'"),
        (oxe.MatrixAxes(0, 0), "each of the 3 axes of 'w' exactly once"),
        (oxe.MatrixAxes(0, 1), "each of the 3 axes of 'w' exactly once"),
        (oxe.MatrixAxes(0, (1, -2), 2), "each of the 3 axes of 'w' exactly once"),
        (oxe.MatrixAxes(0, 1, 3), "each of the 3 axes of 'w' exactly once"),
        (oxe.MatrixAxes(0, 1, 1.0), "each of the 3 axes of 'w' exactly once"),
        (oxe.MatrixAxes(0, True, 2), "each of the 3 axes of 'w' exactly once"),
        *(
            (oxe.MatrixAxes(0, 1, 2, split=split), "adds up to the 3 outputs of 'w'")
            for split in ((2, 2), (0, 3), (1.0, 2.0), 3, None, "12")
        ),
    ],
)
def test_wrong_axes(axes, must):
    tx = oxe.muon(0.1, layout=lambda path, leaf: axes)
    with pytest.raises(
        (TypeError, ValueError), match=rf"^muon: `layout` must .*{must}"
    ):
        tx.init({"w": jnp.ones((2, 3, 4))})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "out-in"}, "`layout` must be 'in_out', 'out_in' or a function"),
        ({"layout": None}, "`layout` must be 'in_out', 'out_in' or a function"),
        ({"layout": oxe.MatrixAxes(0, 1)}, "`layout` must be 'in_out', 'out_in' or"),
        ({"ns_coefficients": "polar"}, "`ns_coefficients` must be one of 'simple'"),
        ({"ns_coefficients": SIMPLE}, r"a triple of numbers .* write `\[\(a, b, c\)\]"),
        ({"ns_coefficients": [(1, 2, 3, 4, 5)]}, "a triple of numbers for each"),
        ({"ns_coefficients": [SIMPLE, (1, 2)]}, "a triple of numbers for each"),
        ({"ns_coefficients": 5}, "a triple of numbers for each"),
        ({"ns_coefficients": [(1, 2, "c")]}, r"`ns_coefficients`\[0\] must be a real"),
        ({"scale": "rms"}, "`scale` must be one of 'original'"),
        ({"normalize": "adamuon"}, "`normalize` must be one of 'normuon'"),
        ({"b2": 1.0}, r"`b2` must be in \[0, 1\)"),
        ({"others": 0.1}, "`others` must be an optax.GradientTransformation"),
    ],
)
def test_wrong_arguments(options, said):
    with pytest.raises((TypeError, ValueError), match=f"^muon: .*{said}"):
        oxe.muon(0.1, **{"layout": "in_out", **options})


# ---- Eight devices -------------------------------------------------------------------

SHARDED = """
import json, re, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe

kind = getattr(jax.sharding.AxisType, sys.argv[1])
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
if sys.argv[1] == "Explicit":
    jax.set_mesh(mesh)

def layout(path, leaf):
    return oxe.MatrixAxes(-2, -1, 0 if leaf.ndim == 3 else ())

def layers(n):
    return {f"up {i}": (16, 64) for i in range(n)}

both = layers(2) | {"down": (64, 16)}
cases = {
    "replicated": (both, P()),
    "short side": (layers(2), P("x", None)),
    "short side, more layers": (layers(5), P("x", None)),
    "long side": (layers(2), P(None, "x")),
    "long side, more layers": (layers(5), P(None, "x")),
    "both": (both, P("x", "y")),
    "batch": ({"w": (8, 16, 64)}, P("x", None, None)),
    "batch, of four": (
        {x: (8, 16, 64) for x in ("a", "b")} | {x: (8, 16, 16) for x in ("q", "k")},
        P("x", None, None),
    ),
    "batch and outputs": ({"w": (8, 16, 64)}, P("x", None, "y")),
}
names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
report = {}
for name, (shapes, spec) in cases.items():
    for normalize in (None, "normuon"):
        tx = oxe.muon(0.1, layout=layout, normalize=normalize)
        plain = {
            key: jnp.sin(jnp.arange(np.prod(shape)) ** 1.5 + i).reshape(shape)
            for i, (key, shape) in enumerate(shapes.items())
        }
        params = jax.device_put(plain, NamedSharding(mesh, spec))
        state, alone = tx.init(params), tx.init(plain)
        step, worst = jax.jit(tx.update), 0.0
        program = step.lower(params, state, params).compile().as_text()
        for i in range(2):
            g, h = (jax.tree.map(lambda x: jnp.cos(x + i), x) for x in (params, plain))
            u, state = step(g, state, params)
            v, alone = step(h, alone, plain)
            pairs = zip(jax.tree.leaves((u, state)), jax.tree.leaves((v, alone)))
            for a, b in pairs:
                a, b = np.asarray(a), np.asarray(b)
                scale = np.abs(b).max(initial=1e-30)
                worst = max(worst, float(np.abs(a - b).max(initial=0) / scale))
        found = re.findall(rf"= .* ({names})(?:-start)?[(]", program)
        report[f"{name} {normalize or ''}".strip()] = worst, len(found)
print(json.dumps(report))
"""


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_on_eight_devices(kind):
    """The numbers of one device; devices that share no matrix do not communicate.

    If they share the long side, there is one sum for the norms and one for the Gram
    matrices of each iteration, of all layers together.
    """
    report = on_eight_devices(SHARDED, kind)
    assert max(worst for worst, _ in report.values()) <= 1e-4
    counts = {name: count for name, (_, count) in report.items()}
    for name in ("replicated", "batch", "batch, of four"):
        assert counts[name] == counts[f"{name} normuon"] == 0
    assert counts["long side"] == counts["long side, more layers"] == 6
    assert counts["short side"] == counts["short side, more layers"] == 16
