import ast
import inspect
import re
import sys
from pathlib import Path

import jinja2
import pytest

from pipelines import pages
from pipelines.pages import render

TEMPLATES = sorted(Path(pages.__file__).parent.glob("*.html.j2"))


def test_what_the_values_contain_is_shown_as_text_and_never_as_markup() -> None:
    report = {"path": "a.html", "title": "<script>alert(1)</script>", "href": '"><img src=x>'}
    page = render("run_reports.html.j2", run_id="<b>run</b>", reports=[report])
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;run&lt;/b&gt;" in page


def test_a_missing_value_is_an_error_and_not_an_empty_place_on_the_page() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'run_id' is undefined"):
        render("run_reports.html.j2", reports=[])


def test_every_page_extends_the_base_and_has_no_style_sheet_of_its_own() -> None:
    for template in TEMPLATES:
        if template.name != "base.html.j2":
            text = template.read_text()
            assert text.startswith('{% extends "base.html.j2" %}'), template
            assert "<style" not in text, template


def test_no_template_fetches_anything_or_runs_a_script() -> None:
    for template in TEMPLATES:
        pattern = r"https?://|src=(?!\"data:)|@import|url\(|<script|<link|\| safe"
        assert re.findall(pattern, template.read_text()) == [], template


def test_airflow_which_lacks_the_pipelines_packages_can_import_the_room() -> None:
    modules = set()
    for node in ast.walk(ast.parse(inspect.getsource(pages))):
        if isinstance(node, ast.ImportFrom):
            modules.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Import):
            modules.update(alias.name.split(".")[0] for alias in node.names)
    assert modules - sys.stdlib_module_names == {"jinja2"}
