"""Reads the directives and roles of Sphinx, and those that nobody knows, with docutils.

Sphinx itself needs a whole project, its configuration and its code, and executes both. The rule
here: prose, listings and notes of any directive stay. What refers to another file or to code
(`include`, `literalinclude`, `autoclass`) stays as the line that says so. A reference to a label of
another document stays as its label.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles
from docutils.statemachine import StringList

REFERENCE = "reference"  # attribute of an inline node: the label that it refers to
UNRESOLVED = "unresolved directives"
IGNORED = object()  # an option that has no effect
VERSION_CHANGES = {
    "versionadded": "Added in version {}",
    "versionchanged": "Changed in version {}",
    "deprecated": "Deprecated since version {}",
    "versionremoved": "Removed in version {}",
    "version-added": "Added in version {}",
    "version-changed": "Changed in version {}",
    "version-deprecated": "Deprecated since version {}",
    "version-removed": "Removed in version {}",
    "deprecated-removed": "Deprecated since version {}",
}
LISTINGS = {
    "code", "code-block", "sourcecode", "code-tab", "code-cell", "ipython", "ipython3", "doctest",
    "testcode", "testoutput", "testsetup", "prompt", "productionlist", "graphviz", "digraph",
    "graph", "mermaid", "plantuml", "uml", "plot", "jupyter-execute", "parsed-code", "terminal",
    "console", "program-output", "cmake", "ditaa", "blockdiag", "seqdiag", "runblock", "pyodide",
}  # fmt: skip
# Their text is another file, or comes from code that only an import would read.
ELSEWHERE = {
    "include", "literalinclude", "csv-include", "autosummary", "argparse", "click", "openapi",
    "swaggerv2doc", "doxygenfile", "automodulesumm", "exec", "jupyter-kernel", "remoteinclude",
    "rli", "command-output", "bibliography", "todolist", "listing", "gallery", "minigallery",
}  # fmt: skip
# Instructions to Sphinx of which a reader sees nothing.
SILENT = {
    "toctree", "index", "highlight", "currentmodule", "py:currentmodule", "module", "py:module",
    "default-domain", "program", "tabularcolumns", "meta", "sectionauthor", "codeauthor",
    "moduleauthor", "acks-silent", "pull-quote-silent", "role", "default-role", "title",
}  # fmt: skip
SILENT_IN_DOCUTILS = {"role", "default-role", "title", "meta"}
OBJECTS = {
    "option", "cmdoption", "function", "method", "classmethod", "staticmethod", "attribute", "data",
    "exception", "class", "property", "decorator", "decoratormethod", "type", "macro", "struct",
    "enum", "enumerator", "union", "member", "var", "confval", "envvar", "describe", "object",
    "setting", "directive", "variable", "interface", "concept", "namespace", "event", "signal",
    "get", "post", "put", "delete", "patch", "head", "options", "any", "field", "label-name",
}  # fmt: skip
HTTP_VERBS = {"get", "post", "put", "delete", "patch", "head", "options", "any"}
TITLED = {"seealso": "See also", "todo": "Todo", "centered": "", "rubric": "", "acks": ""}
CODE_ROLES = {
    "func", "meth", "class", "mod", "attr", "exc", "data", "const", "obj", "keyword", "option",
    "envvar", "program", "command", "file", "samp", "kbd", "makevar", "mimetype", "regexp",
    "token", "type", "macro", "member", "var", "enum", "enumerator", "setting", "confval", "dir",
}  # fmt: skip
CALLED_ROLES = {"func", "meth"}
REFERENCE_ROLES = {"ref", "numref", "doc", "any", "term", "download", "eq", "keyword-ref"}
EXPLICIT_TITLE = re.compile(r"^(.+?)\s*<([^<>]*)>$", re.DOTALL)
OPTION_LINE = re.compile(r"^:([\w][\w. +-]*):(?:\s+(.*))?$")
OWN_ROLES = {
    "code", "math", "raw", "sub", "subscript", "sup", "superscript", "emphasis", "strong",
    "literal", "title-reference", "title", "t", "pep", "pep-reference", "rfc", "rfc-reference",
}  # fmt: skip


class AnyOption(dict[str, Any]):
    """The options of a directive, and any that it does not know."""

    def __getitem__(self, name: str) -> Any:
        convert = super().get(name, _ignore)
        return lambda value: _convert_or_ignore(convert, value)

    def __bool__(self) -> bool:
        return True


def _ignore(value: str | None) -> Any:
    return IGNORED


def _convert_or_ignore(convert: Any, value: str | None) -> Any:
    try:
        return convert(value)
    except (ValueError, TypeError):
        return IGNORED


class LenientOptions:
    """Runs a directive without the options that it does not know or whose values are wrong."""

    options: dict[str, Any]

    def run(self) -> Any:
        self.options = {name: value for name, value in self.options.items() if value is not IGNORED}
        return super().run()  # type: ignore[misc]  # the directive's


class SphinxDirective(Directive):
    """Any directive that docutils does not know: its arguments as text, its content parsed."""

    has_content = True

    def run(self) -> list[Any]:
        arguments, options, content = self._split()
        full_name = self.name.lower()
        name = full_name.rpartition(":")[2]
        if full_name in SILENT:
            return []
        if name in ELSEWHERE or name.startswith(("auto", "doxygen")):
            return self._name_source(arguments, content)
        if name in VERSION_CHANGES:
            return self._change(VERSION_CHANGES[name], arguments, content)
        if name in LISTINGS:
            return self._listing(name, arguments, options, content)
        if name in OBJECTS:
            return self._describe(name, arguments, content)
        if name == "raw":
            return self._raw(arguments, content)
        if name == "glossary":
            return [self._glossary(content)]
        return self._container(name, arguments, options, content)

    def _split(self) -> tuple[list[str], dict[str, str], StringList]:
        """The arguments' lines, the options and the content."""
        lines = self.content
        first_line = self.block_text.split("\n", 1)[0].partition("::")[2].strip()
        arguments: list[str] = []
        start = 0
        if first_line:
            while start < len(lines) and lines[start].strip():
                if OPTION_LINE.match(lines[start]):
                    break
                arguments.append(lines[start].strip())
                start += 1
        options: dict[str, str] = {}
        while start < len(lines):
            option = OPTION_LINE.match(lines[start])
            if option is None:
                break
            options[option[1]] = option[2] or ""
            start += 1
            while start < len(lines) and lines[start].startswith((" ", "\t")) and options:
                options[option[1]] += " " + lines[start].strip()
                start += 1
        while start < len(lines) and not lines[start].strip():
            start += 1
        return arguments, options, lines[start:]

    def _parse(self, content: StringList) -> list[Any]:
        container = nodes.container()
        self.state.nested_parse(content, self.content_offset, container, match_titles=True)
        children: list[Any] = container.children
        return children

    def _parse_line(self, text: str) -> list[Any]:
        inline, messages = self.state.inline_text(text, self.lineno)
        return [*inline, *messages]

    def _paragraph(self, text: str, is_strong: bool = False) -> Any:
        words = self._parse_line(text)
        inner = [nodes.strong("", "", *words)] if is_strong else words
        return nodes.paragraph("", "", *inner)

    def _name_source(self, arguments: list[str], content: StringList) -> list[Any]:
        """The line that names what is elsewhere, then what the directive says itself."""
        source = f".. {self.name}:: {' '.join(arguments)}".rstrip()
        line = nodes.paragraph("", "", nodes.literal("", source, classes=[UNRESOLVED]))
        return [line, *self._parse(content)]

    def _change(self, form: str, arguments: list[str], content: StringList) -> list[Any]:
        version, _, rest = " ".join(arguments).partition(" ")
        text = form.format(version)
        text += f": {rest}" if rest else ""
        return [self._paragraph(text), *self._parse(content)]

    def _listing(
        self, name: str, arguments: list[str], options: dict[str, str], content: StringList
    ) -> list[Any]:
        lines = list(content)
        if not lines and name not in ("code-block", "sourcecode", "code", "code-tab"):
            lines = arguments
        caption = options.get("caption", "")
        if name == "code-tab":
            caption = " ".join(arguments[:1]).partition(" ")[2] or " ".join(arguments)
        parts = [self._paragraph(caption)] if caption else []
        code = "\n".join(lines).rstrip()
        return [*parts, nodes.literal_block(code, code)] if code else parts

    def _describe(self, name: str, arguments: list[str], content: StringList) -> list[Any]:
        """A definition: each signature as a term, then what is said of it."""
        if name == "class" and self._is_style_class(arguments):
            return self._parse(content)
        signatures = [line.rstrip("\\").strip() for line in arguments]
        if name in HTTP_VERBS:
            signatures = [f"{name.upper()} {line}" for line in signatures]
        terms = [nodes.term("", "", nodes.literal("", line)) for line in signatures]
        definition = nodes.definition("", *self._parse(content))
        item = nodes.definition_list_item("", *terms, definition)
        return [nodes.definition_list("", item)]

    def _glossary(self, content: StringList) -> Any:
        """Definitions of which each may have several terms, one a line."""
        glossary = nodes.definition_list()
        terms: list[Any] = []
        start = 0
        while start < len(content):
            if content[start].strip() and not content[start].startswith(" "):
                term = content[start].partition(" : ")[0]
                terms.append(nodes.term("", "", *self._parse_line(term)))
                start += 1
                continue
            end = start
            while end < len(content) and content[end][:1] in ("", " "):
                end += 1
            definition = content[start:end]
            definition.trim_left(_indentation(definition))
            if terms or any(map(str.strip, definition)):
                body = nodes.definition("", *self._parse(definition))
                glossary += nodes.definition_list_item("", *terms, body)
                terms = []
            start = end
        if terms:
            glossary += nodes.definition_list_item("", *terms, nodes.definition())
        return glossary

    def _is_style_class(self, arguments: list[str]) -> bool:
        """docutils' `class` names a style; Sphinx's, a class of a program."""
        text = " ".join(arguments)
        return ":" not in self.name and not re.search(r"[A-Z(.]", text)

    def _raw(self, arguments: list[str], content: StringList) -> list[Any]:
        """The words of raw HTML; raw LaTeX and the like is not for this reader."""
        if "html" not in " ".join(arguments).lower():
            return []
        raw = nodes.raw("", "\n".join(content), format="html")
        return [raw]

    def _container(
        self, name: str, arguments: list[str], options: dict[str, str], content: StringList
    ) -> list[Any]:
        """Tabs, cards, boxes, notes: their title in bold, then their content."""
        title = TITLED.get(name, "")
        argument = " ".join(arguments)
        parts = [self._paragraph(title, is_strong=True)] if title else []
        label = options.get("title", "")
        for text in filter(None, (argument, label)):
            is_prose = name in TITLED
            parts.append(self._paragraph(text, is_strong=not is_prose))
        return [*parts, *self._parse(content)]


def _indentation(lines: StringList) -> int:
    filled_lines = filter(str.strip, lines)
    return min((len(line) - len(line.lstrip()) for line in filled_lines), default=0)


def _sphinx_role(
    name: str, source: str, text: str, line: int, inliner: Any, options: Any = None,
    content: Any = (),
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """Any role that docutils does not know, as the text that Sphinx shows."""
    text = roles.utils.unescape(text) if hasattr(roles, "utils") else text.replace("\x00", "")
    role = name.lower().rpartition(":")[2]
    explicit = EXPLICIT_TITLE.match(text)
    if role == "abbr":
        return [nodes.inline("", text)], []
    if explicit:
        title = explicit[1]
        if role in CODE_ROLES:
            return [nodes.literal("", title)], []
        return [nodes.inline("", title)], []
    if role in REFERENCE_ROLES:
        return [nodes.inline("", text.lstrip("!~"), **{REFERENCE: text})], []
    if role in CODE_ROLES:
        return [nodes.literal("", _shown_name(role, text))], []
    if role in ("menuselection", "guilabel"):
        return [nodes.inline("", text.replace("-->", "‣").replace("&", ""))], []
    if text.isdigit():  # :issue:`123`, whose form a project defines
        return [nodes.inline("", f"{role} {text}")], []
    return [nodes.inline("", text)], []


def _shown_name(role: str, text: str) -> str:
    """`~a.b.c` is shown as c, a function with parentheses, `{x}` in a path without braces."""
    if role in ("samp", "file"):
        return re.sub(r"\{([^{}]*)\}", r"\1", text)
    name = text.lstrip("!")
    if name.startswith("~"):
        name = re.split(r"[.:]+", name[1:])[-1]
    if role in CALLED_ROLES and not name.endswith(")"):
        name += "()"
    return name


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
        if not name or name.lower() in OWN_ROLES:
            return find_role(name, language, line, reporter)
        role, messages = find_role(name, language, line, reporter)
        return (role, messages) if role is not None else (_sphinx_role, [])

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
    if not isinstance(directive, type) or not directive.option_spec:
        return directive
    options = AnyOption(directive.option_spec)
    name = directive.__name__
    return type(name, (LenientOptions, directive), {"option_spec": options})
