"""Finds the code that a stage uses, which DVC must watch: dvc.yaml lists it under `deps`.

DVC does not follow imports (iterative/dvc #9195): a module that is missing in `deps` would leave a
stale result in its cache without a word.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "pipelines"
TEMPLATES = Path(PACKAGE) / "pages"


def code_of(stage: str) -> list[str]:
    """The files and folders of `pipelines/` that the stage uses, sorted, as dvc.yaml lists them."""
    files = reachable(Path(PACKAGE) / "stages" / f"{stage}.py")
    paths = {path.as_posix() for path in files if path.is_dir() or has_effect(path)}
    folders = tuple(f"{path.as_posix()}/" for path in files if path.is_dir())
    return sorted(path for path in paths if not path.startswith(folders))


def reachable(start: Path) -> set[Path]:
    """`start` and all that it uses, directly or through others, wherever in a file it says so."""
    reachable_files: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path not in reachable_files:
            reachable_files.add(path)
            waiting += uses(path) if path.is_file() else []
    return reachable_files


def has_effect(path: Path) -> bool:
    """False for a module that holds nothing but a docstring: no change of it changes a result."""
    if path.suffix != ".py":
        return True
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return len(tree.body) > (1 if ast.get_docstring(tree) is not None else 0)


def uses(path: Path) -> Iterator[Path]:
    """What one file uses: imports, modules started by name, templates, folders copied whole."""
    if path.suffix == ".j2":
        yield from template_parents(path)
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from modules(alias.name)
        elif isinstance(node, ast.ImportFrom):
            source = source_of(node, path.parent)
            for alias in node.names:
                yield from files_of_import(source, alias.name, tree)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from named_in_text(node.value)


def source_of(node: ast.ImportFrom, package: Path) -> str:
    """The dotted name of the module that `from ... import` names, relative or not."""
    if not node.level:
        return node.module or ""
    base = package.parents[node.level - 2] if node.level > 1 else package
    return ".".join([*base.parts, *filter(None, [node.module])])


def files_of_import(source: str, name: str, tree: ast.AST) -> Iterator[Path]:
    """The files behind one imported name.

    A name that a package exports stands for the module that defines it. A package that is
    imported itself stands for the names that the code takes from it, and `FOLDER` of a package for
    all its files.
    """
    package = f"{source}.{name}"
    if name == "FOLDER":
        yield Path(*source.split("."))
    elif definition := exports(source).get(name):
        yield from modules(definition)
    elif exports(package):
        for attribute in attributes_of(name, tree):
            yield from files_of_import(package, attribute, tree)
    else:
        yield from modules(source)
        yield from modules(package)


def exports(package: str) -> dict[str, str]:
    """Name -> module, for the names that a package's `__init__` takes from its own modules."""
    init = Path(*package.split(".")) / "__init__.py"
    if not package.startswith(f"{PACKAGE}.") or not init.exists():
        return {}
    names: dict[str, str] = {}
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            source = source_of(node, init.parent)
            if source.startswith(f"{package}."):
                names |= {alias.asname or alias.name: source for alias in node.names}
    return names


def attributes_of(name: str, tree: ast.AST) -> set[str]:
    """The attributes that the code takes from the variable `name`."""
    attributes: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name:
            attributes.add(node.attr)
    return attributes


def modules(name: str) -> Iterator[Path]:
    """The file of a module of ours, and the `__init__` of each package around it.

    An `__init__` that only exports names is left out: it changes no result.
    """
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return
    for depth in range(2, len(parts) + 1):
        folder = Path(*parts[:depth])
        init = folder / "__init__.py"
        if init.exists() and not exports(".".join(parts[:depth])):
            yield init
        if folder.with_suffix(".py").exists():
            yield folder.with_suffix(".py")


def named_in_text(text: str) -> Iterator[Path]:
    """A module that is started in a process of its own, or a page's template."""
    if text.startswith(f"{PACKAGE}.") and text.replace(".", "").replace("_", "").isalnum():
        yield from modules(text)
    elif text.endswith(".html.j2") and (TEMPLATES / text).exists():
        yield TEMPLATES / text


def template_parents(path: Path) -> Iterator[Path]:
    """Templates that a template extends, includes or imports."""
    source = path.read_text(encoding="utf-8")
    for parent in path.parent.glob("*.j2"):
        if parent != path and parent.name in source:
            yield parent
