"""What Keras' optimizers store, and what their variables hold."""

from typing import NamedTuple

from optax_extras._translation.source import AVERAGE, Form

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
}
# Keras' default of `start`.
STARTS = {"initial_accumulator_value": 0.1}
# Variables that every optimizer may have, before its own.
EVERY = ("average", "gradient_accumulator")


def stored_by(layout: Layout) -> list[Stored]:
    """All variables of an optimizer."""
    return [x for group in layout.groups for x in group]


def layout_name(path: str, ends: set[str], has_scalar: bool) -> str | None:
    """The optimizer, by the first part of a path, or else by what its variables hold.

    Without paths Adam and RMSprop with a momentum look alike; it is taken to be Adam.
    """
    words = path.rstrip("0123456789").rstrip("_").replace("_", "")
    for name in LAYOUTS:
        if words == name.lower():
            return name
    fits = {
        name: layout
        for name, layout in LAYOUTS.items()
        if ends <= {x.name for x in stored_by(layout)}
        and all(x.name in ends or x.option for x in stored_by(layout))
    }
    if has_scalar:
        fits = {name: layout for name, layout in fits.items() if layout.scalar}
    order = ("SGD", "Adam", *LAYOUTS)
    return next((name for name in order if name in fits), None)
