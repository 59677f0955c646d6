"""What a switch costs: time of a step and temporaries, compared with optax.adam."""

import optax

import optax_extras as oxe
from benchmarks import timing
from benchmarks.report import of_cases, of_size, table
from benchmarks.timing import Entry
from benchmarks.trees import gradients, leaves

NEVER = 10**6


def rules(when):
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), when)
    return optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(1e-3))


def transformations(when):
    return oxe.switch(optax.adam(1e-3), optax.sgd(1e-3, 0.9), when)


ADAM = Entry(optax.adam(1e-3))
CASES = {
    "optax.sgd, momentum": Entry(optax.sgd(1e-3, 0.9)),
    "rules, Adam": Entry(rules(oxe.at_step(NEVER))),
    "rules, SGD": Entry(rules(oxe.at_step(1)), warm=3),
    "swats, Adam": Entry(oxe.swats(1e-3, min_steps=NEVER)),
    "swats, SGD": Entry(oxe.swats(1e-3, min_steps=1, max_steps=1), warm=3),
    "transformations, Adam": Entry(transformations(oxe.at_step(NEVER))),
    "transformations, SGD": Entry(transformations(oxe.at_step(1)), warm=3),
}


def arguments(parser):
    of_size(parser)
    of_cases(parser, CASES)


def run(args):
    size = args.size // 10 if args.quick else args.size
    for many in args.leaves:
        params = leaves(many, max(size // many, 1))
        grads = gradients(params)
        base = timing.build("optax.adam", ADAM, params, grads)
        others = (timing.build(x, CASES[x], params, grads) for x in args.only)
        title = f"switching: {size} float32 in {many} leaves"
        yield table("switching", title, base, others, args.repeats)
