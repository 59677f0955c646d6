"""`oxe.stacked` on many small leaves: time of compilation and of a step.

Compilations alternate too, so that their ratios are comparable.
"""

import numpy as np
import optax

import optax_extras as oxe
from benchmarks import timing
from benchmarks.report import positive, table
from benchmarks.timing import Entry
from benchmarks.trees import gradients, leaves

RATE = 1e-3


def arguments(parser):
    number = {"type": positive, "metavar": "N"}
    add = parser.add_argument
    add("--leaves", help="number of leaves; default 1000, with --quick 100", **number)
    add("--sizes", nargs="+", default=[32], help="elements of a leaf", **number)
    add("--groups", nargs="+", default=[8, 16, 32], help="`group` of stacked", **number)
    add("--builds", help="compilations of each; default 3, --quick 1", **number)


def run(args):
    many = args.leaves or (100 if args.quick else 1000)
    for size in args.sizes:
        params = leaves(many, size)
        entries = {"optax.adamw": optax.adamw(RATE)}
        for group in args.groups:
            tx = oxe.stacked(optax.adamw(RATE), group=group, max_size=size)
            entries[f"stacked, groups of {group}"] = tx
        entries["oxe.nadam"] = oxe.nadam(RATE, weight_decay=1e-4)
        ours = oxe.stacked(entries["oxe.nadam"], max_size=size)
        entries["stacked oxe.nadam, of 32"] = ours
        if many <= 1000:
            entries["flatten"] = optax.flatten(optax.adamw(RATE))
        yield of_builds(args, f"{many} leaves of {size} float32", entries, params)


def of_builds(args, title, entries, params):
    grads = gradients(params)
    builds = []
    for _ in range(args.builds or (1 if args.quick else 3)):
        programs = [
            timing.build(name, Entry(tx), params, grads) for name, tx in entries.items()
        ]
        builds.append([p.facts["trace_s"] + p.facts["compile_s"] for p in programs])
    base, *others = programs
    records = table("small_leaves", title, base, others, args.repeats, pairs=30)
    times = np.array(builds)
    ratios = times[:, :1] / times
    print(f"\n{'':28}{'trace and compile, s':>22}{'times faster':>14}")
    for i, name in enumerate(entries):
        low, middle, high = np.quantile(ratios[:, i], [0, 0.5, 1])
        took = np.median(times[:, i])
        print(f"{name:28}{took:22.2f}{middle:14.2f}  ({low:.2f}-{high:.2f})")
        records[i] |= {"build_s": took, "build_times_faster": middle}
        records[i] |= {"build_low": low, "build_high": high}
    print(f"\n{'':28}{'steps per step of the first':>30}")
    for record in records:
        print(f"{record['name']:28}{1 / record['ratio']:30.2f}")
    return records
