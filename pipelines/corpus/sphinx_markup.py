"""Lets docutils read Sphinx's directives and roles, and any option of its own directives.

Sphinx itself needs a whole project, its configuration and its code, and executes both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docutils.parsers.rst import directives as _directives
from docutils.parsers.rst import roles as _roles

from pipelines.corpus.sphinx_directives import ELSEWHERE, LISTINGS, SILENT, SphinxDirective
from pipelines.corpus.sphinx_roles import read_role

directives: Any = _directives  # its functions are replaced, which their types forbid
roles: Any = _roles
NO_EFFECT = object()  # an option that has no effect
SILENT_IN_DOCUTILS = {"role", "default-role", "title", "meta"}


class AnyOption(dict[str, Any]):
    """The options of a directive, and any that it does not know."""

    def __getitem__(self, name: str) -> Any:
        convert = super().get(name, _ignore)
        return lambda value: _convert_or_ignore(convert, value)

    def __bool__(self) -> bool:
        return True


def _ignore(value: str | None) -> Any:
    return NO_EFFECT


def _convert_or_ignore(convert: Any, value: str | None) -> Any:
    try:
        return convert(value)
    except (ValueError, TypeError):
        return NO_EFFECT


class LenientOptions:
    """Runs a directive without the options that it does not know or whose values are wrong."""

    options: dict[str, Any]

    def run(self) -> Any:
        self.options = {
            name: value for name, value in self.options.items() if value is not NO_EFFECT
        }
        return super().run()  # type: ignore[misc]  # the directive's


@contextmanager
def sphinx_markup() -> Iterator[None]:
    """Within the block, docutils finds every directive and role.

    docutils looks both up in these functions; Sphinx replaces them in the same way.
    """
    find_directive = directives.directive
    find_role = roles.role

    def lenient_directive(name: str, language: Any, document: Any) -> tuple[Any, list[Any]]:
        if _is_ours(name.lower()):
            return SphinxDirective, []
        directive, messages = find_directive(name, language, document)
        if directive is None:
            return SphinxDirective, []
        return _accept_any_option(directive), messages

    def lenient_role(name: str, language: Any, line: int, reporter: Any) -> tuple[Any, list[Any]]:
        role, messages = find_role(name, language, line, reporter)
        if role is None:
            return read_role, []
        return role, messages

    directives.directive = lenient_directive
    roles.role = lenient_role
    try:
        yield
    finally:
        directives.directive = find_directive
        roles.role = find_role
        roles._roles.clear()  # those that the document defined


def _is_ours(name: str) -> bool:
    """Whether a directive is read here although docutils has one of this name."""
    if name in SILENT_IN_DOCUTILS:
        return False
    is_known_code = name in LISTINGS | ELSEWHERE | SILENT
    return is_known_code or name in ("class", "raw")


def _accept_any_option(directive: Any) -> Any:
    """docutils' directive with options that it does not know, which it would refuse whole."""
    if not isinstance(directive, type) or not getattr(directive, "option_spec", None):
        return directive
    options = AnyOption(directive.option_spec)  # type: ignore[attr-defined]
    name = directive.__name__
    return type(name, (LenientOptions, directive), {"option_spec": options})
