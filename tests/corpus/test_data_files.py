"""Notebooks, JSON, JSON Lines, YAML, XML: read by libraries or rejected with what to do."""

import json

import pytest

from pipelines.corpus.detection import detect_media_type
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import ConvertedDocument, Unreadable

BOUNDS = Bounds(max_pages=1, max_unpacked_bytes=1)


def read(text: str, name: str) -> ConvertedDocument:
    content = text.encode()
    return convert(content, detect_media_type(content, name), BOUNDS)


def test_json_is_a_line_for_each_value() -> None:
    text = json.dumps({
        "title": "Wires",
        "tools": ["pliers", "tape"],
        "steps": [{"do": "cut"}, {"do": "bind"}],
        "ok": True,
        "none": None,
    })  # fmt: skip
    document = read(text, "a.json")
    assert document.title == "Wires"
    assert document.text == (
        "- title: Wires\n- tools: pliers, tape\n- steps.1.do: cut\n- steps.2.do: bind\n"
        "- ok: true\n- none: null\n"
    )


def test_records_of_json_and_of_json_lines_are_paragraphs() -> None:
    records = [{"id": 1, "text": "Cut."}, {"id": 2, "text": "Bind."}]
    text = "- id: 1\n- text: Cut.\n\n- id: 2\n- text: Bind.\n"
    assert read(json.dumps(records), "a.json").text == text
    assert read("\n".join(map(json.dumps, records)) + "\n", "a.jsonl").text == text


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ('{"a": 1', "a.json", "not JSON: .*line 1"),
        ('{"a": 1}\n{"b"\n', "a.jsonl", "not JSON Lines: line 2"),
        ("[" * 100_000, "a.json", "nested too deeply"),
        ("a: [1,\nb: }", "a.yaml", "not YAML: .*line 2"),
        ("{{ if .x }}\na: 1\n{{ end }}", "a.yaml", "not YAML: .*A template has to be filled in"),
        ("<a><b></a>", "a.xml", "not XML: mismatched tag"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "a.xml", "XML that defines entities"),
        ("<svg xmlns='http://www.w3.org/2000/svg'/>", "a.xml", r"a picture \(SVG\)"),
        ("= Title\n\nText.\n", "a.adoc", "AsciiDoc: convert it to HTML with `asciidoctor"),
        (r"{\rtf1\ansi Hello}", "a.txt", "RTF: save it as docx"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a.pdf", "git lfs pull"),
        ('{"a": 1}', "a.ipynb", "not a notebook: KeyError"),
    ],
)
def test_what_cannot_be_read_is_rejected_with_its_reason(text: str, name: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read(text, name)


def test_yaml_stays_as_it_is_with_its_comments() -> None:
    text = "# how many\nreplicas: 2\nimage: !Ref Image\n---\nb: |\n  ```\n  x\n  ```\n"
    assert read(text, "a.yml").text == f"````yaml\n{text.strip()}\n````\n"


def test_docbook_becomes_headings_paragraphs_and_listings() -> None:
    text = (
        "<?xml version='1.0'?><chapter xmlns='http://docbook.org/ns/docbook'><title>Wires</title>"
        "<para>Cut the <emphasis>red</emphasis> wire.</para><section><title>Tools</title>"
        "<itemizedlist><listitem><para>pliers</para></listitem></itemizedlist>"
        "<programlisting>a = 1\nb = 2</programlisting></section></chapter>"
    )
    document = read(text, "a.xml")
    assert document.text == (
        "# Wires\n\nCut the red wire.\n\n## Tools\n\n- pliers\n\n````\na = 1\nb = 2\n````\n"
    )
    assert document.title == "Wires"


def test_tables_of_dita_and_docbook_are_tables_and_their_titles_captions() -> None:
    text = (
        "<?xml version='1.0'?><topic><title>Wires</title><body><p>All wires.</p>"
        "<table><title>Colours</title><tgroup cols='2'><thead><row><entry>Wire</entry>"
        "<entry>Use</entry></row></thead><tbody><row><entry>red</entry><entry><p>not | cut</p>"
        "<p>yet</p></entry></row></tbody></tgroup></table>"
        "<simpletable><sthead><stentry>Tool</stentry></sthead><strow><stentry>pliers</stentry>"
        "</strow></simpletable></body></topic>"
    )
    assert read(text, "a.dita").text == (
        "# Wires\n\nAll wires.\n\nColours\n\n"
        "| Wire | Use |\n| --- | --- |\n| red | not \\| cut yet |\n\n"
        "| Tool |\n| --- |\n| pliers |\n"
    )
    text = (
        "<?xml version='1.0'?><section><title>Wires</title><table><caption>Colours</caption>"
        "<tr><th>Wire</th></tr><tr><td>red</td></tr></table><para>End.</para></section>"
    )
    assert read(text, "a.xml").text == (
        "# Wires\n\nColours\n\n| Wire |\n| --- |\n| red |\n\nEnd.\n"
    )


def test_items_of_several_blocks_keep_them_indented() -> None:
    text = (
        "<?xml version='1.0'?><article><title>Wires</title><itemizedlist><listitem>"
        "<para>Cut.</para><screen>cut\n  red</screen></listitem></itemizedlist></article>"
    )
    assert read(text, "a.xml").text == ("# Wires\n\n- Cut.\n\n  ````\n  cut\n    red\n  ````\n")


def test_xml_of_data_is_a_line_for_each_value() -> None:
    text = "<?xml version='1.0'?><rows><row><id>1</id><name>red &amp; blue</name></row></rows>"
    assert read(text, "document").text == "- id: 1\n\n- name: red & blue\n"


def test_a_notebook_is_its_text_its_code_and_what_it_printed() -> None:
    table = "<div><style>x</style><table><tr><th>a</th></tr><tr><td>1</td></tr></table></div>"
    cells = [
        {"cell_type": "markdown", "source": ["# Wires\n", "\n", "Cut."]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "text": ["\x1b[31m1\x1b[0m\n"]},
                {"output_type": "display_data", "data": {"image/png": "A" * 500}},
                {"output_type": "execute_result", "data": {"text/html": table, "text/plain": "a"}},
                {"output_type": "error", "ename": "KeyError", "evalue": "'x'"},
            ],
        },
    ]
    document = read(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}), "a.ipynb")
    assert document.text == (
        "# Wires\n\nCut.\n\n```\nprint(1)\n```\n\n```\n1\n```\n\n"
        "| a |\n| --- |\n| 1 |\n\n```\nKeyError: 'x'\n```\n"
    )
    assert document.title == "Wires"
    assert document.left_out == {"pictures": 500}


def test_a_notebook_of_an_older_format_is_read() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Wires"},
        {"cell_type": "code", "input": "x", "outputs": []},
    ]
    notebook = {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]}
    assert read(json.dumps(notebook), "a.ipynb").text == "## Wires\n\n```\nx\n```\n"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("<p>Cut <b>it</b>.</p>\n", "Cut **it**.\n"),
        ("Hi,<br>cut <b>it</b> with <i>care</i>.", "Hi,  \ncut **it** with *care*.\n"),
        ("<ul><li>a</li><li>b</li></ul>", "* a\n* b\n"),
    ],
)
def test_a_fragment_of_html_in_a_row_loses_its_tags(text: str, markdown: str) -> None:
    assert read(text, "document").text == markdown


@pytest.mark.parametrize(
    "text",
    [
        "Write <p> before and </p> after it.\n",
        "Use `<br>`, `</p>`, `</li>` and `</td>`.\n",
        "if a < b and c > d: pass\n",
        "List<String> names = new ArrayList<>();\n",
    ],
)
def test_a_text_about_html_stays_as_it_is(text: str) -> None:
    assert read(text, "document").text == text
