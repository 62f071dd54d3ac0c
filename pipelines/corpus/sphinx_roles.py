"""Reads the roles of Sphinx, `:ref:` and the like, as the text that Sphinx shows."""

import re
from typing import Any

from docutils import nodes, utils

REFERENCE = "reference"  # attribute of an inline node: the label that it refers to
CODE_ROLES = {
    "func", "meth", "class", "mod", "attr", "exc", "data", "const", "obj", "keyword", "option",
    "envvar", "program", "command", "file", "samp", "kbd", "makevar", "mimetype", "regexp",
    "token", "type", "macro", "member", "var", "enum", "enumerator", "setting", "confval", "dir",
}  # fmt: skip
CALLED_ROLES = {"func", "meth"}
REFERENCE_ROLES = {"ref", "numref", "doc", "any", "term", "download", "eq", "keyword-ref"}
EXPLICIT_TITLE = re.compile(r"^(.+?)\s*<([^<>]*)>$", re.DOTALL)


def read_role(*arguments: Any, **keywords: Any) -> tuple[list[Any], list[Any]]:
    """The text of a role, as docutils calls for it: name, source, text, and what is not needed."""
    name, _, raw_text = arguments[:3]
    text = utils.unescape(raw_text)
    role = name.lower().rpartition(":")[2]
    explicit = EXPLICIT_TITLE.match(text)
    if explicit and role != "abbr":
        is_code = role in CODE_ROLES
        node = nodes.literal("", explicit[1]) if is_code else nodes.inline("", explicit[1])
        return [node], []
    return [_node(role, text)], []


def _node(role: str, text: str) -> Any:
    if role in REFERENCE_ROLES:
        return nodes.inline("", text.lstrip("!~"), **{REFERENCE: text})
    if role in CODE_ROLES:
        return nodes.literal("", _shown_name(role, text))
    if role in ("menuselection", "guilabel"):
        return nodes.inline("", text.replace("-->", "‣").replace("&", ""))
    if text.isdigit():  # :issue:`123`, whose form a project defines
        return nodes.inline("", f"{role} {text}")
    return nodes.inline("", text)


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
