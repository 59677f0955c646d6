"""What PyTorch's optimizers store, and what the buffers hold."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from optax_extras._errors import refuse
from optax_extras._translation.compare_recursions import AVERAGE, Recursion

Options = Mapping[str, Any]


class Stored(NamedTuple):
    """A buffer of one of PyTorch's optimizers."""

    name: str
    """In its `state_dict`."""
    holds: str
    """In the common form."""
    recursion: Callable[[Options], Recursion] = lambda _: AVERAGE
    """How it moves, by the options of its group."""
    part: int = 0
    """The part of our chain that it belongs to."""
    start: str = ""
    """The option with its first value, which our buffer does not contain."""


class Saved(NamedTuple):
    """What an optimizer stores for a parameter."""

    key: str
    """An option that only its groups have."""
    buffers: tuple[Stored, ...]
    counts: bool = True
    """Whether it stores `step`."""
    scalars: Mapping[str, str] = {}
    """Our names of numbers by those in the `state_dict`."""
    is_full: bool = False
    """Whether it stores everything before the first update, too."""


def option_of(options: Options, name: str) -> Any:
    """An option of a group."""
    if name not in options:
        refuse("state_dict", f"have {name!r} in each group", [*options])
    return options[name]


def _average(option: str, item: int | None = None) -> Callable[[Options], Recursion]:
    def recursion(options: Options) -> Recursion:
        found = option_of(options, option)
        decay = float(found if item is None else found[item])
        return Recursion(decay, 1 - decay)

    return recursion


def _velocity(options: Options) -> Recursion:
    return Recursion(
        float(option_of(options, "momentum")), 1 - float(options.get("dampening", 0))
    )


_FIRST = Stored("exp_avg", "mu", _average("betas", 0))
_SECOND = Stored("exp_avg_sq", "nu", _average("betas", 1))

# The first whose key a group has; RAdam and Adamax have no option of their own, and
# SparseAdam, which is not here, has no `weight_decay`.
SAVED_STATES = {
    "SGD": Saved(
        "dampening", (Stored("momentum_buffer", "mu", _velocity),), counts=False
    ),
    "Muon": Saved(
        "ns_coefficients",
        (Stored("momentum_buffer", "mu", _average("momentum")),),
        counts=False,
    ),
    "Adam": Saved("amsgrad", (_FIRST, _SECOND, Stored("max_exp_avg_sq", "nu_max"))),
    "NAdam": Saved(
        "momentum_decay", (_FIRST, _SECOND), scalars={"mu_product": "product"}
    ),
    "Adagrad": Saved(
        "lr_decay",
        (
            Stored(
                "sum",
                "nu",
                lambda _: Recursion(1.0, 1.0),
                start="initial_accumulator_value",
            ),
        ),
        is_full=True,
    ),
    "RMSprop": Saved(
        "centered",
        (
            Stored("square_avg", "nu", _average("alpha")),
            Stored("grad_avg", "mu", _average("alpha")),
            Stored("momentum_buffer", "mu", _velocity, part=1),
        ),
    ),
    "Rprop": Saved(
        "etas", (Stored("step_size", "step_sizes"), Stored("prev", "previous"))
    ),
    "ASGD": Saved("lambd", (Stored("ax", "average"),), scalars={"eta": "eta"}),
    "Adafactor": Saved(
        "beta2_decay",
        (
            Stored("variance", "nu"),
            Stored("row_var", "nu_row"),
            Stored("col_var", "nu_column"),
        ),
    ),
    "Adadelta": Saved(
        "rho", (Stored("square_avg", "nu"), Stored("acc_delta", "delta"))
    ),
    "RAdam": Saved("decoupled_weight_decay", (_FIRST, _SECOND)),
    "Adamax": Saved("weight_decay", (_FIRST, Stored("exp_inf", "maximum"))),
}
SAVED_STATES["AdamW"] = SAVED_STATES["Adam"]
# Numbers that follow from others.
DERIVED = ("mu", "mu_product")


def find_saved(options: Options, names: set[str]) -> str | None:
    """The optimizer whose options these are, and whose buffers have these names."""
    if "exp_inf" in names:
        return "Adamax"
    return next((x for x, saved in SAVED_STATES.items() if saved.key in options), None)
