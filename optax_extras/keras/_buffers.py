"""What Keras' optimizers store, and what their variables hold."""

from typing import NamedTuple

from optax_extras._translation.compare_recursions import AVERAGE, SUM, Recursion

# Adafactor's means of each row and of each column.
ROW, COLUMN = "row_var", "col_var"


class Stored(NamedTuple):
    """A variable of one of Keras' optimizers, one for each trainable variable."""

    name: str
    """The end of its name."""
    holds: str
    """In the common form."""
    recursion: Recursion = AVERAGE
    """How it moves, but for the learning rate."""
    has_rate: bool = False
    """Whether it contains the learning rates of its gradients."""
    part: int = 0
    """The part of our chain that it belongs to."""
    option: str = ""
    """The option without which it is not there."""
    start: str = ""
    """The option that it starts at, if it does not start at 0."""


class Saved(NamedTuple):
    """The variables of an optimizer."""

    stored: tuple[Stored, ...]
    """In Keras' order: those without an option take turns, one of each for one
    trainable variable after the other; then each of the others for all of them."""
    scalar: str = ""
    """Our name of a number without a name at the end."""
    is_same: bool = True
    """Whether it stores the same for every trainable variable."""


_FIRST, _SECOND = Stored("momentum", "mu"), Stored("velocity", "nu")
_ADAM = Saved((_FIRST, _SECOND, Stored("velocity_hat", "nu_max", option="amsgrad")))
_STEPS = Stored("momentum", "mu", SUM, has_rate=True, option="momentum")
_SUM = Stored(
    "accumulator", "nu", Recursion(1.0, 1.0), start="initial_accumulator_value"
)

SAVED_STATES = {
    "SGD": Saved((_STEPS._replace(recursion=Recursion(None, -1.0)),)),
    "RMSprop": Saved(
        (
            _SECOND,
            _STEPS._replace(part=1),
            Stored("average_gradient", "mu", option="centered"),
        )
    ),
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "Nadam": Saved((_FIRST, _SECOND), scalar="product"),
    "Adamax": Saved((_FIRST, Stored("norm", "maximum"))),
    "Adagrad": Saved((_SUM,)),
    "Adadelta": Saved(
        (Stored("accumulated_grad", "nu"), Stored("accumulated_delta_var", "delta"))
    ),
    "Lion": Saved((_FIRST,)),
    "Lamb": Saved((_FIRST, _SECOND)),
    "Ftrl": Saved((Stored("accumulator", "accumulator"), Stored("linear", "linear"))),
    # Keras does not name the first two; `read` does.
    "Adafactor": Saved((Stored(ROW, "nu_row"), Stored(COLUMN, "nu_column"), _SECOND)),
    # A matrix has no velocity.
    "Muon": Saved((_FIRST, Stored("velocity", "nu", option="adam")), is_same=False),
    "ScheduleFreeAdamW": Saved((Stored("momentum", "z"), _SECOND)),
}
# Keras' wrappers: their variables are those of several optimizers.
WRAPPERS = {
    "LossScaleOptimizer": "Pass `optimizer.inner_optimizer.variables`.",
    "MultiOptimizer": "Load the variables of each of its optimizers by themselves.",
}
# Keras' default of `start`.
STARTS = {"initial_accumulator_value": 0.1}
# Variables that every optimizer may have, before its own.
EVERY = ("average", "gradient_accumulator")


def name_in_path(path: str) -> str | None:
    """The optimizer by the first part of a path, if that is one of Keras."""
    words = path.rstrip("0123456789").rstrip("_").replace("_", "")
    names = (*SAVED_STATES, *WRAPPERS)
    return next((name for name in names if words == name.lower()), None)


def find_saved(ends: set[str], has_scalar: bool, expected: str = "") -> str | None:
    """The optimizer by what its variables hold.

    Several look alike, such as Adam and RMSprop with a momentum. It is taken to be the
    expected one if that fits, and else Adam.
    """
    fits = {
        name: saved
        for name, saved in SAVED_STATES.items()
        if ends <= {x.name for x in saved.stored}
        and all(x.name in ends or x.option for x in saved.stored)
    }
    if has_scalar:
        fits = {name: saved for name, saved in fits.items() if saved.scalar}
    order = (expected, "SGD", "Adam", *SAVED_STATES)
    return next((name for name in order if name in fits), None)
