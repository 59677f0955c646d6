"""What is made when the site is built: a page for every public name, and its picture.

Nothing is listed by hand. Which page a name is on follows from the room of its file;
what its picture shows from what its docstring's own example ends in.
"""

import inspect
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pictures
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

import optax_extras as oxe

# A room of the package: its title here. One that is new has to be named.
ROOMS = {
    "schedules": "Schedules",
    "_optimizers": "Optimizers",
    "_learning_rates": "Learning rates",
    "_hyperparameters": "Hyperparameters in a state",
    "_switching": "Switching",
    "_state": "What is kept",
    "_kernel": "The kernel",
    "rules": "Rules",
    "pytorch": "PyTorch's names",
    "keras": "Keras' names",
    "lab": "The lab",
    "states": "States",
}


def faces():
    """Every public name once: (room, its name as it is called, the thing)."""
    doors = {"": oxe} | {
        f"{name}.": room
        for name in oxe.__all__
        if isinstance(room := getattr(oxe, name), ModuleType)
    }
    for door, place in doors.items():
        for name in place.__all__:
            thing = getattr(place, name)
            if not isinstance(thing, ModuleType):
                room = door.removesuffix(".") or thing.__module__.split(".")[1]
                if not door and is_optimizer(thing):
                    room = "_optimizers"  # SWATS, too, which switches
                yield room, door + name, thing
    for name in oxe.lab.problems.__all__:
        yield "lab", f"lab.problems.{name}", getattr(oxe.lab.problems, name)


def is_optimizer(thing) -> bool:
    if not inspect.isfunction(thing):
        return False
    return next(iter(inspect.signature(thing).parameters), "") == "learning_rate"


def summary(name: str, thing) -> str:
    """The first paragraph of its docstring; of data that is what stands below it."""
    if inspect.isclass(thing) or inspect.isfunction(thing):
        doc = inspect.getdoc(thing) or ""
    else:
        doc = "\n".join(said_of(name, thing))
    return doc.partition("\n\n")[0].replace("\n", " ")


def said_of(name: str, thing) -> list[str]:
    """The string below data, in whichever file makes them."""
    last = short(name)
    for module, holds in list(sys.modules.items()):
        if module.startswith("optax_extras.") and vars(holds).get(last) is thing:
            docs = ModuleAnalyzer.for_module(module).find_attr_docs()
            if ("", last) in docs:
                return docs["", last]
    raise ValueError(f"oxe.{name} has no string below it")


def short(name: str) -> str:
    return name.rpartition(".")[2]


def page_of(name: str, thing, picture) -> str:
    """The page of one name, in reStructuredText."""
    room, _, last = f"optax_extras.{name}".rpartition(".")
    lines = [f"oxe.{name}", "=" * (len(name) + 4), ""]
    if picture:
        lines += [f".. figure:: pictures/{picture.file}"]
        lines += [f"   :alt: {picture.what}", ""]
        lines += [f"   {picture.what}", ""]
    lines += [f".. currentmodule:: {room}", ""]
    if inspect.isclass(thing):
        lines += [f".. autoclass:: {last}", "   :members:", ""]
    elif inspect.isfunction(thing):
        lines += [f".. autofunction:: {last}", ""]
    else:
        lines += [f".. data:: {last}", ""]
        lines += [f"   {line}".rstrip() for line in said_of(name, thing)]
    return "\n".join(lines)


def make(app) -> None:
    """Writes the pages and the pictures."""
    out = Path(app.srcdir) / "reference"
    drawn = out / "pictures"
    drawn.mkdir(parents=True, exist_ok=True)
    rooms: dict[str, list] = {room: [] for room in ROOMS}
    for room, name, thing in faces():
        picture = pictures.draw(name, thing, drawn)
        rooms[room].append((name, thing, picture))
        write(out / f"{name}.rst", page_of(name, thing, picture))
    for room, found in rooms.items():
        write(out / f"{index_name(room)}.rst", index_of(room, found))
    entries = [f"   {index_name(room)}" for room in ROOMS]
    head = ["Reference", "=========", "", REFERENCE, "", ".. toctree::", ""]
    write(out / "index.rst", "\n".join(head + entries) + "\n")


def index_name(room: str) -> str:
    """Of its page: `oxe.hyperparameters` is a function and has one, too."""
    return f"{room.strip('_')}-index"


REFERENCE = """\
Every public name, as it is called after ``import optax_extras as oxe``. Pictures are
drawn from the example in each docstring: a schedule's curve, an optimizer's paths on
two problems, what a rate does about a loss. A rate there is the example's and tuned for
neither problem: the pictures show how a rule moves, not which one is best."""


def index_of(room: str, found) -> str:
    """The page of a room: pictures, a line for each name, and where to go on."""
    title = ROOMS[room]
    module = room if not room.startswith("_") else None
    lines = [title, "=" * len(title), ""]
    if module:
        lines += [f".. automodule:: optax_extras.{module}", "   :no-members:", ""]
    else:  # the module of a room with an underscore is nobody's to import
        lines += [inspect.getdoc(import_module(f"optax_extras.{room}")) or "", ""]
    seen = [(name, picture) for name, _, picture in found if picture]
    if seen:
        wide = max(figure.is_wide for _, figure in seen)
        kind = "gallery wide" if wide else "gallery"
        if wide:
            lines += [pictures.PATHS, ""]
        lines += [".. raw:: html", "", f'   <div class="{kind}">']
        for name, picture in seen:
            lines.append(
                f'   <figure><a href="{name}.html">'
                f'<img src="../_images/{picture.file}" alt="{picture.what}">'
                f"<figcaption>{short(name)}</figcaption></a></figure>"
            )
        lines += ["   </div>", ""]
    functions = [x for x in found if not inspect.isclass(x[1])]
    classes = [x for x in found if inspect.isclass(x[1])]
    for some in (functions, classes):
        for name, thing, _ in some:
            lines += [f":doc:`oxe.{name} <{name}>`", f"   {summary(name, thing)}", ""]
    lines += [".. toctree::", "   :hidden:", ""]
    for some in (functions, classes):
        lines += [f"   {short(name)} <{name}>" for name, *_ in some]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Only what is new, so that Sphinx reads no page twice."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def at_the_door(app, env, node, content):
    """Where `:func:` names something of `oxe` from inside of another room."""
    target = f"optax_extras.{node.get('reftarget', '')}"
    found = env.domains["py"].objects.get(target)
    if found is None:
        return None
    page = node.get("refdoc", "index")
    return make_refnode(app.builder, page, found.docname, found.node_id, content)


def setup(app):
    app.connect("builder-inited", make)
    app.connect("missing-reference", at_the_door)
    return {"parallel_read_safe": True}
