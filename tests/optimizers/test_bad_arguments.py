"""Arguments that the optimizers refuse, and the function that the errors name."""

import numpy as np
import pytest

import optax_extras as oxe

# For each optimizer a value per argument that is refused.
WRONG = {
    "adabound": {"final_rate": -1.0, "gamma": -1.0, "b2": 1.0, "paper": 1},
    "amsbound": {"final_rate": -1.0, "gamma": -1.0, "b2": 1.0, "paper": 1},
    "adadelta": {"rho": 1.1, "eps": -1e-8},
    "adafactor": {
        "decay_rate": -0.8, "eps": -1e-8, "min_scale": -1.0, "clipping_threshold": 0.5,
    },
    "adagrad": {"eps": np.inf, "lr_decay": -0.1, "initial_accumulator_value": -0.1},
    "adamax": {"b1": 1.0, "b2": -0.1, "eps": -1e-8, "eps_in_maximum": 1},
    "amsgrad": {
        "b1": 1.0, "b2": -0.1, "eps": -1e-8, "bias_correction": 1, "eps_hat": None,
    },
    "asgd": {"decay": -0.1, "power": -1, "start": -5},
    "ftrl": {
        "beta": -0.1, "l1": -0.1, "l2": np.inf, "power": -0.5, "from_sums": 1,
        "initial_accumulator_value": -0.1, "l2_shrinkage": -0.1,
    },
    "heavy_ball": {"momentum": 1.0, "nesterov": 1},
    "lion": {"b1": 1.1, "b2": 1.0},
    "muon": {
        "momentum": 1.0, "eps": -1e-8, "b2": 1.0, "scale": "best", "nesterov": 1,
        "ns_coefficients": [(1.0, 2.0)], "normalize": "adamuon", "layout": "out",
    },
    "nadam": {"b1": 1.0, "b2": -0.1, "eps": -1e-8, "momentum_decay": np.inf},
    "rmsprop": {
        "decay": 1.0, "eps": -1e-8, "initial": "first", "centered": 1,
        "eps_in_root": None, "momentum": 1.0,
    },
    "rprop": {
        "eta_minus": 1.0, "eta_plus": 1.0, "min_step_size": -1e-6, "max_step_size": 0.0,
    },
}  # fmt: skip
# Values of a wrong type.
WRONG_KINDS = {
    "adadelta": {"rho": None},
    "adafactor": {"clipping_threshold": None},
    "adagrad": {"eps": None, "lr_decay": "0", "learning_rate": None},
    "adamax": {"eps": None},
    "amsgrad": {"b2": "0.9"},
    "asgd": {"start": None},
    "heavy_ball": {"momentum": lambda t: 0.9, "learning_rate": "0.1"},
    "muon": {"b2": None, "ns_coefficients": 5, "others": 0.1},
    "nadam": {"momentum_decay": None},
    "rmsprop": {"momentum": False, "eps": "1"},
    "rprop": {"eta_plus": None},
}


# Instead of a bool these raise a TypeError.
KINDS = {"1": TypeError, "None": TypeError}


def refuses(name, factory, error, argument, got):
    with pytest.raises(error, match=f"^{name}: `{argument}` must .*got "):
        factory(**{argument: got})


def test_wrong_arguments():
    for name, cases in WRONG.items():

        def make(name=name, **kw):
            layout = {"layout": "in_out"} if name == "muon" else {}
            return getattr(oxe, name)(**{"learning_rate": 0.1, **layout, **kw})

        common = {"learning_rate": -0.1}
        if name not in ("rprop", "ftrl"):  # asgd's `decay` is its weight decay
            common |= {} if name == "asgd" else {"weight_decay": -0.1}
        for argument, got in {**common, **cases}.items():
            refuses(name, make, KINDS.get(repr(got), ValueError), argument, got)
        for argument, got in WRONG_KINDS.get(name, {}).items():
            refuses(name, make, TypeError, argument, got)


def test_wrong_arguments_of_directions():
    """The error names the direction, not the optimizer."""
    for name, argument, got in [
        ("adagrad", "eps", -1.0), ("nadam", "momentum_decay", -1.0),
        ("rmsprop", "momentum", 1.0), ("rmsprop", "initial", "first"),
    ]:  # fmt: skip
        make = getattr(oxe, f"scale_by_{name}")
        refuses(f"scale_by_{name}", make, ValueError, argument, got)
    refuses("scale_by_amsgrad", oxe.scale_by_amsgrad, TypeError, "eps_hat", 1)


def test_options_are_keywords():
    for make, values in (
        (oxe.rmsprop, (0.1, 0.99, 1e-8, "zero")),
        (oxe.heavy_ball, (0.1, 0.9, True)),
    ):
        with pytest.raises(TypeError, match="positional"):
            make(*values)
