"""What Keras' optimizers store, and what their variables hold."""

from typing import NamedTuple

from optax_extras._translation.source import AVERAGE, Form

# Adafactor's means of each row and of each column.
ROW, COLUMN = "row_var", "col_var"
STEPS, SUM_OF_SQUARES = Form(None, 1.0), Form(1.0, 1.0)


class Stored(NamedTuple):
    """A variable of one of Keras' optimizers, one for each trainable variable."""

    name: str
    """The end of its name."""
    holds: str
    """In the common form."""
    form: Form = AVERAGE
    """How it moves, but for the learning rate."""
    has_rate: bool = False
    """Whether it contains the learning rates of its gradients."""
    part: int = 0
    """The part of our chain that it belongs to."""
    option: str = ""
    """The option without which it is not there."""
    start: str = ""
    """The option that it starts at, if it does not start at 0."""


class Layout(NamedTuple):
    """The variables of an optimizer, in Keras' order."""

    groups: tuple[tuple[Stored, ...], ...]
    """Those of a group take turns: one of each, for one trainable variable after the
    other."""
    scalar: str = ""
    """Our name of a number without a name at the end."""
    is_same: bool = True
    """Whether it stores the same for every trainable variable."""


_FIRST, _SECOND = Stored("momentum", "mu"), Stored("velocity", "nu")
_ADAM = Layout(
    ((_FIRST, _SECOND), (Stored("velocity_hat", "nu_max", option="amsgrad"),))
)

LAYOUTS = {
    "SGD": Layout(
        (
            (
                Stored(
                    "momentum", "mu", Form(None, -1.0), has_rate=True, option="momentum"
                ),
            ),
        )
    ),
    "RMSprop": Layout(
        (
            (_SECOND,),
            (
                Stored(
                    "momentum", "mu", STEPS, has_rate=True, part=1, option="momentum"
                ),
            ),
            (Stored("average_gradient", "mu", option="centered"),),
        )
    ),
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "Nadam": Layout(((_FIRST, _SECOND),), scalar="product"),
    "Adamax": Layout(((_FIRST, Stored("norm", "maximum")),)),
    "Adagrad": Layout(
        (
            (
                Stored(
                    "accumulator",
                    "nu",
                    SUM_OF_SQUARES,
                    start="initial_accumulator_value",
                ),
            ),
        )
    ),
    "Adadelta": Layout(
        (
            (
                Stored("accumulated_grad", "nu"),
                Stored("accumulated_delta_var", "delta"),
            ),
        )
    ),
    "Lion": Layout(((_FIRST,),)),
    "Lamb": Layout(((_FIRST, _SECOND),)),
    "Ftrl": Layout(
        ((Stored("accumulator", "accumulator"), Stored("linear", "linear")),)
    ),
    # Keras does not name the first two; `read` does.
    "Adafactor": Layout(
        ((Stored(ROW, "nu_row"), Stored(COLUMN, "nu_column"), _SECOND),)
    ),
    # A matrix has no velocity.
    "Muon": Layout(((_FIRST, Stored("velocity", "nu", option="adam")),), is_same=False),
    "ScheduleFreeAdamW": Layout(((Stored("momentum", "z"), _SECOND),)),
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


def stored_by(layout: Layout) -> list[Stored]:
    """All variables of an optimizer."""
    return [x for group in layout.groups for x in group]


def name_in_path(path: str) -> str | None:
    """The optimizer by the first part of a path, if that is one of Keras."""
    words = path.rstrip("0123456789").rstrip("_").replace("_", "")
    names = (*LAYOUTS, *WRAPPERS)
    return next((name for name in names if words == name.lower()), None)


def layout_name(ends: set[str], has_scalar: bool, expected: str = "") -> str | None:
    """The optimizer by what its variables hold.

    Several look alike, such as Adam and RMSprop with a momentum. It is taken to be the
    expected one if that fits, and else Adam.
    """
    fits = {
        name: layout
        for name, layout in LAYOUTS.items()
        if ends <= {x.name for x in stored_by(layout)}
        and all(x.name in ends or x.option for x in stored_by(layout))
    }
    if has_scalar:
        fits = {name: layout for name, layout in fits.items() if layout.scalar}
    order = (expected, "SGD", "Adam", *LAYOUTS)
    return next((name for name in order if name in fits), None)
