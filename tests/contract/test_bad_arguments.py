"""Wrong arguments of every public function: refused at once, in one form.

``function: `argument` must ..., got value.``, a `TypeError` for a wrong kind and a
`ValueError` for a wrong value. What is wrong for which argument stands in
`bad_arguments.py`.
"""

import inspect
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import optax_extras as oxe
from tests.contract import bad_arguments
from tests.contract.bad_arguments import INF, NAN
from tests.contract.ranges import PATTERN, Interval, range_of


def arguments_of(thing):
    parameters = inspect.signature(thing).parameters.values()
    return [x for x in parameters if x.kind not in (x.VAR_KEYWORD, x.VAR_POSITIONAL)]


class Case(NamedTuple):
    """One argument of one function."""

    function: str
    thing: Any
    argument: inspect.Parameter
    make: Any
    """What is called: the function, or what `scheduled` makes from it."""

    def look_up(self, table, otherwise=None):
        """The entry of a table for the argument, first for this function."""
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
        if (found := self.look_up(bad_arguments.KIND_OF)) is not None:
            return found
        if isinstance(default, float):
            return "number"
        if isinstance(default, str):
            return "choice"
        return "numbers" if isinstance(default, tuple) and default else "unknown"

    @property
    def own_name(self):
        """What its errors call it."""
        return self.function.rpartition(".")[2]

    @property
    def says_none(self):
        """Whether the signature says that it may be None."""
        return repr(self.argument.annotation).endswith(" or None")

    @property
    def valid(self):
        """A right value."""
        default = self.argument.default
        known = default is not self.argument.empty and default is not None
        return default if known else self.look_up(bad_arguments.VALID)

    def call(self, value):
        given = bad_arguments.BESIDES.get(self.function, {}) | self.look_up(
            bad_arguments.WITH, {}
        )
        for x in arguments_of(self.thing):
            if x.default is x.empty:
                each = self._replace(argument=x)
                given = {x.name: each.look_up(bad_arguments.VALID), **given}
        given = {**given, self.argument.name: value}
        placed = [
            given.pop(x.name)
            for x in arguments_of(self.thing)
            if x.kind is x.POSITIONAL_ONLY
        ]
        return self.make(*placed, **given)

    def complaint(self, value, error, index="", shown=None):
        """What is wrong with the refusal of a value; None if it is right."""
        what = f"{self.argument.name}={value!r}"
        try:
            self.call(value)
        except Exception as caught:
            said = f"{type(caught).__name__}: {caught}"
        else:
            return f"{what}: accepted"
        got = re.escape(repr(value) if shown is None else shown)
        where = f"{error.__name__}: {self.own_name}: `{self.argument.name}`"
        # In a tree the place follows the name, whichever it is, and so it may in names.
        has_places = self.kind in ("tree", "arguments")
        index = re.escape(index) or (r"[^ ]*" if has_places else "")
        right = rf"{where}{index} must .*, got {got}( of type \w+)?\.( |$)"
        return None if re.match(right, said, re.DOTALL) else f"{what}: {said}"


def cases():
    for name, thing in bad_arguments.functions():
        for argument in arguments_of(thing):
            yield Case(name, thing, argument, thing)
            if bad_arguments.is_optimizer(name, thing):
                made = oxe.scheduled(thing)
                yield Case(name, thing, argument, made)


ALL = list(cases())


def id_of(case):
    by = "" if case.make is case.thing else "scheduled-"
    return f"{by}{case.function}-{case.argument.name}"


FUNCTIONS = list(bad_arguments.functions())
each_function = pytest.mark.parametrize("function", [name for name, _ in FUNCTIONS])


def of_kinds(function, *kinds):
    """The arguments of a function, by itself and in `scheduled`."""
    return [x for x in ALL if x.function == function and x.kind in kinds]


def outside(interval):
    """Numbers that are not in it, and the ends that are."""
    around = {NAN, INF, -INF, interval.low, interval.high}
    around |= {interval.low - 0.5, interval.high + 0.5}
    ends = {interval.low, interval.high} - {INF, -INF}
    return (
        [x for x in around if x not in interval],
        [x for x in ends if x in interval],
    )


def intervals(case):
    """The interval of each number: from the table, or from the error message."""
    agreed = case.look_up(bad_arguments.INTERVALS)
    if agreed is not None and case.function in bad_arguments.AGREED:
        return [Interval.parse(x) for x in re.findall(PATTERN, agreed)]
    if case.kind == "number":
        found = [range_of(case.call)]
    else:
        found = [
            range_of(lambda x, i=i: case.call(with_item(case, i, x)))
            for i in range(len(case.valid))
        ]
    assert all(found), f"{id_of(case)}: its range is not said"
    return found


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
        assert case.kind in bad_arguments.KINDS, case
        if case.kind == "unknown":
            print(f"{id_of(case)}: give it a kind in bad_arguments.py")
        for x in arguments_of(case.thing):
            if x.default is x.empty:
                assert case._replace(argument=x).valid is not None, (case, x)


def test_every_entry_is_of_an_argument():
    """A table without words for what has gone."""
    tables = (
        bad_arguments.KIND_OF,
        bad_arguments.INTERVALS,
        bad_arguments.LEAST,
        bad_arguments.TOO_LARGE,
        bad_arguments.KNOWN,
        bad_arguments.WITH,
    )
    names = {x for case in ALL for x in (case.argument.name, id_of(case))}
    for key in (key for table in tables for key in table):
        assert ("-".join(key) if isinstance(key, tuple) else key) in names, key
    for row in bad_arguments.ROWS:
        assert f"{row.function}-{row.argument}" in names, row
    names |= {x.function for x in ALL}
    for key in bad_arguments.BESIDES:
        assert ("-".join(key) if isinstance(key, tuple) else key) in names, key


@each_function
def test_wrong_kind_and_wrong_value(function):
    for case in of_kinds(function, *bad_arguments.KINDS):
        kind = bad_arguments.KINDS[case.kind]
        wrong = [(x, TypeError) for x in kind.wrong]
        wrong += [(x, ValueError) for x in kind.out]
        takes_none = case.argument.default is None or case.says_none
        if not takes_none and case.kind not in ("state", "tree"):
            wrong.append((None, ValueError if case.kind == "choice" else TypeError))
        if case.make is not case.thing:  # the same checks, called by `scheduled`
            wrong = wrong[:2] + wrong[-1:]
        none_of(case.complaint(*each) for each in wrong)


@pytest.mark.parametrize("function", sorted({x.function for x in bad_arguments.ROWS}))
def test_wrong_trees_and_relations(function):
    by_id = {id_of(case): case for case in ALL}
    rows = [row for row in bad_arguments.ROWS if row.function == function]
    none_of(
        by_id[f"{function}-{row.argument}"].complaint(
            row.value, row.error, shown=row.shown
        )
        for row in rows
    )


@each_function
def test_bounds_of_numbers(function):
    for case in of_kinds(function, "number"):
        out, ends = outside(*intervals(case))
        none_of(case.complaint(x, ValueError) for x in out)
        for x in ends:
            case.call(x)
    for case in of_kinds(function, "count", "whole"):
        least = case.look_up(bad_arguments.LEAST, 1)
        out = [least - 1, -7]
        large = case.look_up(bad_arguments.TOO_LARGE)
        out += [large] if large else []
        none_of(case.complaint(x, ValueError) for x in out)


@each_function
def test_items(function):
    """Each is of its kind and within its bounds; not too few and not too many."""
    for case in of_kinds(function, "numbers"):
        right, each = tuple(case.valid), intervals(case)
        for i, interval in enumerate(each):
            strange = [*bad_arguments.NO_NUMBER, *([] if right[i] is None else [None])]
            wrong = [(x, TypeError) for x in strange]
            wrong += [(x, ValueError) for x in outside(interval)[0]]
            none_of(complaint_of_item(case, i, *x) for x in wrong)
        lengths = [(), right[:-1], (*right, right[-1])] if len(each) > 1 else [()]
        none_of(case.complaint(x, ValueError) for x in lengths)
    for case in of_kinds(function, "counts"):
        wrong = [(x, TypeError) for x in bad_arguments.KINDS["count"].wrong]
        wrong += [(x, ValueError) for x in (0, -1)]
        for i in range(len(case.valid)):
            none_of(complaint_of_item(case, i, *x) for x in wrong)


def traced(value, look):
    """The result of `look` for a tracer in place of the value."""
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


@each_function
def test_traced_numbers(function):
    """Accepted, or refused if the value must be concrete; other shapes are refused."""
    for case in of_kinds(function, *bad_arguments.NUMBERS):
        counts = case.kind in ("count", "whole")
        right = (3 if counts else 0.5) if case.valid is None else case.valid
        value = jnp.asarray(right, jnp.int32 if counts else jnp.float32)
        wrong = [VECTOR, COMPLEX, BOOL, *([jnp.float32(3)] if counts else [])]
        if case.holds(bad_arguments.KNOWN):
            wrong.append(value)
        else:
            traced(value, accepts(case))
        none_of(traced(x, lambda x: case.complaint(x, TypeError)) for x in wrong)  # noqa: B023
    for case in of_kinds(function, "numbers", "counts"):
        counts = case.kind == "counts"
        for i, item in enumerate(case.valid):
            right = 0.5 if item is None else item
            value = jnp.asarray(right, jnp.int32 if counts else jnp.float32)
            wrong = [VECTOR, COMPLEX, BOOL]
            if case.holds(bad_arguments.KNOWN):
                wrong.append(value)
            else:
                traced(value, lambda x: accepts(case)(with_item(case, i, x)))  # noqa: B023
            none_of(
                traced(x, lambda x: complaint_of_item(case, i, x, TypeError))  # noqa: B023
                for x in wrong
            )


@each_function
def test_traced_where_no_number_stands(function):
    others = {*bad_arguments.KINDS} - {
        *bad_arguments.NUMBERS,
        "state",
        "tree",
        "unknown",
    }
    for case in of_kinds(function, *others):
        error = ValueError if case.kind == "choice" else TypeError
        none_of(
            traced(value, lambda x: case.complaint(x, error))  # noqa: B023
            for value in (jnp.float32(0.5), BOOL)
        )


def test_unknown_keyword():
    for _, thing in FUNCTIONS:
        takes = inspect.signature(thing).parameters.values()
        if any(x.kind is x.VAR_KEYWORD for x in takes):  # any name
            continue
        with pytest.raises(TypeError, match="nonsense"):
            thing(nonsense=1)


# Metrics and hyperparameters are keywords.
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
            *(case.complaint(x, TypeError) for x in (*bad_arguments.NO_NUMBER, None)),
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
    for state in (None, (), bad_arguments.OBJECT, 0.5, "nonsense"):
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
    "scale_by_amsgrad: `b1`": lambda x: oxe.scale_by_amsgrad(x),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("returned", RETURNED)
def test_what_a_schedule_returns(taker, returned):
    schedule, error = RETURNED[returned]

    def use():
        params, tx = jnp.ones(2), TAKERS[taker](schedule)
        tx.update(params, tx.init(params), params)

    with pytest.raises(error, match="^" + re.escape(f"{taker} must return ")):
        use()


def test_a_schedule_in_place_of_a_number():
    """The message says how to pass it, and that works."""
    schedule = oxe.schedules.cosine(0.1, 10)
    for make, name, arguments, way in (
        (oxe.nadam, "nadam", {"b1": schedule}, "b1=schedule"),
        (oxe.pytorch.Adam, "pytorch.Adam", {"betas": (0.9, schedule)}, "betas=(...)"),
    ):
        said = f"For a schedule write `oxe.scheduled(oxe.{name})(..., {way})`."
        with pytest.raises(TypeError, match=re.escape(said)):
            make(0.1, **arguments)
        oxe.scheduled(make)(0.1, **arguments).init(jnp.ones(2))
    with pytest.raises(TypeError, match=r"of type function\.$"):
        oxe.schedules.cosine(schedule, 10)
