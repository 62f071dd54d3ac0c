"""Reads the directives of Sphinx, and those that nobody knows, with docutils.

The rule: prose, listings and notes of any directive stay. What refers to another file or to code
(`include`, `literalinclude`, `autoclass`) stays as the line that says so.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

OPEN_REFERENCES = "unresolved directives"
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
    "moduleauthor", "role", "default-role", "title",
}  # fmt: skip
OBJECTS = {
    "option", "cmdoption", "function", "method", "classmethod", "staticmethod", "attribute", "data",
    "exception", "class", "property", "decorator", "decoratormethod", "type", "macro", "struct",
    "enum", "enumerator", "union", "member", "var", "confval", "envvar", "describe", "object",
    "setting", "directive", "variable", "interface", "concept", "namespace", "event", "signal",
    "get", "post", "put", "delete", "patch", "head", "options", "any", "field", "label-name",
}  # fmt: skip
HTTP_VERBS = {"get", "post", "put", "delete", "patch", "head", "options", "any"}
NAMED_LANGUAGE = ("code-block", "sourcecode", "code", "code-tab")  # its argument is no code
# Their arguments tell Sphinx when to show the content, or how to lay it out.
LAYOUT = {
    "only", "ifconfig", "grid", "tab-set", "container", "hlist", "cssclass", "rst-class", "columns",
    "panels", "flat-table",
}  # fmt: skip
BOX_TITLES = {"seealso": "See also", "todo": "Todo", "centered": "", "rubric": "", "acks": ""}
OPTION_LINE = re.compile(r"^:([\w][\w. +-]*):(?:\s+(.*))?$")


@dataclass
class Block:
    """The parts of a directive: the lines after its name, its options, and its content."""

    name: str  # without its domain
    arguments: list[str]
    content: StringList
    options: dict[str, str] = field(default_factory=dict)


class SphinxDirective(Directive):
    """Any directive that docutils does not know: its arguments as text, its content parsed."""

    has_content = True

    def run(self) -> list[Any]:
        if self.name.lower() in SILENT:
            return []
        block = self._split()
        return self._reader(block.name)(block)

    def _reader(self, name: str) -> Callable[[Block], list[Any]]:
        """What reads a directive of this name."""
        if name in ELSEWHERE or name.startswith(("auto", "doxygen")):
            return self._name_source
        readers = {"raw": self._raw, "glossary": self._glossary}
        readers |= dict.fromkeys(VERSION_CHANGES, self._change)
        readers |= dict.fromkeys(LISTINGS, self._listing)
        readers |= dict.fromkeys(OBJECTS, self._describe)
        return readers.get(name, self._container)

    def _split(self) -> Block:
        lines = self.content
        name = self.name.lower().rpartition(":")[2]
        first_line = self.block_text.split("\n", 1)[0].partition("::")[2].strip()
        block = Block(name, _leading_arguments(lines) if first_line else [], lines)
        start = len(block.arguments)
        option_name = ""
        for line in lines[start:]:
            option = OPTION_LINE.match(line)
            if option is not None:
                option_name = option[1]
                block.options[option_name] = option[2] or ""
            elif option_name and line.startswith((" ", "\t")):
                block.options[option_name] += f" {line.strip()}"
            else:
                break
            start += 1
        while start < len(lines) and not lines[start].strip():
            start += 1
        block.content = lines[start:]
        return block

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

    def _name_source(self, block: Block) -> list[Any]:
        """The line that names what is elsewhere, then what the directive says itself."""
        source = f".. {self.name}:: {' '.join(block.arguments)}".rstrip()
        line = nodes.paragraph("", "", nodes.literal("", source, classes=[OPEN_REFERENCES]))
        return [line, *self._parse(block.content)]

    def _change(self, block: Block) -> list[Any]:
        version, _, rest = " ".join(block.arguments).partition(" ")
        text = VERSION_CHANGES[block.name].format(version)
        text += f": {rest}" if rest else ""
        return [self._paragraph(text), *self._parse(block.content)]

    def _listing(self, block: Block) -> list[Any]:
        lines = list(block.content)
        if not lines and block.name not in NAMED_LANGUAGE:
            lines = block.arguments
        caption = block.options.get("caption", "")
        if block.name == "code-tab":
            language_and_title = " ".join(block.arguments[:1])
            caption = language_and_title.partition(" ")[2] or language_and_title
        parts = [self._paragraph(caption)] if caption else []
        code = "\n".join(lines).rstrip()
        return [*parts, nodes.literal_block(code, code)] if code else parts

    def _describe(self, block: Block) -> list[Any]:
        """A definition: each signature as a term, then what is said of it."""
        if block.name == "class" and self._is_style_class(block.arguments):
            return self._parse(block.content)
        signatures = [line.rstrip("\\").strip() for line in block.arguments]
        if block.name in HTTP_VERBS:
            signatures = [f"{block.name.upper()} {line}" for line in signatures]
        terms = [nodes.term("", "", nodes.literal("", line)) for line in signatures]
        definition = nodes.definition("", *self._parse(block.content))
        item = nodes.definition_list_item("", *terms, definition)
        return [nodes.definition_list("", item)]

    def _is_style_class(self, arguments: list[str]) -> bool:
        """docutils' `class` names a style; Sphinx's, a class of a program."""
        text = " ".join(arguments)
        return ":" not in self.name and not re.search(r"[A-Z(.]", text)

    def _glossary(self, block: Block) -> list[Any]:
        """Definitions of which each may have several terms, one a line."""
        content = block.content
        glossary = nodes.definition_list()
        terms: list[Any] = []
        start = 0
        while start < len(content):
            if content[start][:1] not in ("", " "):
                term = content[start].partition(" : ")[0]
                terms.append(nodes.term("", "", *self._parse_line(term)))
                start += 1
                continue
            end = start
            while end < len(content) and content[end][:1] in ("", " "):
                end += 1
            definition = content[start:end]
            start = end
            if terms or any(map(str.strip, definition)):
                glossary += self._entry(terms, definition)
                terms = []
        if terms:
            glossary += nodes.definition_list_item("", *terms, nodes.definition())
        return [glossary]

    def _entry(self, terms: list[Any], definition: StringList) -> Any:
        definition.trim_left(_indentation(definition))
        body = nodes.definition("", *self._parse(definition))
        return nodes.definition_list_item("", *terms, body)

    def _raw(self, block: Block) -> list[Any]:
        """The words of raw HTML; raw LaTeX and the like is not for this reader."""
        if "html" not in " ".join(block.arguments).lower():
            return []
        return [nodes.raw("", "\n".join(block.content), format="html")]

    def _container(self, block: Block) -> list[Any]:
        """Tabs, cards, boxes, notes: their title in bold, then their content."""
        title = BOX_TITLES.get(block.name, "")
        parts = [self._paragraph(title, is_strong=True)] if title else []
        is_prose = block.name in BOX_TITLES
        argument = "" if block.name in LAYOUT else " ".join(block.arguments)
        for text in filter(None, (argument, block.options.get("title"))):
            parts.append(self._paragraph(text, is_strong=not is_prose))
        return [*parts, *self._parse(block.content)]


def _leading_arguments(lines: StringList) -> list[str]:
    """The lines up to an option or an empty line."""
    arguments = []
    for line in lines:
        if not line.strip() or OPTION_LINE.match(line):
            break
        arguments.append(line.strip())
    return arguments


def _indentation(lines: StringList) -> int:
    filled_lines = filter(str.strip, lines)
    return min((len(line) - len(line.lstrip()) for line in filled_lines), default=0)
