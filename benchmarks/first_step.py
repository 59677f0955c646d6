"""How long until the first step: making, init, trace, lower and compile, in seconds.

Builds of all optimizers of a table alternate, each with functions of its own so that
nothing is cached; the table shows medians. `x base` compares trace, lower and compile
with the first line, step compares steps. `import` is that of the package after Optax,
in processes of its own.
"""

import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from benchmarks import timing
from benchmarks.report import positive
from benchmarks.timing import Entry

RATE = 1e-3
PHASES = ("make", "init", "trace", "lower", "compile")
NEAREST = {
    "adamw": (lambda: optax.adamw(RATE), lambda: oxe.adamw(RATE)),
    "nadam": (lambda: optax.nadam(RATE), lambda: oxe.nadam(RATE)),
    "radam": (lambda: optax.radam(RATE), lambda: oxe.pytorch.RAdam(RATE)),
    "sgd": (lambda: optax.sgd(RATE, 0.9), lambda: oxe.sgd(RATE, 0.9)),
    "amsgrad": (lambda: optax.amsgrad(RATE), lambda: oxe.amsgrad(RATE)),
    "rmsprop": (
        lambda: optax.rmsprop(RATE, eps_in_sqrt=False),
        lambda: oxe.rmsprop(RATE),
    ),
    "adagrad": (lambda: optax.adagrad(RATE), lambda: oxe.adagrad(RATE)),
}
IMPORT = """
import time, optax
start = time.perf_counter()
import optax_extras
print(time.perf_counter() - start)
"""


def arguments(parser):
    number = {"type": positive, "metavar": "N"}
    add = parser.add_argument
    add("--leaves", nargs="+", default=[72, 300, 1000], help="numbers", **number)
    add("--builds", default=5, help="builds of each; default 5", **number)


def layers(count, d=64):
    """About so many leaves: 6 matrices and 6 vectors in each layer."""
    shapes = {**dict.fromkeys("qkvo", (d, d)), "up": (d, 4 * d), "down": (4 * d, d)}
    shapes |= {f"bias{i}": (d,) for i in range(6)}
    return {
        f"layer_{i}": {name: jnp.full(shape, 0.1) for name, shape in shapes.items()}
        for i in range(count // 12)
    }


def by_layer(count, parts):
    """A multiple of the learning rate for each layer, or for two parts of it."""
    values = {}
    for i in range(count):
        if parts == 2:
            values[f"layer_{i}/bias.*"] = 0.5 * 0.9**i
        values[f"layer_{i}/.*"] = 0.9**i
    return oxe.by_path(values, times=RATE)


def run(args):
    print(f"import after optax: {imported():.3f} s")
    for count in [24] if args.quick else args.leaves:
        params = layers(count)
        for name, pair in NEAREST.items():
            cases = dict(zip((f"optax.{name}", f"oxe.{name}"), pair, strict=True))
            yield of_builds(args, params, cases)
    params = layers(24 if args.quick else 288)
    count = len(params)
    decay = oxe.by_path({".*bias.*": 0.0}, 0.1)
    b2 = oxe.by_path({f"layer_{i}/.*": 0.9 + 0.003 * i for i in range(count)})
    cases = {
        "adamw": lambda: oxe.adamw(RATE),
        f"{count} rates": lambda: oxe.adamw(by_layer(count, 1)),
        f"{2 * count} rates": lambda: oxe.adamw(by_layer(count, 2)),
        "and decays": lambda: oxe.adamw(by_layer(count, 2), weight_decay=decay),
        f"{count} b2": lambda: oxe.adamw(RATE, b2=b2),
    }
    yield of_builds(args, params, cases, steps=True)
    for count in [24] if args.quick else [72, 144]:
        cases = {
            "swats": lambda: oxe.swats(RATE),
            "swats, per_leaf": lambda: oxe.swats(RATE, per_leaf=True),
        }
        yield of_builds(args, layers(count), cases, steps=True)


def imported():
    """The median of some processes that find compiled bytecode."""
    env = {x: y for x, y in os.environ.items() if x != "PYTHONDONTWRITEBYTECODE"}
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", IMPORT], capture_output=True, env=env
            ).stdout
        )
        for _ in range(5)
    ]
    return np.median(times)


def build(make, params):
    """The seconds of every phase."""
    times = [time.perf_counter()]

    def lap(x):
        times.append(time.perf_counter())
        return x

    tx = lap(make())
    state = lap(jax.block_until_ready(tx.init(params)))

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    traced = lap(jax.jit(step, donate_argnums=(0, 1)).trace(params, state, params))
    lap(lap(traced.lower()).compile())
    return np.diff(times)


def of_builds(args, params, cases, steps=False):
    builds = 1 if args.quick else 1 + args.builds
    rows = [[build(make, params) for make in cases.values()] for _ in range(builds)]
    found = np.array(rows[-args.builds :])  # without the first, when all is new
    medians = np.median(found, axis=0)
    sums = found[:, :, 2:].sum(-1)
    leaves = len(jax.tree.leaves(params))
    title = f"{leaves} leaves"
    print(
        f"\n{title:24}" + "".join(f"{x:>9}" for x in PHASES) + f"{'x base':>9}    step"
    )
    records = []
    for i, name in enumerate(cases):
        ratio = np.median(sums[:, i] / sums[:, 0])
        record = {"part": "first_step", "title": title, "name": name, "x_base": ratio}
        record |= dict(zip(PHASES, map(float, medians[i]), strict=True))
        cells = "".join(f"{x:9.3f}" for x in medians[i]) + f"{ratio:9.2f}"
        if steps:
            both = [
                (x, Entry(cases[x]()), params, params)
                for x in (next(iter(cases)), name)
            ]
            x = timing.against(*timing.build_both(*both), args.repeats, 20)
            record["step"] = x.ratio
            cells += f"{x.ratio:8.3f}"
        print(f"{name:24}{cells}", flush=True)
        records.append(record)
    return records
