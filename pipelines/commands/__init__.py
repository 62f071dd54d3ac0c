"""Commands of `python -m pipelines` that are not stages: one file each, found by name.

A file holds the command's help (the first line of its docstring), its options
(`add_arguments(parser)`, if it has any) and its code (`run`). Nothing imports a command but the
runner; a command may import every room.
"""

import argparse
import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType


def names() -> list[str]:
    """All commands, in alphabetical order."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def summaries() -> dict[str, str]:
    """The first line of each command's docstring, read without importing the command."""
    lines: dict[str, str] = {}
    for name in names():
        source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source)) or ""
        lines[name] = docstring.partition("\n")[0]
    return lines


def load(name: str) -> ModuleType:
    return importlib.import_module(f"pipelines.commands.{name}")


def parser(program: str, name: str, module: ModuleType) -> argparse.ArgumentParser:
    """The command's own parser of options."""
    options = argparse.ArgumentParser(
        prog=f"{program} {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if hasattr(module, "add_arguments"):
        module.add_arguments(options)
    return options


def call(module: ModuleType, arguments: argparse.Namespace) -> int:
    """Call the command's `run` with its options by name, or whole if it asks for `arguments`."""
    if list(inspect.signature(module.run).parameters) == ["arguments"]:
        return int(module.run(arguments) or 0)
    return int(module.run(**vars(arguments)) or 0)
