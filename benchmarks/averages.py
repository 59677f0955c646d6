"""What an average of the weights adds to optax.adam: time and bytes."""

import optax

import optax_extras as oxe
from benchmarks import timing
from benchmarks.report import of_cases, of_size, table
from benchmarks.timing import Entry
from benchmarks.trees import gradients, leaves

ADAM = optax.adam(1e-3)
EMA, POWER = oxe.averages.ema(0.999), oxe.averages.power(sigma_rel=0.1)
TWO = {"ema": EMA, "power": POWER}
CASES = {
    "ema": Entry(oxe.with_average(ADAM, EMA)),
    "power": Entry(oxe.with_average(ADAM, POWER)),
    "ema in bfloat16": Entry(oxe.with_average(ADAM, EMA, dtype="bfloat16")),
    "two": Entry(oxe.with_average(ADAM, TWO)),
    "ema, overwriting": Entry(oxe.with_average(ADAM, EMA, overwrite_every=100)),
}


def arguments(parser):
    of_size(parser)
    of_cases(parser, CASES)


def run(args):
    size = args.size // 10 if args.quick else args.size
    for count in args.leaves:
        params = leaves(count, max(size // count, 1))
        grads = gradients(params)
        base = timing.build("optax.adam", Entry(ADAM), params, grads)
        others = (timing.build(x, CASES[x], params, grads) for x in args.only)
        title = f"averages: {size} float32 in {count} leaves"
        yield table("averages", title, base, others, args.repeats)
