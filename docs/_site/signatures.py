"""The signatures on the reference pages: every argument with its range, in words.

The annotations of the package are objects that say a range (`number in [0, 1)`), which
Sphinx cannot parse. It writes the signature without them; they are added here.
"""

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from docutils import nodes
from jax.typing import ArrayLike, DTypeLike
from sphinx import addnodes

import optax_extras as oxe

ARRAYS, DTYPES = (frozenset(get_args(x)) for x in (ArrayLike, DTypeLike))


def says(annotation: Any) -> str:
    """An annotation in words; empty where it tells a reader nothing."""
    if annotation in (inspect.Parameter.empty, Any):
        return ""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, str):  # of what is imported by type checkers alone
        return annotation.replace(" | ", " or ")
    if isinstance(annotation, TypeVar):
        return _either(annotation.__constraints__)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _either(args)
    if origin is Literal:
        return " or ".join(map(repr, args))
    if origin is Callable:
        is_schedule = args and args[0] == [ArrayLike]
        return "schedule" if is_schedule else "function"
    if origin is tuple and args[-1:] == (...,):
        return _container("tuple", args[0])
    if origin is tuple:
        return f"({', '.join(filter(None, map(says, args)))})"
    if origin in (dict, Mapping):
        return _container("dict", args[1])
    if origin in (list, Sequence):
        return _container("sequence", args[0])
    if isinstance(annotation, type) and origin is None:
        return _class(annotation)
    return repr(annotation)


def _either(some: Sequence[Any]) -> str:
    if set(some) >= DTYPES:
        return " or ".join(["dtype", *_others(some, DTYPES)])
    if set(some) >= ARRAYS:
        return " or ".join(["number or array", *_others(some, ARRAYS)])
    return " or ".join(dict.fromkeys(map(says, some)))


def _others(some: Sequence[Any], than: frozenset) -> list[str]:
    return [says(x) for x in some if x not in than]


def _container(name: str, item: Any) -> str:
    words = says(item)
    if not words:
        return name
    return f"{name} of ({words})" if " or " in words else f"{name} of {words}"


def _class(cls: type) -> str:
    """As a user writes it: `jax.Array`, `optax.GradientTransformation`, `Rule`."""
    package = cls.__module__.partition(".")[0]
    if package in ("jax", "jaxlib", "optax", "numpy"):
        return f"{package}.{cls.__name__.rpartition('.')[2]}"
    if cls.__module__ == "optax_extras.schedules._curve":  # a protocol, not exported
        return "schedule"
    return cls.__name__


def public_classes() -> dict[str, str]:
    """The target of a link to each class of the package, by its last name."""
    found = {}
    for prefix, module in (("", oxe), ("lab.", oxe.lab), ("states.", oxe.states)):
        for name in module.__all__:
            if isinstance(getattr(module, name), type):
                found.setdefault(name, prefix + name)
    return found


CLASSES = public_classes()
_NAMES = re.compile(rf"\b({'|'.join(CLASSES)})\b")


def linked(text: str) -> list[nodes.Node]:
    """The words of an annotation, the classes of the package as links."""
    link = {"refdomain": "py", "reftype": "class"}
    return [
        addnodes.pending_xref("", nodes.Text(x), reftarget=CLASSES[x], **link)
        if x in CLASSES
        else nodes.Text(x)
        for x in _NAMES.split(text)
        if x
    ]


def annotate(app, domain, objtype, content) -> None:
    """Adds to a signature what the annotations say."""
    if domain != "py":
        return
    # The last child is the content; its members have had their own events.
    for signature in content.parent.children[:-1]:
        if not any(signature.findall(addnodes.desc_parameterlist)):
            continue
        path = f"{signature['module']}.{signature['fullname']}".split(".")[1:]
        found = inspect.signature(reduce(getattr, path, oxe))
        for node in signature.findall(addnodes.desc_parameter):
            annotate_parameter(node, found.parameters)
        if words := says(found.return_annotation):
            signature += addnodes.desc_returns("", "", *linked(words))


def annotate_parameter(node, parameters) -> None:
    place = node.first_child_matching_class(addnodes.desc_sig_name)
    if place is None:  # a bare star
        return
    words = says(parameters[node[place].astext()].annotation)
    if not words:
        return
    after = node.children[place + 1 :]
    del node[place + 1 :]
    node += addnodes.desc_sig_punctuation("", ":")
    node += addnodes.desc_sig_space()
    node += nodes.inline("", "", *linked(words), classes=["range"])
    if after:  # the sign of equality and the default
        node += [addnodes.desc_sig_space(), after[0], addnodes.desc_sig_space()]
        node += after[1:]


FIELDS: dict[str, list[str]] = {}


def save_field(app, what, name, thing, options, lines) -> None:
    if what == "attribute":
        FIELDS[name] = [*lines]


def restore_field(app, what, name, thing, options, lines) -> None:
    """Napoleon takes what is before a colon, as in `Shape (): ...`, for a type."""
    if what == "attribute":
        lines[:] = FIELDS[name]


def setup(app):
    app.connect("object-description-transform", annotate)
    # Before and after Napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", save_field, priority=400)
    app.connect("autodoc-process-docstring", restore_field, priority=600)
    return {"parallel_read_safe": True}
