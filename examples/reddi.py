"""Adam that does not converge, and AMSGrad that does: the examples of Reddi et al.

python examples/reddi.py [--steps N] [--stochastic-steps N] [--seeds N] [--out DIR]

A point in [-1, 1] is pulled hard to the left once in a while, and a little to the right
in between. On average -1 is best. Adam divides the hard pull by the root of its own
square, and has forgotten that square before the next hard pull: it goes to the worst
point, 1.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import optax_extras as oxe

STYLES = {"Adam": ("#D55E00", "--"), "AMSGrad": ("#000000", "-")}


def over_root(rate):
    return lambda count: rate / jnp.sqrt(count + 1.0)


def optimizers(rate, b1, b2):
    schedule = over_root(rate)
    return {
        "Adam": optax.adam(schedule, b1, b2, eps=1e-30),
        "AMSGrad": oxe.amsgrad(schedule, b1, b2, eps=0.0),
    }


def walk(problem, txs, steps, keys):
    """The steps, about 1000, and for each optimizer the points there, by seed."""
    shown = np.unique(np.geomspace(1, steps, 1000).astype(int))

    def run(tx, key):
        return oxe.lab.minimize(problem, problem.start, tx, steps, key=key).params[
            shown
        ]

    rows = {
        name: jax.jit(jax.vmap(lambda key, tx=tx: run(tx, key)))(keys)
        for name, tx in txs.items()
    }
    return shown, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).parent / "out"
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--stochastic-steps", type=int, default=3_000_000)
    parser.add_argument("--seeds", type=int, default=4, help="of the stochastic losses")
    parser.add_argument("--out", type=Path, default=out, help="where the figure goes")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)

    problems, b2 = oxe.lab.problems, 1 / (1 + 3**2)
    keys = jax.random.split(jax.random.key(0), asked.seeds)
    # The first has the b2 and learning rate of theorem 1. Section 5 of the paper leaves
    # its learning rate open.
    cases = {
        "theorem 1: 3x, -x, -x": (
            problems.reddi_theorem,
            optimizers(0.9 * np.sqrt(1 - b2), 0.0, b2),
            asked.steps,
            keys[:1],
        ),
        "online: 1010x once in 101, else -10x": (
            problems.reddi_online,
            optimizers(0.5, 0.9, 0.99),
            asked.steps,
            keys[:1],
        ),
        "stochastic: 1010x with chance 0.01": (
            problems.reddi_stochastic,
            optimizers(1.0, 0.9, 0.99),
            asked.stochastic_steps,
            keys,
        ),
    }
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    print(f"{'':38}{'steps':>9}  {'':9}expected  measured")
    for ax, (title, case) in zip(panels, cases.items(), strict=True):
        shown, rows = walk(*case)
        for name, row in rows.items():
            expected = 1 if name == "Adam" else -1
            # With noise: the mean over the seeds and the last third.
            end = (
                row[:, shown > shown[-1] * 2 / 3].mean() if len(row) > 1 else row[0, -1]
            )
            print(f"{title:38}{case[2]:9}  {name:9}{expected:8}{end:10.4f}")
            color, dashes = STYLES[name]
            for one in row:
                ax.plot(shown, one, color=color, ls=dashes, lw=1, label=name)
        ax.set(title=title, xscale="log", xlabel="update", ylim=(-1.1, 1.1))
    panels[0].set_ylabel("x")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    figure.savefig(asked.out / "reddi.png", dpi=120)
    print(f"drawn: {asked.out / 'reddi.png'}")


if __name__ == "__main__":
    main()
