"""Defaults, which most users never change: as agreed, as the twins', as PyTorch's."""

import inspect

import pytest

import optax_extras as oxe

# The signatures as agreed; an argument that is not named here may be added behind.
AGREED = {
    "schedules.step": "init_value, step_size, factor=0.1",
    "schedules.multistep": "init_value, milestones, factor=0.1",
    "schedules.exponential": "init_value, decay_rate, transition_steps=1",
    "schedules.inverse_time": "init_value, decay_rate, transition_steps=1, "
    "staircase=False",
    "schedules.inverse_sqrt": "peak_value, timescale",
    "schedules.polynomial": "init_value, transition_steps, power=1.0, end_value=0.0",
    "schedules.linear": "init_value, transition_steps, end_value=0.0",
    "schedules.cosine": "init_value, decay_steps, end_value=0.0",
    "schedules.rex": "init_value, decay_steps, end_value=0.0",
    "schedules.cyclic": "base_value, peak_value, up_steps, down_steps=None, "
    "mode='triangular', gamma=1.0, scale_fn=None, peak_decay=1.0, floor_decay=1.0",
    "schedules.warm_restarts": "peak_value, period, period_mult=1, end_value=0.0, "
    "peak_decay=1.0, floor_decay=1.0, cycles=None",
    "schedules.one_cycle": "peak_value, total_steps, pct_start=0.3, div_factor=25.0, "
    "final_div_factor=10000.0, anneal='cos', three_phase=False",
    "schedules.wsd": "peak_value, warmup_steps, stable_steps, decay_steps, "
    "init_value=0.0, end_value=0.0, decay='linear'",
    "schedules.warmup": "steps, then, init_value=0.0",
    "schedules.cooldown": "schedule, start, steps, end_value=0.0",
    "plateau": "init_value, factor=0.1, patience=10, mode='min', threshold=0.0001, "
    "threshold_mode='rel', cooldown=0, min_value=0.0, eps=1e-08, average_over=1, "
    "monitor='value'",
    "switch": "first, second, when, handoff=None, keep_moments=False",
    "swats": "learning_rate, b1=0.9, b2=0.999, min_steps=1000, max_steps=None, "
    "tolerance_mode='relative', require_positive=True, estimator='average', "
    "second_rate=None, weight_decay=0.0, decoupled=False, nesterov=False, "
    "per_leaf=False, paper=False",
    # Of the papers: the bounds of Luo et al.; and GreedyLR.
    "greedy": "init_value, factor=0.95, patience=10, mode='min', threshold=1e-06, "
    "threshold_mode='abs', cooldown=0, warmup=0, min_value=0.0, max_value=1.0, "
    "eps=1e-08, window=1, reset_after=500, monitor='value'",
    "adabound": "learning_rate, b1=0.9, b2=0.999, eps=1e-08, final_rate=0.1, "
    "gamma=0.001",
    "rules.swats": "b1=0.9, b2=0.999, eps=1e-08, tolerance=0.001",
    "scale_by_swats": "b1=0.9, b2=0.999, eps=1e-08, tolerance=0.001",
    "projected_rate_settles": "tolerance=0.001, min_steps=1000, "
    "require_positive=True, decay=0.999",
}
# Of the same algorithm (scale_by_x, rules.x, x): other names or defaults, and why.
OTHERWISE = {
    # There None means 1e-8, or 1e-9 with `paper`; for `tolerance` it means 1e-3.
    ("swats", "eps"),
    ("swats", "tolerance"),
}
# Our name, PyTorch's class, and its names of the arguments.
TORCH = {
    "adadelta": ("Adadelta", {"rho": "rho", "eps": "eps", "learning_rate": "lr"}),
    "adagrad": ("Adagrad", {"eps": "eps", "lr_decay": "lr_decay"}),
    "adamax": ("Adamax", {"eps": "eps", "b1": "betas[0]", "b2": "betas[1]"}),
    "amsgrad": ("Adam", {"eps": "eps", "b1": "betas[0]", "b2": "betas[1]"}),
    "nadam": (
        "NAdam",
        {
            "eps": "eps",
            "momentum_decay": "momentum_decay",
            "b1": "betas[0]",
            "b2": "betas[1]",
        },
    ),
    "rmsprop": ("RMSprop", {"decay": "alpha", "eps": "eps"}),
    "asgd": ("ASGD", {"decay": "lambd", "power": "alpha", "start": "t0"}),
    "rprop": (
        "Rprop",
        {
            "eta_minus": "etas[0]",
            "eta_plus": "etas[1]",
            "min_step_size": "step_sizes[0]",
            "max_step_size": "step_sizes[1]",
        },
    ),
    "adafactor": (
        "Adafactor",
        {"learning_rate": "lr", "clipping_threshold": "d", "min_scale": "eps[1]"},
    ),
    "muon": ("Muon", {"momentum": "momentum", "eps": "eps"}),
    "rules.adam": ("Adam", {"eps": "eps", "b1": "betas[0]", "b2": "betas[1]"}),
    "rules.radam": ("RAdam", {"eps": "eps", "b1": "betas[0]", "b2": "betas[1]"}),
}


def found(path):
    thing = oxe
    for name in path.split("."):
        thing = getattr(thing, name)
    return inspect.signature(thing).parameters


def test_as_agreed():
    for path, words in AGREED.items():
        got, rest = found(path), words.split(", ")
        for word in rest:
            name, _, default = word.partition("=")
            is_as_agreed = (
                repr(got[name].default) == default if default else name in got
            )
            assert is_as_agreed, (path, word)
        positional = [x.name for x in got.values() if x.kind is x.POSITIONAL_OR_KEYWORD]
        named = [word.partition("=")[0] for word in rest]
        assert named[: len(positional)][:2] == positional[:2], path


TWINS = [
    (name, other)
    for name in oxe.__all__
    for other in (f"scale_by_{name}", f"rules.{name}")
    if inspect.isfunction(getattr(oxe, name))
    and hasattr(oxe.rules if "." in other else oxe, other.removeprefix("rules."))
]


def test_as_the_twin():
    for name, other in TWINS:
        ours, theirs = found(name), found(other)
        shared = [x for x in ours.keys() & theirs.keys() if (name, x) not in OTHERWISE]
        assert shared or not theirs, name
        different = [x for x in shared if ours[x].default != theirs[x].default]
        assert not different, (name, other)


def test_as_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for path, (name, words) in TORCH.items():
        theirs = inspect.signature(getattr(torch.optim, name)).parameters
        for ours, word in words.items():
            word, _, index = word.partition("[")
            default = theirs[word].default
            default = default[int(index[0])] if index else default
            assert found(path)[ours].default == default, (path, ours)


def test_on_plateau_means_plateau():
    ours, theirs = found("on_plateau"), found("plateau")
    for name in ours:
        assert ours[name].default == theirs[name].default, name


def test_rules_of_the_same_family_agree():
    adams = [
        found(f"rules.{x}")
        for x in ("adam", "amsgrad", "nadam", "radam", "adabound", "amsbound", "swats")
    ]
    for name in ("b1", "b2", "eps"):
        assert len({x[name].default for x in adams}) == 1, name
