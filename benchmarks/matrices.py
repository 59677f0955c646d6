"""Muon beside Optax's on the matrices of a transformer; and an iteration not taken.

The second table iterates on the Gram matrix alone, X X^T, and multiplies by X once at
the end, which is less arithmetic for wide matrices. Its errors are why `oxe.muon` does
not: those of the steps, relative to float64, for singular values from 1 down.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from benchmarks import timing
from benchmarks.report import positive, table
from benchmarks.timing import Entry
from benchmarks.trees import gradients

TREES = {"12 layers, d = 128": (12, 128), "24 layers, d = 64": (24, 64)}
CASES = {
    "oxe.muon": {},
    "with others": {"others": optax.adam(1e-3)},
    "normuon": {"normalize": "normuon"},
}
TRIPLE = (3.4445, -4.7750, 2.0315)


def arguments(parser):
    number = {"type": positive, "metavar": "N", "default": 20}
    parser.add_argument("--pairs", help="steps of each; default 20", **number)


def layers(count, d):
    """Six matrices in each layer, and noise in place of zeros."""
    layer = dict.fromkeys(("query", "key", "value", "out"), (d, d))
    shapes = {**layer, "up": (d, 4 * d), "down": (4 * d, d)}
    return {
        f"layer{i}": {name: jnp.full(shape, 0.1) for name, shape in shapes.items()}
        for i in range(count)
    }


def run(args):
    for title, (count, d) in TREES.items():
        params = layers(count // 6 if args.quick else count, d)
        grads = gradients(params)
        entry = Entry(optax.contrib.muon(1e-3))
        base = timing.build("optax.contrib.muon", entry, params, grads)
        others = [
            timing.build(
                name, Entry(oxe.muon(1e-3, layout="in_out", **options)), params, grads
            )
            for name, options in CASES.items()
        ]
        yield table("matrices", title, base, others, args.repeats, args.pairs)
    yield of_gram(args)


def plain(x):
    a, b, c = TRIPLE
    x = x / jnp.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def on_gram(x):
    a, b, c = TRIPLE
    x = x / jnp.linalg.norm(x)
    one = jnp.eye(len(x), dtype=x.dtype)
    gram, product = x @ x.T, one
    for _ in range(5):
        factor = a * one + b * gram + c * gram @ gram
        product, gram = factor @ product, factor @ gram @ factor
    return product @ x


def of_gram(args):
    """Times of 24 matrices one by one, and errors for several condition numbers."""
    print(f"\n{'m, n':>10}{'times faster':>14}")
    records = []
    for m, n in ((128, 256), (128, 512), (64, 256)):
        x = jax.random.normal(jax.random.key(0), (4 if args.quick else 24, m, n))
        programs = [jax.jit(lambda x, f=f: jax.lax.map(f, x)) for f in (plain, on_gram)]
        calls = [lambda p=p, x=x: p(x) for p in programs]
        timing.seconds(calls, 2)
        one, other = np.median(timing.seconds(calls, args.pairs), axis=0)
        print(f"{m:5},{n:4}{one / other:14.2f}")
        records.append({"part": "matrices", "name": f"gram {m} {n}", "x": one / other})
    print(f"\n{'values':>14}{'dtype':>10}{'plain':>10}{'on Gram':>10}")
    draw = np.random.default_rng(0).normal(size=(128, 512))
    u, _, v = np.linalg.svd(draw, full_matrices=False)
    for decades in (0, 2, 4):
        x = u * np.logspace(-decades, 0, 128) @ v
        with jax.enable_x64(True):
            exact = np.asarray(plain(jnp.asarray(x)))
        for dtype in ("float32", "bfloat16"):
            errors = [
                np.linalg.norm(np.asarray(f(jnp.asarray(x, dtype)), float) - exact)
                / np.linalg.norm(exact)
                for f in (plain, on_gram)
            ]
            cells = "".join(f"{error:10.1e}" for error in errors)
            print(f"1 to 1e-{decades}".rjust(14) + dtype.rjust(10) + cells)
            name = f"gram {decades} {dtype}"
            records.append({"part": "matrices", "name": name, "errors": errors})
    return records
