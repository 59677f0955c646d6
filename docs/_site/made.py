"""The API reference, made when the site is built: a page for every public name.

Nothing is listed by hand. The group of a name follows from the package of its file, its
picture from the example in its docstring.
"""

import inspect
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pictures
import signatures
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

import optax_extras as oxe

# The package of a name: the title of its group. A new package needs an entry.
GROUPS = {
    "schedules": "Schedules",
    "averages": "Averages of the weights",
    "_learning_rates": "Metric-driven learning rates",
    "_optimizers": "Optimizers",
    "_groups": "Groups of params: numbers by path, axes of matrices",
    "layouts": "Layouts: which leaves are matrices",
    "_switching": "Switching between optimizers",
    "_hyperparameters": "Hyperparameters: reading, setting, scheduling",
    "_translation": "The state of another optimizer",
    "_state": "State: precision, accumulation, stacking",
    "pytorch": "PyTorch",
    "keras": "Keras",
    "transformers": "transformers (Hugging Face)",
    "timm": "timm",
    "lab": "Lab: problems, range tests, sweeps, plots",
    "rules": "Rules: the classical optimizers as values",
    "_kernel": "Kernel: writing your own rule",
    "states": "Types of the states",
}
INTRODUCTION = """\
All public names, group by group, as they are called after
``import optax_extras as oxe``. The title of a group leads to its page, with larger
pictures; a name leads to its arguments, formula and example."""


def public_names():
    """Every public name once: (group, name as it is called, object)."""
    modules = {"": oxe} | {
        f"{name}.": module
        for name in oxe.__all__
        if isinstance(module := getattr(oxe, name), ModuleType)
    }
    for prefix, module in modules.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if not isinstance(thing, ModuleType):
                group = prefix.removesuffix(".") or thing.__module__.split(".")[1]
                if not prefix and is_optimizer(thing):
                    group = "_optimizers"  # SWATS, which is written in `_switching`
                if name in ("averaged", "with_average"):
                    group = "averages"  # written in `_state`, because they wrap
                if group == "_by_path":  # FROZEN
                    group = "_groups"
                yield group, prefix + name, thing
    for name in oxe.lab.problems.__all__:
        yield "lab", f"lab.problems.{name}", getattr(oxe.lab.problems, name)


def is_optimizer(thing) -> bool:
    if not inspect.isfunction(thing):
        return False
    return next(iter(inspect.signature(thing).parameters), "") == "learning_rate"


def summary(name: str, thing) -> str:
    """The first paragraph of its docstring."""
    if inspect.isclass(thing) or inspect.isfunction(thing):
        doc = inspect.getdoc(thing) or ""
    else:
        doc = "\n".join(docstring_of_data(name, thing))
    return doc.partition("\n\n")[0].replace("\n", " ")


def docstring_of_data(name: str, thing) -> list[str]:
    """The string below the assignment, in the module that makes it."""
    last = short(name)
    for module, loaded in list(sys.modules.items()):
        if module.startswith("optax_extras.") and vars(loaded).get(last) is thing:
            docs = ModuleAnalyzer.for_module(module).find_attr_docs()
            if ("", last) in docs:
                return docs["", last]
    raise ValueError(f"oxe.{name} has no string below it")


def short(name: str) -> str:
    return name.rpartition(".")[2]


def page_of(name: str, thing, picture) -> str:
    """The page of one name, in reStructuredText."""
    module, _, last = f"optax_extras.{name}".rpartition(".")
    lines = [*title(f"oxe.{name}"), f".. currentmodule:: {module}", ""]
    if inspect.isclass(thing):
        lines += [f".. autoclass:: {last}", "   :members:", ""]
    elif inspect.isfunction(thing):
        lines += [f".. autofunction:: {last}", ""]
    else:
        lines += [f".. data:: {last}", ""]
        lines += [f"   {x}".rstrip() for x in docstring_of_data(name, thing)]
    if picture:
        figure = [f".. figure:: pictures/{picture.file}", f"   :alt: {name}"]
        figure += ["   :figclass: wide"] if picture.is_wide else []
        figure += ["", f"   {picture.caption}", ""]
        lines[2:2] = figure
    return "\n".join(lines)


def title(text: str, underline: str = "=") -> list[str]:
    return [text, underline * len(text), ""]


def make(app) -> None:
    """Writes the pages and the pictures."""
    out = Path(app.srcdir) / "reference"
    drawn = out / "pictures"
    drawn.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list] = {group: [] for group in GROUPS}
    for group, name, thing in public_names():
        picture = pictures.draw(name, thing, drawn)
        groups[group].append((name, thing, picture))
        write(out / f"{name}.rst", page_of(name, thing, picture))
    lines = [*title("API reference"), INTRODUCTION, ""]
    for group, found in groups.items():
        write(out / f"{index_name(group)}.rst", index_of(group, found))
        lines += title(f":doc:`{GROUPS[group]} <{index_name(group)}>`", "-")
        module = "" if group.startswith("_") else f".{group}"
        lines += [f".. currentmodule:: optax_extras{module}", ""]  # of its references
        lines += table_of(found)
    lines += [".. toctree::", "   :hidden:", ""]
    lines += [f"   {index_name(group)}" for group in GROUPS]
    write(out / "index.rst", "\n".join(lines) + "\n")


def index_name(group: str) -> str:
    """The page of a group. `oxe.hyperparameters` is a function and has a page, too."""
    return f"{group.strip('_')}-index"


def index_of(group: str, found) -> str:
    """The page of a group: what it is for, its pictures, and its table."""
    module = group if not group.startswith("_") else None
    lines = title(GROUPS[group])
    if module:
        lines += [f".. automodule:: optax_extras.{module}", "   :no-members:", ""]
    else:  # nobody imports a package with an underscore, so its name is not shown
        lines += [inspect.getdoc(import_module(f"optax_extras.{group}")) or "", ""]
    lines += table_of(found)
    lines += gallery_of(found)
    lines += [".. toctree::", "   :hidden:", ""]
    lines += [f"   {short(name)} <{name}>" for name, *_ in in_order(found)]
    return "\n".join(lines) + "\n"


def in_order(found) -> list:
    """Functions and data first, then classes."""
    return sorted(found, key=lambda x: inspect.isclass(x[1]))


def table_of(found) -> list[str]:
    """Name, one line and, where there are any, small pictures."""
    lines = [".. list-table::", "   :class: names", ""]
    has_pictures = any(picture for *_, picture in found)
    for name, thing, picture in in_order(found):
        cells = [f":doc:`oxe.{name} <{name}>`", summary(name, thing)]
        rows = [f"     - {cell}" for cell in cells]
        if has_pictures:
            rows = ["     -", *rows]
        if picture:
            rows[0] = f"     - .. image:: pictures/{picture.small}"
            rows[0] += f"\n          :alt:\n          :target: {name}.html\n"
        lines += [rows[0].replace("     -", "   * -", 1), *rows[1:]]
    return [*lines, ""]


def gallery_of(found) -> list[str]:
    """The pictures of a group, large enough to read their ticks."""
    seen = [(name, picture) for name, _, picture in found if picture]
    if not seen:
        return []
    is_wide = max(picture.is_wide for _, picture in seen)
    lines = [*title("Pictures", "-")]
    if is_wide:
        lines += [pictures.PATHS, ""]
    lines += [".. raw:: html", ""]
    lines += [f'   <div class="{"gallery wide" if is_wide else "gallery"}">']
    lines += [
        f'   <figure><a href="{name}.html">'
        f'<img src="../_images/{picture.file}" alt="{picture.caption}" loading="lazy">'
        f"<figcaption>{short(name)}</figcaption></a></figure>"
        for name, picture in seen
    ]
    return [*lines, "   </div>", ""]


def write(path: Path, text: str) -> None:
    """Writes what is new only, so that Sphinx reads no page twice."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def resolve(app, env, node, content):
    """A reference to a name of `oxe` from the docstring of another module."""
    target = f"optax_extras.{node.get('reftarget', '')}"
    found = env.domains["py"].objects.get(target)
    if found is None:
        return None
    page = node.get("refdoc", "index")
    return make_refnode(app.builder, page, found.docname, found.node_id, content)


def setup(app):
    app.connect("builder-inited", make)
    app.connect("missing-reference", resolve)
    signatures.setup(app)
    return {"parallel_read_safe": True}
