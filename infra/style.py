"""Measure how the code reads and compare it with fixed limits.

python infra/style.py                       what `make test` runs; exits 1 above a limit
python infra/style.py pipelines/corpus      the same for one folder, each offender by its line
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_CHARACTERS = 100  # in a line
MAX_ARGUMENTS = 5  # of a function, `self` and `cls` not counted
MAX_NODES_P90 = 22  # AST nodes in a simple statement, 90th percentile
MAX_COMPREHENSIONS = 3.0  # in 100 lines of code
MAX_VAGUE_SHARE = 0.005  # participles and vague words among the names that code defines
MAX_FILES_AT_TOP = 6  # Python files directly in pipelines/

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SIMPLE_STATEMENTS = (
    ast.AnnAssign,
    ast.Assert,
    ast.Assign,
    ast.AugAssign,
    ast.Delete,
    ast.Expr,
    ast.Raise,
    ast.Return,
)
BODIES = {"body", "orelse", "finalbody", "handlers", "cases", "decorator_list"}
IRREGULAR_PARTICIPLES = {
    "asked", "begun", "built", "done", "drawn", "found", "given", "gone", "held", "kept", "known",
    "left", "made", "said", "seen", "sent", "shown", "taken", "told", "wanted", "written",
}  # fmt: skip
NOUNS_IN_ED = {"bed", "breed", "embed", "feed", "need", "seed", "shed", "speed"}
VAGUE_WORDS = {
    "one", "ones", "other", "others", "place", "places", "some", "stuff", "thing", "things",
}  # fmt: skip


class Offender(NamedTuple):
    """A place in the code that breaks a rule."""

    rule: str
    path: Path
    line: int
    text: str


class Measures(NamedTuple):
    """What was counted over all files."""

    num_code_lines: int  # neither blank nor comment
    num_names: int
    num_comprehensions: int
    statement_sizes: list[int]
    offenders: list[Offender]


def measure(paths: list[Path]) -> Measures:
    """Count over these files; lines are measured in all of them."""
    num_code_lines = num_names = num_comprehensions = 0
    statement_sizes: list[int] = []
    offenders: list[Offender] = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        names = list(defined_names(tree))
        nodes = list(ast.walk(tree))
        num_code_lines += sum(is_code(line) for line in text.splitlines())
        num_names += len(names)
        num_comprehensions += sum(isinstance(node, COMPREHENSIONS) for node in nodes)
        statement_sizes += [size for node in nodes if (size := statement_size(node))]
        offenders += long_lines(path, text)
        offenders += crowded_statements(path, nodes)
        offenders += wide_functions(path, nodes)
        offenders += [Offender("name", path, line, name) for name, line in names if is_vague(name)]
    return Measures(num_code_lines, num_names, num_comprehensions, statement_sizes, offenders)


def is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def statement_size(node: ast.AST) -> int:
    """AST nodes in a simple statement; 0 for anything else and for a docstring."""
    if not isinstance(node, SIMPLE_STATEMENTS):
        return 0
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return 0
    return sum(1 for _ in ast.walk(node))


def long_lines(path: Path, text: str) -> Iterator[Offender]:
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MAX_CHARACTERS:
            yield Offender("line", path, number, f"{len(line)} characters")


def crowded_statements(path: Path, nodes: list[ast.AST]) -> Iterator[Offender]:
    """Statements with two comprehensions or more; the body of a compound statement not counted."""
    for node in nodes:
        if isinstance(node, ast.stmt):
            count = sum(isinstance(part, COMPREHENSIONS) for part in head_nodes(node))
            if count > 1:
                yield Offender("comprehensions", path, node.lineno, f"{count} in a statement")


def head_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement without those of the statements inside it."""
    for field, value in ast.iter_fields(statement):
        children = value if isinstance(value, list) else [value]
        for child in children:
            if isinstance(child, ast.AST) and field not in BODIES:
                yield from ast.walk(child)


def wide_functions(path: Path, nodes: list[ast.AST]) -> Iterator[Offender]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {argument.arg for argument in all_arguments(node.args)} - {"self", "cls"}
            if len(names) > MAX_ARGUMENTS:
                yield Offender("arguments", path, node.lineno, f"{node.name} has {len(names)}")


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def defined_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that the code defines, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def is_vague(name: str) -> bool:
    """Whether a name is a bare participle or says nothing (`found`, `_made`, `place`)."""
    word = name.strip("_").lower()
    is_participle = re.fullmatch(r"[a-z]+ed", word) is not None and word not in NOUNS_IN_ED
    return is_participle or word in IRREGULAR_PARTICIPLES or word in VAGUE_WORDS


def broken_limits(measures: Measures) -> Iterator[str]:
    """A sentence for each limit that the measures break."""
    by_rule = dict.fromkeys(("line", "comprehensions", "arguments", "name"), 0)
    for offender in measures.offenders:
        by_rule[offender.rule] += 1
    sizes = sorted(measures.statement_sizes)
    nodes_p90 = sizes[int(0.9 * len(sizes))]
    density = 100 * measures.num_comprehensions / measures.num_code_lines
    vague_share = by_rule["name"] / measures.num_names
    if by_rule["line"]:
        yield f"{by_rule['line']} lines are longer than {MAX_CHARACTERS} characters"
    if by_rule["comprehensions"]:
        yield f"{by_rule['comprehensions']} statements hold two comprehensions or more"
    if by_rule["arguments"]:
        yield f"{by_rule['arguments']} functions have more than {MAX_ARGUMENTS} arguments"
    if nodes_p90 > MAX_NODES_P90:
        yield f"a statement has {nodes_p90} AST nodes (p90); the limit is {MAX_NODES_P90}"
    if density > MAX_COMPREHENSIONS:
        yield f"{density:.1f} comprehensions in 100 lines; the limit is {MAX_COMPREHENSIONS}"
    if vague_share > MAX_VAGUE_SHARE:
        yield f"{vague_share:.2%} of the names are vague; the limit is {MAX_VAGUE_SHARE:.1%}"


def python_files(folders: list[str]) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths = [Path(line) for line in listing.splitlines()]
    return [path for path in paths if path.suffix == ".py" and path.exists()]


def main(folders: list[str]) -> int:
    measures = measure(python_files(folders or ["pipelines", "dags", "infra"]))
    problems = list(broken_limits(measures))
    files_at_top = list(Path("pipelines").glob("*.py"))
    if len(files_at_top) > MAX_FILES_AT_TOP:
        problems.append(f"pipelines/ holds {len(files_at_top)} files; at most {MAX_FILES_AT_TOP}")
    if folders or problems:
        for rule, path, line, text in measures.offenders:
            print(f"{path}:{line}: {rule}: {text}")
    for problem in problems:
        print(f"style: {problem}")
    if not problems:
        print(f"style: {measures.num_code_lines} lines of code are within all limits")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
