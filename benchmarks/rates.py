"""What a metric schedule adds to optax.adam: time and state."""

import optax

import optax_extras as oxe
from benchmarks import timing
from benchmarks.report import of_cases, of_size, table
from benchmarks.timing import Entry
from benchmarks.trees import gradients, leaves

RATE = 1e-3


def rate():
    return oxe.plateau(RATE, patience=1000)


def direction(last):
    return optax.chain(optax.scale_by_adam(), last)


PLAIN = Entry(optax.adam(RATE))
CASES = {
    "scale_by_rate, number": Entry(direction(oxe.scale_by_rate(RATE))),
    "scale_by_rate, plateau": Entry(
        direction(oxe.scale_by_rate(rate())), takes_metric=True
    ),
    "scale_by_rate, greedy": Entry(
        direction(oxe.scale_by_rate(oxe.greedy(RATE))), takes_metric=True
    ),
    "scale_by_metric": Entry(
        optax.chain(optax.adam(RATE), oxe.scale_by_metric(oxe.plateau(1.0))),
        takes_metric=True,
    ),
    "scheduled": Entry(
        oxe.scheduled(optax.adam)(rate(), b1=0.9, b2=0.999), takes_metric=True
    ),
    "inject_hyperparams": Entry(
        optax.inject_hyperparams(optax.adam)(rate()), takes_metric=True
    ),
    "accumulate, every=4": Entry(
        oxe.accumulate(optax.adam(RATE), 4), takes_metric=True
    ),
    "MultiSteps, every=4": Entry(
        optax.MultiSteps(optax.adam(RATE), 4).gradient_transformation()
    ),
}


def arguments(parser):
    of_size(parser, in_leaves=False)
    of_cases(parser, CASES)


def run(args):
    size = args.size // 10 if args.quick else args.size
    params = leaves(1, size)
    grads = gradients(params)
    base = timing.build("optax.adam", PLAIN, params, grads)
    others = (timing.build(x, CASES[x], params, grads) for x in args.only)
    # Twelve pairs, so that `every=4` makes three updates in them.
    yield table("rates", f"rates: {size} float32", base, others, args.repeats, pairs=12)
