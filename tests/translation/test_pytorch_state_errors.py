"""Wrong arguments of `load_state_dict` and `state_dict`: named, with their values."""

import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
runs = pytest.importorskip("tests.translation.torch_runs")
load, AdamW = oxe.pytorch.load_state_dict, oxe.pytorch.AdamW
FIRST, ROWS, OPTIONS = runs.FIRST, runs.ROWS, runs.OPTIONS

# The change of the `state_dict` or an argument, and what the message has.
CHANGES = {
    "optimizer": (lambda x: [1], "`state_dict` must be a dict, got [1] of type list"),
    "model": (
        lambda x: torch.nn.Linear(2, 3).state_dict(),
        "must have the keys 'state' and 'param_groups', got ['weight', 'bias']",
    ),
    "no groups": (lambda x: {**x, "param_groups": []}, "as many parameters as"),
    "groups": (lambda x: {**x, "param_groups": None}, "['param_groups'] must be a li"),
    "group": (lambda x: {**x, "param_groups": ["a"]}, "[0] must be a dict, got 'a'"),
    "state": (lambda x: {**x, "state": []}, "`state_dict`['state'] must be a dict"),
    "entry": (lambda x: {**x, "state": {0: 3}}, "['state'][0] must be a dict, got 3"),
    "extra": (
        lambda x: {**x, "state": {**x["state"], 7: x["state"][0]}},
        "only parameters that are in a group, got 'the state of 7'",
    ),
}
OF_GROUP = {
    "params": "must have the keys 'params' and 'lr'",
    "lr": "must have the keys 'params' and 'lr'",
    "betas": "must have 'betas' in each group",
    "amsgrad": "`state_dict` must be of AdamW, as `tx` is, got 'RAdam'",
}
OF_ENTRY = {
    "nan": ({"step": float("nan")}, "whole number as the `step` of 'bias', got nan"),
    "negative": ({"step": -3}, "whole number as the `step` of 'bias', got -3.0"),
    "shape": ({"exp_avg": np.ones(4)}, "must have the shape (3,) of [0].mu, got (4,)"),
    "broadcast": ({"exp_avg": np.ones(1)}, "shape (3,) of [0].mu, got (1,)"),
}
ARGUMENTS = {
    "order": [
        (["kernel", "bias", "square"], "shape (3,) of [0].mu, got (2, 3)"),
        (["kernel", "bias"], "as many parameters as `order`, or else `params`: 2"),
        (["kernel", "bias", "x"], "`order` must have paths of `params`, such as"),
        (["kernel", "bias", "bias"], "`order` must have each path once, got 'bias'"),
        (3, "`order` must be a list of paths, or a dict of them, got 3 of type int"),
        ("kernel", "`order` must be a list of paths"),
        ([0, 1, 2], "`order` must have paths, or a list for each group, got 0"),
        ({0: "bias", 1: "kernel", 5: "square"}, "`order` must have the parameter 2"),
        ({"a": "bias"}, "indices as keys if the `state_dict` has no `param_names`"),
        ([["bias"], ["kernel", "square"]], "groups of [3] params"),
    ],
    "count": [
        (3, "`count` must be the `step` of the `state_dict`, 10, got 3"),
        (-1, "`count` must be an integer of at least 0, got -1"),
    ],
    "transpose": [
        (True, "`transpose` must be callable, got True"),
        (lambda path, x: x.T, "shape (2, 3) of [0].mu, got (3, 2)"),
    ],
    "gradients": [
        ({"a": 1}, "`gradients` must have the params' tree structure"),
        (
            {path: np.ones(7) for path in FIRST},
            "`gradients` must have the params' shapes: (3,), got (7,)",
        ),
    ],
    "strict": [(1, "`strict` must be a bool, got 1")],
    "tx": [(3, "`tx` must be an optax.GradientTransformation, got 3")],
    "params": [
        (None, "`params` must have an array of floats, got None"),
        (
            {"a": np.ones(1)},
            "as many parameters as `order`, or else `params`: 1, got 3",
        ),
    ],
}


@runs.in_float64
def test_bad_arguments_of_load_state_dict():
    weights, saved, _ = runs.stopped()
    cases = [({"state_dict": f(saved)}, says) for f, says in CHANGES.values()]
    for option, says in OF_GROUP.items():
        edit = runs.changed(saved, lambda x, o=option: x["param_groups"][0].pop(o))
        cases.append(({"state_dict": edit}, says))
    for values, says in OF_ENTRY.values():
        edit = runs.changed(saved, lambda x, v=values: x["state"][0].update(v))
        cases.append(({"state_dict": edit}, says))
    cases += [
        ({name: value}, says)
        for name, pairs in ARGUMENTS.items()
        for value, says in pairs
    ]
    for given, says in cases:
        arguments = {"tx": AdamW(**OPTIONS), "state_dict": saved, "params": weights}
        with pytest.raises((TypeError, ValueError)) as caught:
            load(**{**arguments, **given})
        assert str(caught.value).startswith("load_state_dict: `")
        assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "other"), [("SGD", "AdamW"), ("Adamax", "RAdam"), ("RAdam", "Adam")]
)
@runs.in_float64
def test_the_state_of_another_optimizer(name, other):
    options = {"momentum": 0.9} if name == "SGD" else {}
    reference = runs.TorchRun(name, FIRST, options).go_on(ROWS[:2])
    says = f"`state_dict` must be of {other}, as `tx` is, got '{name}'"
    with pytest.raises(ValueError, match=re.escape(says)):
        load(getattr(oxe.pytorch, other)(), reference.saved(), FIRST)


@runs.in_float64
def test_bad_arguments_of_state_dict():
    weights, saved, _ = runs.stopped()
    tx = AdamW(**OPTIONS)
    state, _ = load(tx, saved, weights)
    grouped = AdamW(lr=oxe.by_path({"bias": 0.1}, 0.2))
    vectors = AdamW(lr=oxe.by_path({"kernel": [0.1, 0.2]}, 0.2))
    for given, says in [
        ({"tx": optax.chain(tx)}, "`tx` must be an optimizer of `oxe.pytorch` by it"),
        ({"state": 3}, "`state` must be one of `tx` for these `params`, got None"),
        ({"tx": oxe.pytorch.Adadelta()}, "`state` must be one of `tx`"),
        ({"params": {"a": jnp.ones(3)}}, "`state` must be one of `tx`"),
        ({"order": ["bias"]}, "`order` must have every param, got \"1 without 'ker"),
        ({"order": {"m.bias": "bias"}}, '`order` must have every param, got "1 with'),
        ({"order": {"a": "bias", "b": "bias"}}, "`order` must have each path once"),
        ({"order": {"a": 3}}, "`order` must have paths, or a list for each group"),
        ({"transpose": 3}, "`transpose` must be callable, got 3"),
        (
            {
                "tx": grouped,
                "state": grouped.init(weights),
                "order": [["bias", "kernel"], ["square"]],
            },
            "`order` must have params of the same options in a group",
        ),
        (
            {"tx": vectors, "state": vectors.init(weights)},
            "`tx` must have one `lr` for each param, as PyTorch has",
        ),
    ]:
        arguments = {"tx": tx, "state": state, "params": weights}
        with pytest.raises((TypeError, ValueError)) as caught:
            oxe.pytorch.state_dict(**{**arguments, **given})
        assert str(caught.value).startswith("state_dict: `")
        assert says in str(caught.value)
