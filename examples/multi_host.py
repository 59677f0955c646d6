"""Digits on several processes: batches and optimizer state are sharded.

Alone it starts two processes on this machine. On a cluster, start one on each host:

python examples/multi_host.py --coordinator HOST:PORT --processes 8 --process 0..7

Every process reads its own part of each batch. The weights are replicated over the
devices. The optimizer's state is sharded (ZeRO-1), which `out_shardings` alone
specifies; with --split-weights the weights are sharded likewise. A decision such as the
switch of SWATS depends on sums over all devices, so it is the same on each. Started
again with the same --folder, a run continues from its last checkpoint, with the same
losses as if it had not stopped.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec as P

import optax_extras as oxe

BATCH = 64


def new_params():
    keys = jax.random.split(jax.random.key(0))
    return {
        "hidden": jax.random.normal(keys[0], (64, 32)) / 8,
        "bias": jnp.zeros(32),
        "logits": jax.random.normal(keys[1], (32, 10)) / 6,
    }


def loss_of(params, images, labels):
    hidden = jax.nn.relu(images @ params["hidden"] + params["bias"])
    logits = hidden @ params["logits"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def my_part(steps):
    """This process's rows of every batch, which depend on the step alone."""
    task = oxe.lab.digits()
    size = BATCH // jax.process_count()
    for step in range(steps):
        draw = np.random.default_rng(step)
        rows = draw.choice(len(task.images), BATCH, replace=False)
        mine = rows[jax.process_index() * size :][:size]
        yield task.images[mine], task.labels[mine]


def train(args):
    auto = (jax.sharding.AxisType.Auto,)  # the compiler chooses the other shardings
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=auto)
    replicated, sharded = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    def sharding_of(x):
        """The rows of a leaf over all devices, if they divide evenly."""
        even = x.ndim and x.shape[0] % mesh.size == 0
        return sharded if even else replicated

    tx = oxe.swats(3e-3, min_steps=100, tolerance=1e-2)
    weights = jax.tree.map(
        sharding_of if args.split_weights else lambda x: replicated,
        jax.eval_shape(new_params),
    )
    params = jax.jit(new_params, out_shardings=weights)()
    shardings = jax.tree.map(sharding_of, jax.eval_shape(tx.init, params))
    state = jax.jit(tx.init, out_shardings=shardings)(params)

    def update(params, state, batch):
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    step = jax.jit(
        update, out_shardings=(weights, shardings, replicated), donate_argnums=(0, 1)
    )
    with ocp.CheckpointManager(args.folder.resolve()) as checkpoints:
        first = checkpoints.latest_step() or 0
        losses = np.zeros(max(first, args.steps), np.float32)
        if first:
            like = {"params": params, "state": state, "losses": losses[:first]}
            found = checkpoints.restore(first, args=ocp.args.StandardRestore(like))
            params, state = found["params"], found["state"]
            losses[:first] = found["losses"]
        for number, part in enumerate(my_part(args.steps)):
            if number < first:
                continue
            batch = jax.tree.map(
                lambda x: jax.make_array_from_process_local_data(sharded, x), part
            )
            params, state, loss = step(params, state, batch)
            losses[number] = loss
            if (number + 1) % args.every == 0:
                done = losses[: number + 1]
                now = {"params": params, "state": state, "losses": done}
                checkpoints.save(number + 1, args=ocp.args.StandardSave(now))
                checkpoints.wait_until_finished()
    if jax.process_index() == 0:
        report(args, first, losses, state)


def report(args, first, losses, state):
    arrays = [x for x in jax.tree.leaves(state) if x.ndim]
    mine = sum(x.addressable_shards[0].data.size for x in arrays)
    switch_step = int(optax.tree.get(state, "switch_step"))
    print(f"{args.steps} steps, from step {first}, {jax.process_count()} processes")
    print(f"a device holds {mine} of the state's {sum(x.size for x in arrays)} numbers")
    for number in range(args.every - 1, args.steps, args.every):
        print(f"step {number + 1:4}   loss {losses[number]:.9g}")
    rate = oxe.learning_rate(state)
    if switch_step < 0:
        print(f"Adam at {rate:.9g}, no switch so far")
    else:
        print(f"Adam until step {switch_step}, then SGD at {rate:.9g}")


def start_here(args):
    """Starts processes on this machine, which communicate as hosts would."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--coordinator", f"localhost:{port}"]
    command += ["--processes", str(args.processes), "--folder", str(args.folder)]
    command += ["--steps", str(args.steps), "--every", str(args.every)]
    command += ["--split-weights"] * args.split_weights
    started = [
        subprocess.Popen([*command, "--process", str(i)]) for i in range(args.processes)
    ]
    if any(list(map(subprocess.Popen.wait, started))):
        raise SystemExit("a process failed")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coordinator", help="where process 0 listens, HOST:PORT")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--process", type=int, help="which one this is, from 0")
    parser.add_argument("--folder", type=Path, help="of the checkpoints")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=100, help="steps to a checkpoint")
    parser.add_argument(
        "--split-weights", action="store_true", help="shard the weights too"
    )
    args = parser.parse_args()
    for name in ("processes", "steps", "every"):
        if (given := getattr(args, name)) < 1:
            parser.error(f"--{name} must be at least 1, got {given}")
    if BATCH % args.processes:
        parser.error(f"--processes must divide {BATCH}, got {args.processes}")
    if args.coordinator is None:
        with tempfile.TemporaryDirectory() as folder:
            args.folder = args.folder or Path(folder)
            start_here(args)
        return
    if args.folder is None or args.process is None:
        parser.error(
            "--folder, on a disk that all hosts share, and --process are needed"
        )
    if args.processes > 1:
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    train(args)


if __name__ == "__main__":
    main()
