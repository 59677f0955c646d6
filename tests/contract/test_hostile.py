"""Wrong arguments of every public function: refused at once, in the house's words.

``function: `argument` must ..., got value.``, a `TypeError` for a wrong kind and a
`ValueError` for a wrong value. What is wrong for which argument stands in `hostile.py`.
"""

import inspect
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import optax_extras as oxe
from tests.contract import hostile
from tests.contract.hostile import INF, NAN


def arguments_of(thing):
    parameters = inspect.signature(thing).parameters.values()
    return [x for x in parameters if x.kind not in (x.VAR_KEYWORD, x.VAR_POSITIONAL)]


class Case(NamedTuple):
    """One argument of one function."""

    function: str
    thing: Any
    argument: inspect.Parameter
    make: Any
    """What is called: the function, or what `scheduled` made of it."""

    def look_up(self, table, otherwise=None):
        """What a table says of the argument, of this function's before all."""
        name = self.argument.name
        return table.get((self.function, name), table.get(name, otherwise))

    def holds(self, names):
        name = self.argument.name
        return (self.function, name) in names or name in names

    @property
    def kind(self):
        default = self.argument.default
        if isinstance(default, bool):
            return "flag"
        if (found := self.look_up(hostile.KIND_OF)) is not None:
            return found
        if isinstance(default, float):
            return "number"
        return "numbers" if isinstance(default, tuple) and default else None

    @property
    def rule(self):
        """What its errors call the function."""
        own = (self.function.rpartition(".")[2],)
        says = hostile.SAYS.get(self.function, own)
        return hostile.SAYS.get((self.function, self.argument.name), says)[0]

    @property
    def valid(self):
        """A right value."""
        default = self.argument.default
        known = default is not self.argument.empty and default is not None
        return default if known else self.look_up(hostile.VALID)

    def call(self, value):
        given = hostile.BESIDES.get(self.function, {}) | self.look_up(hostile.WITH, {})
        for x in arguments_of(self.thing):
            if x.default is x.empty:
                each = self._replace(argument=x)
                given = {x.name: each.look_up(hostile.VALID), **given}
        given = {**given, self.argument.name: value}
        placed = [
            given.pop(x.name)
            for x in arguments_of(self.thing)
            if x.kind is x.POSITIONAL_ONLY
        ]
        return self.make(*placed, **given)

    def complaint(self, value, error, index="", shown=None):
        """What is wrong with how it refuses a value; None if it is as it must be."""
        what = f"{self.argument.name}={value!r}"
        try:
            self.call(value)
        except Exception as caught:
            said = f"{type(caught).__name__}: {caught}"
        else:
            return f"{what}: accepted"
        got = re.escape(repr(value) if shown is None else shown)
        where = re.escape(f"{error.__name__}: {self.rule}: `{self.argument.name}`")
        # In a tree the place follows the name, whichever it is, and so it may in names.
        has_places = self.kind in ("tree", "arguments")
        index = re.escape(index) or (r"[^ ]*" if has_places else "")
        right = rf"{where}{index} must .*, got {got}( of type \w+)?\.( |$)"
        return None if re.match(right, said, re.DOTALL) else f"{what}: {said}"


def cases():
    for name, thing in hostile.functions():
        for argument in arguments_of(thing):
            yield Case(name, thing, argument, thing)
            if hostile.is_optimizer(name, thing):
                made = oxe.scheduled(thing)
                yield Case(name, thing, argument, made)


ALL = list(cases())


def id_of(case):
    by = "" if case.make is case.thing else "scheduled-"
    return f"{by}{case.function}-{case.argument.name}"


def of_kinds(*kinds):
    found = [case for case in ALL if case.kind in kinds]
    return pytest.mark.parametrize("case", found, ids=map(id_of, found))


OF_ANY = pytest.mark.parametrize("case", ALL, ids=map(id_of, ALL))


def outside(interval):
    """Numbers that are not in it, and the ends that are."""
    low, high = map(float, interval[1:-1].split(","))
    out = [NAN, INF, -INF]
    out += [low - 0.5] if low > -INF else []
    out += [high + 0.5] if high < INF else []
    out += [low] if interval[0] == "(" and low > -INF else []
    out += [high] if interval[-1] == ")" and high < INF else []
    ends = [low] if interval[0] == "[" else []
    ends += [high] if interval[-1] == "]" else []
    return out, ends


def intervals(case):
    """Of a number one, of several numbers that of each."""
    found = case.look_up(hostile.INTERVALS, "[0, inf)")
    return re.findall(r"[\[(][^\])]*[\])]", found)


def none_of(complaints):
    found = [x for x in complaints if x is not None]
    assert not found, "\n".join(found)


def with_item(case, i, item):
    right = tuple(case.valid)
    return (*right[:i], item, *right[i + 1 :])


def complaint_of_item(case, i, item, error):
    return case.complaint(with_item(case, i, item), error, f"[{i}]", repr(item))


def test_every_argument_has_a_kind():
    assert len(ALL) > 700
    for case in ALL:
        assert case.kind in hostile.KINDS, case
        for x in arguments_of(case.thing):
            if x.default is x.empty:
                assert case._replace(argument=x).valid is not None, (case, x)


def test_every_entry_is_of_an_argument():
    """A table without words for what has gone."""
    tables = (
        hostile.KIND_OF,
        hostile.INTERVALS,
        hostile.LEAST,
        hostile.TOO_LARGE,
        hostile.KNOWN,
        hostile.WITH,
    )
    names = {x for case in ALL for x in (case.argument.name, id_of(case))}
    for key in (key for table in tables for key in table):
        assert ("-".join(key) if isinstance(key, tuple) else key) in names, key
    for row in hostile.ROWS:
        assert f"{row.function}-{row.argument}" in names, row
    names |= {x.function for x in ALL}
    for key in (*hostile.SAYS, *hostile.BESIDES):
        assert ("-".join(key) if isinstance(key, tuple) else key) in names, key


@OF_ANY
def test_wrong_kind_and_wrong_value(case):
    kind = hostile.KINDS[case.kind]
    wrong = [(x, TypeError) for x in kind.wrong] + [(x, ValueError) for x in kind.out]
    if case.argument.default is not None and case.kind not in ("state", "tree"):
        wrong.append((None, ValueError if case.kind == "choice" else TypeError))
    none_of(case.complaint(*each) for each in wrong)


@pytest.mark.parametrize(
    "row", hostile.ROWS, ids=[f"{x.function}-{x.argument}" for x in hostile.ROWS]
)
def test_row(row):
    case = next(case for case in ALL if id_of(case) == f"{row.function}-{row.argument}")
    none_of([case.complaint(row.value, row.error, shown=row.shown)])


@of_kinds("number")
def test_bounds_of_a_number(case):
    out, ends = outside(*intervals(case))
    none_of(case.complaint(x, ValueError) for x in out)
    for x in ends:
        case.call(x)


@of_kinds("count", "whole")
def test_bounds_of_a_count(case):
    least = case.look_up(hostile.LEAST, 1)
    out = [least - 1, -7]
    out += [large] if (large := case.look_up(hostile.TOO_LARGE)) else []
    none_of(case.complaint(x, ValueError) for x in out)


@of_kinds("numbers")
def test_items(case):
    """Each in its own bounds, and of a kind; too few and too many."""
    right, each = tuple(case.valid), intervals(case)
    for i, interval in enumerate(each):
        strange = [*hostile.NO_NUMBER, *([] if right[i] is None else [None])]
        wrong = [(x, TypeError) for x in strange]
        wrong += [(x, ValueError) for x in outside(interval)[0]]
        none_of(complaint_of_item(case, i, *x) for x in wrong)
    lengths = [(), right[:-1], (*right, right[-1])] if len(each) > 1 else [()]
    none_of(case.complaint(x, ValueError) for x in lengths)


@of_kinds("counts")
def test_items_that_count(case):
    wrong = [(x, TypeError) for x in hostile.KINDS["count"].wrong]
    wrong += [(x, ValueError) for x in (0, -1)]
    for i in range(len(case.valid)):
        none_of(complaint_of_item(case, i, *x) for x in wrong)


def traced(value, look):
    """What `look` says of a tracer in the place of the value."""
    found = []

    def program(x):
        found.append(look(x))
        return 0

    jax.eval_shape(program, value)
    return found[0]


VECTOR, COMPLEX, BOOL = jnp.ones(2), jnp.complex64(1), jnp.bool_(True)


def accepts(case):
    def look(x):
        case.call(x)

    return look


@of_kinds(*hostile.NUMBERS)
def test_traced_number(case):
    """Accepted, or refused by name where it has to be known; never another shape."""
    counts = case.kind in ("count", "whole")
    right = (3 if counts else 0.5) if case.valid is None else case.valid
    value = jnp.asarray(right, jnp.int32 if counts else jnp.float32)
    wrong = [VECTOR, COMPLEX, BOOL, *([jnp.float32(3)] if counts else [])]
    if case.holds(hostile.KNOWN):
        wrong.append(value)
    else:
        traced(value, accepts(case))
    none_of(traced(x, lambda x: case.complaint(x, TypeError)) for x in wrong)


@of_kinds("numbers", "counts")
def test_traced_items(case):
    for i, item in enumerate(case.valid):
        counts = case.kind == "counts"
        right = 0.5 if item is None else item
        value = jnp.asarray(right, jnp.int32 if counts else jnp.float32)
        wrong = [VECTOR, COMPLEX, BOOL]
        if case.holds(hostile.KNOWN):
            wrong.append(value)
        else:
            traced(value, lambda x, i=i: accepts(case)(with_item(case, i, x)))
        none_of(
            traced(x, lambda x, i=i: complaint_of_item(case, i, x, TypeError))
            for x in wrong
        )


@of_kinds(*(x for x in hostile.KINDS if x not in (*hostile.NUMBERS, "state", "tree")))
def test_traced_where_no_number_stands(case):
    error = ValueError if case.kind == "choice" else TypeError
    none_of(
        traced(value, lambda x: case.complaint(x, error))
        for value in (jnp.float32(0.5), BOOL)
    )


FUNCTIONS = list(hostile.functions())
CLOSED = [
    pytest.param(thing, id=name)
    for name, thing in FUNCTIONS
    if name not in ("observe", "set_hyperparameters")  # which take any name
]


@pytest.mark.parametrize("thing", CLOSED)
def test_unknown_keyword(thing):
    with pytest.raises(TypeError, match="nonsense"):
        thing(nonsense=1)


# Metrics and hyperparameters come by names of their own.
NAMED = {
    "observe": (oxe.observe, oxe.adagrad(oxe.plateau(0.1, monitor="loss")), "loss"),
    "set_hyperparameters": (oxe.set_hyperparameters, oxe.adagrad(0.1), "learning_rate"),
}


@pytest.mark.parametrize("function", NAMED)
def test_by_names_of_their_own(function):
    thing, tx, name = NAMED[function]
    state = tx.init(jnp.ones(2))
    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)

    def make(*_, **words):
        return thing(state, **{name: words[name]})

    case = Case(function, thing, parameter, make)
    is_set = function == "set_hyperparameters"
    none_of(
        [
            *(case.complaint(x, TypeError) for x in (*hostile.NO_NUMBER, None)),
            *(
                traced(x, lambda x: case.complaint(x, TypeError))
                for x in (VECTOR, COMPLEX, BOOL)
            ),
            *(case.complaint(x, ValueError) for x in (NAN, INF, -1.0) if is_set),
        ]
    )
    traced(jnp.float32(0.5), accepts(case))


@pytest.mark.parametrize("function", NAMED)
def test_of_a_state_that_holds_nothing(function):
    thing, _, name = NAMED[function]
    right = rf"^{function}: `{name}` must .*, got a state that \w+ none\."
    for state in (None, (), hostile.OBJECT, 0.5, "nonsense"):
        with pytest.raises(ValueError, match=right):
            thing(state, **{name: 0.5})


# What a schedule must not return.
RETURNED = {
    "vector": (lambda t: jnp.ones(2), ValueError),
    "word": (lambda t: "nonsense", TypeError),
    "None": (lambda t: None, TypeError),
    "complex": (lambda t: 1j, TypeError),
}
# What takes a schedule, and what its errors call it.
TAKERS = {
    "scheduled: `b1`": lambda x: oxe.scheduled(oxe.nadam)(0.1, b1=x),
    "scheduled: `betas`[1]": lambda x: oxe.scheduled(oxe.pytorch.Adam)(betas=(0.9, x)),
    "nadam: `learning_rate`": oxe.nadam,
    "scale_by_rate: `rate`": oxe.scale_by_rate,
    "amsgrad: `b1`": lambda x: oxe.scale_by_amsgrad(x),
}


@pytest.mark.parametrize("returned", RETURNED)
@pytest.mark.parametrize("taker", TAKERS)
def test_what_a_schedule_returns(taker, returned):
    schedule, error = RETURNED[returned]

    def use():
        params, tx = jnp.ones(2), TAKERS[taker](schedule)
        tx.update(params, tx.init(params), params)

    with pytest.raises(error, match="^" + re.escape(f"{taker} must return ")):
        use()
