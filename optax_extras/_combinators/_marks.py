"""What becomes of leaves in a program: from which of them a value comes, and how."""

from typing import Any, NamedTuple

LEAVES = 2
"""How many there are in a trial."""
# These keep the shape, and mix nonetheless.
_MIXING = {"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "rev"}
_MIXING |= {"dot_general", "fft", "dynamic_update_slice", "pure_callback"}
# Of the whole tree these are the same for leaves and for stacks; each kind with what
# puts the parts of several leaves together.
REDUCING = {
    "reduce_sum": "sum",
    "dot_general": "sum",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_and": "and",
    "reduce_or": "or",
}
_JOINING = {"add": "sum", "add_any": "sum"}
_JOINING |= {"max": "max", "min": "min", "and": "and", "or": "or"}
# And these may be done to the parts before.
_CARRYING = {"reshape", "squeeze", "broadcast_in_dim", "copy", "concatenate", "stack"}
_CARRYING |= {"convert_element_type", "select_n"}
_LINEAR = {"neg", "real", "imag"}
# These give each place of an array a number of its own.
_PLACING = {"iota", "random_bits", "random_gamma"}
PLACE = -1  # stands for them among the numbers of leaves


class Marks(NamedTuple):
    """From which leaves a value comes."""

    own: frozenset = frozenset()
    """Element by element."""
    mixed: frozenset = frozenset()
    """Mixed together."""
    part: frozenset = frozenset()
    """Reduced, to what becomes a whole with those of the other leaves."""
    kind: str | None = None
    """As a sum, a maximum, …; None without a part."""
    known: frozenset = frozenset()
    """Reduced and then something else than a part, as a leaf's norm: for good."""


def _join(marks: Any) -> Marks:
    marks = list(marks)
    none: frozenset = frozenset()
    own, mixed, part, known = (
        none.union(*(getattr(x, name) for x in marks))
        for name in ("own", "mixed", "part", "known")
    )
    kinds = {x.kind for x in marks if x.part}
    if len(kinds) > 1:
        return Marks(own, mixed, known=known | part)
    return Marks(own, mixed, part, next(iter(kinds), None), known)


def walk(jaxpr: Any, given: list[Marks]) -> list[Marks]:
    """The marks of a program's results, of those of its arguments."""
    marks = dict(zip(jaxpr.invars, given, strict=True))

    def look(atom: Any) -> Marks:
        return Marks() if hasattr(atom, "val") else marks.get(atom, Marks())

    for equation in jaxpr.eqns:
        made = _step(equation, [look(x) for x in equation.invars])
        marks |= {
            out: _resolved(x, out.aval.shape)
            for out, x in zip(equation.outvars, made, strict=True)
        }
    return [look(x) for x in jaxpr.outvars]


def _step(equation: Any, given: list[Marks]) -> list[Marks]:
    if equation.primitive.name in _PLACING:
        return [Marks(mixed=frozenset({PLACE}))]
    both = _join(given)
    if "branches" in equation.params:
        branches = equation.params["branches"]
        platforms = equation.params.get("branches_platforms")
        if platforms:  # which all do the same; the last one is for those not named
            branches = branches[-1:]
        runs = [walk(x.jaxpr, given[1:]) for x in branches]
        return [
            _join([*outs, _all_mixed(given[0])]) for outs in zip(*runs, strict=True)
        ]
    inner = [getattr(x, "jaxpr", x) for x in equation.params.values()]
    inner = [x for x in inner if hasattr(x, "eqns")]
    is_call = len(inner) == 1 and len(inner[0].invars) == len(given)
    if is_call and equation.primitive.name not in ("scan", "while"):
        return walk(inner[0], given)
    if not inner and (reduced := _reduced(equation, given, both)) is not None:
        return [reduced] * len(equation.outvars)
    shapes = [
        x.aval.shape for x, m in zip(equation.invars, given, strict=True) if m.own
    ]
    shapes += [x.aval.shape for x in equation.outvars]
    is_elementwise = not inner and len(set(shapes)) == 1
    if not is_elementwise or equation.primitive.name in _MIXING:
        both = _all_mixed(both)
    return [both] * len(equation.outvars)


def _reduced(equation: Any, given: list[Marks], both: Marks) -> Marks | None:
    """The marks of what is made of parts, or into one; None for all else."""
    name = equation.primitive.name
    shape = equation.outvars[0].aval.shape
    whole = REDUCING.get(name)
    if not both.part:
        one = whole and shape == () and len(both.own) == 1 and not both.mixed
        return Marks(part=both.own, kind=whole, known=both.known) if one else None
    if both.own or both.mixed:
        return None
    clean = [x for x, m in zip(equation.invars, given, strict=True) if not any(m)]
    if name == "select_n" and not any(given[0]) and clean[1:]:
        return Marks(known=both.known)
    is_sum = both.kind == "sum"
    zeros = all(hasattr(x, "val") and not x.val for x in clean)
    joined = _JOINING.get(name) == both.kind and (zeros or not is_sum)
    by_number = name == "mul" or (name == "div" and any(given[0]))
    scaled = is_sum and (name in _LINEAR or (by_number and len(clean) == 1))
    if joined or scaled or whole == both.kind or name in _CARRYING:
        return both
    return Marks(known=both.known | both.part)


def _all_mixed(marks: Marks) -> Marks:
    mixed = marks.own | marks.mixed | marks.part
    return Marks(mixed=mixed, known=marks.known)


def _resolved(marks: Marks, shape: tuple[int, ...]) -> Marks:
    """A scalar of the whole tree is the same for stacks, and has no places."""
    if shape == ():
        marks = marks._replace(mixed=marks.mixed - {PLACE})
        alone = len(marks.mixed) == 1 and not marks.own and not marks.part
        if alone:  # of one leaf: a dot product, whose arguments were turned before
            marks = Marks(part=marks.mixed, kind="sum", known=marks.known)
    seen = marks.part or marks.mixed
    whole = len(seen) == LEAVES and not marks.own and shape == ()
    return Marks(known=marks.known) if whole else marks
