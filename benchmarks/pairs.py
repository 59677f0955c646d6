"""Each optimizer, Optax's nearest, and PyTorch's where it has one."""

import optax

import optax_extras as oxe

RATE = 1e-3
pt = oxe.pytorch

# Ours; Optax's nearest with as many buffers; PyTorch's class and its options.
PAIRS = {
    "adam": (lambda: oxe.adam(RATE), lambda: optax.adam(RATE), ("Adam", {})),
    "radam": (lambda: pt.RAdam(RATE), lambda: optax.radam(RATE), ("RAdam", {})),
    "momentum": (
        lambda: oxe.sgd(RATE, 0.9),
        lambda: optax.sgd(RATE, 0.9),
        ("SGD", {"momentum": 0.9}),
    ),
    "heavy_ball": (lambda: oxe.heavy_ball(RATE), lambda: optax.sgd(RATE, 0.9), None),
    "adagrad": (
        lambda: oxe.adagrad(RATE),
        lambda: optax.adagrad(RATE),
        ("Adagrad", {}),
    ),
    "rmsprop": (
        lambda: oxe.rmsprop(RATE),
        lambda: optax.rmsprop(RATE, 0.99),
        ("RMSprop", {}),
    ),
    "adamw": (lambda: oxe.adamw(RATE), lambda: optax.adamw(RATE), ("AdamW", {})),
    "nadam": (lambda: oxe.nadam(RATE), lambda: optax.nadam(RATE), ("NAdam", {})),
    "amsgrad": (
        lambda: oxe.amsgrad(RATE),
        lambda: optax.amsgrad(RATE),
        ("Adam", {"amsgrad": True}),
    ),
    "adamax": (lambda: oxe.adamax(RATE), lambda: optax.adamax(RATE), ("Adamax", {})),
    "adadelta": (
        lambda: oxe.adadelta(RATE),
        lambda: optax.adadelta(RATE),
        ("Adadelta", {}),
    ),
    "rprop": (lambda: oxe.rprop(RATE), lambda: optax.rprop(RATE), ("Rprop", {})),
    "lion": (lambda: oxe.lion(RATE), lambda: optax.lion(RATE), None),
    # Optax has none of the next three: compared with optimizers of the same buffers.
    "asgd": (lambda: oxe.asgd(RATE), lambda: optax.sgd(RATE, 0.9), ("ASGD", {})),
    "adabound": (lambda: oxe.adabound(RATE), lambda: optax.adam(RATE), None),
    "amsbound": (lambda: oxe.amsbound(RATE), lambda: optax.amsgrad(RATE), None),
    "adafactor": (
        lambda: oxe.adafactor(RATE),
        lambda: optax.adafactor(RATE),
        ("Adafactor", {}),
    ),
}
# Optimizers that are not in PAIRS, and why.
ELSEWHERE = {
    "ftrl": "reads the weights, as none of Optax does elementwise",
    "sgd": "is `momentum` here",
    "swats": "is measured in the part `switching`",
    "muon": "takes matrices only, and spends its time in their products",
}
