"""Turns MDX, Markdown with components of JavaScript, into Markdown.

There is no reader of MDX in Python. Imports and exports, the components' tags and comments are
left out; what the components enclose, and what their titles and labels say, stays.
"""

import re
from collections.abc import Iterator
from textwrap import dedent

from pipelines.corpus.markdown import convert_markdown, only_losses
from pipelines.corpus.parts import ConvertedDocument

COMPONENTS = "components' code"
FENCE = re.compile(r"\s*(`{3,}|~{3,})")
SCRIPT = re.compile(
    r"(?m)^(?:import\s*(?:[\w*{][^\n]*|\{[^}]*\}[^\n]*|['\"][^\n]*)|"
    r"export\s+(?:const|let|var|default|function|async|class|\{|\*)[^\n]*)"
    r"(?:\n(?!\s*\n)[^\n]*)*"
)
COMMENT = re.compile(r"\{/\*.*?\*/\}", re.DOTALL)
BRACES = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
ATTRIBUTE = rf"[\w:-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|{BRACES}))?"
# Of the two alternatives the first is a code span, in which a tag is text.
TAG = re.compile(
    rf"(?P<code>`+)[^`]*(?P=code)|<(?:/?[A-Z][\w.]*(?:\s+(?:{ATTRIBUTE}|{BRACES}))*\s*/?|/?)>"
)
LABEL = re.compile(
    r"\b(?:title|label|header|heading|summary|description|caption|question)\s*=\s*"
    r"\{?(?:\"([^\"]+)\"|'([^']+)'|`([^`]+)`)\}?"
)
COMPONENT_LINE = re.compile(r"\s*</?(?:[A-Z]|>)")


def convert_mdx(text: str) -> ConvertedDocument:
    """MDX as Markdown; `left_out` counts the components' code."""
    blocks = list(_blocks(text))
    document = convert_markdown("".join(map(_read_block, blocks)))
    num_characters = sum(len(block) - len(_read_block(block)) for block in blocks)
    losses = {**document.left_out, COMPONENTS: max(0, num_characters)}
    return document._replace(left_out=only_losses(losses))


def _blocks(text: str) -> Iterator[str]:
    """The text cut into listings, which stay as they are, and what is between them."""
    block: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = FENCE.match(line)
        if fence:
            block.append(line)
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                yield "".join(block)
                block = []
                fence = ""
            continue
        if mark:
            yield "".join(block)
            block = []
            fence = mark[1]
        block.append(line)
    yield "".join(block)


def _read_block(block: str) -> str:
    if FENCE.match(block):
        return dedent(block)
    block = COMMENT.sub("", SCRIPT.sub("", block))
    if not TAG.search(block):
        return block
    # What a component encloses is indented, which Markdown would read as a listing.
    return TAG.sub(_labels, _dedent_enclosed(block))


def _labels(tag: re.Match[str]) -> str:
    """What a component's title, label and the like say, in bold; a code span as it is."""
    if tag["code"]:
        return tag[0]
    labels = []
    for texts in LABEL.findall(tag[0]):
        labels.append("**" + " ".join("".join(texts).split()) + "**")
    return "\n\n" + " ".join(labels) + "\n\n" if labels else ""


def _dedent_enclosed(block: str) -> str:
    """The lines between two tags of components without the indentation that they share."""
    result: list[str] = []
    inner_lines: list[str] = []
    for line in block.splitlines(keepends=True):
        if COMPONENT_LINE.match(line):
            result.append(dedent("".join(inner_lines)))
            result.append(line.lstrip())
            inner_lines = []
        else:
            inner_lines.append(line)
    result.append(dedent("".join(inner_lines)))
    return "".join(result)
