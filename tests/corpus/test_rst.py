"""reStructuredText and Sphinx: every line that was once lost, with its right text."""

import pytest

from pipelines.corpus.parts import Empty, Unreadable
from pipelines.corpus.rst import convert_rst


def read(*lines: str) -> str:
    return convert_rst("\n".join(lines)).text


def test_headings_lists_and_code_become_markdown() -> None:
    text = read(
        "Title", "=====", "", "Some *text*.", "", "Part", "----", "", "* one", "* two", "",
        ".. code-block:: python", "", "   x = 1",
    )  # fmt: skip
    assert text == "# Title\n\nSome *text*.\n\n## Part\n\n* one\n* two\n\n```\nx = 1\n```\n"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("warning", "Warning"),
        ("note", "Note"),
        ("danger", "Danger"),
        ("tip", "Tip"),
        ("seealso", "**See also**"),
    ],
)
def test_notes_and_warnings_stay_where_they_stand(name: str, title: str) -> None:
    text = read("Before.", "", f".. {name}:: Never cut the cable.", "", "After.")
    assert text == f"Before.\n\n{title}\n\nNever cut the cable.\n\nAfter.\n"


def test_topics_and_sidebars_stay_with_their_titles() -> None:
    text = read(
        "First.", "", ".. topic:: Wires", "", "   Red.", "", ".. sidebar:: Tools", "", "   Pliers."
    )
    assert text == "First.\n\nWires\n\nRed.\n\nTools\n\nPliers.\n"


def test_footnotes_and_citations_stay_with_their_marks() -> None:
    text = read("Seen [1]_ by [Berg]_.", "", ".. [1] In a lab.", ".. [Berg] Ada Berg, Wires, 2024.")
    assert text == "Seen [1] by [Berg].\n\n[1] In a lab.\n\n[Berg] Ada Berg, Wires, 2024.\n"


def test_options_and_functions_are_definitions() -> None:
    text = read(
        ".. option:: --verbose, -v", "", "   Be loud.", "",
        ".. py:function:: cut(wire)", "              cut(wire, tool)", "", "   Cuts it.",
    )  # fmt: skip
    assert text == ("--verbose, -v\n:   Be loud.\n\ncut(wire)\n\ncut(wire, tool)\n:   Cuts it.\n")


def test_changes_of_versions_are_sentences() -> None:
    text = read(
        ".. deprecated:: 3.2", "   Use pliers.", "", ".. versionadded:: 1.0 The *tool* argument.",
        "", ".. versionchanged:: 2.0",
    )  # fmt: skip
    assert text == (
        "Deprecated since version 3.2: Use pliers.\n\n"
        "Added in version 1.0: The *tool* argument.\n\nChanged in version 2.0\n"
    )


def test_tabs_keep_their_labels_and_contents() -> None:
    text = read(
        ".. tabs::", "", "   .. tab:: Linux", "", "      Use apt.", "",
        "   .. code-tab:: py Python", "", "      import wire",
    )  # fmt: skip
    assert text == "**Linux**\n\nUse apt.\n\nPython\n\n```\nimport wire\n```\n"


def test_a_listing_keeps_its_lines_and_caption_whatever_its_options() -> None:
    text = read(
        ".. code-block:: python", "   :emphasize-lines: 1", "   :caption: wire.py",
        "   :nonsense: x", "", "   a = 1", "", "   b = 2",
    )  # fmt: skip
    assert text == "wire.py\n\n```\na = 1\n\nb = 2\n```\n"


@pytest.mark.parametrize("name", ["literalinclude", "include", "automodule", "autoclass"])
def test_what_is_in_another_file_or_in_code_is_named(name: str) -> None:
    document = convert_rst(f"Look:\n\n.. {name}:: wire.cutter\n   :lines: 1-3\n\nEnd.\n")
    assert document.text == f"Look:\n\n.. {name}:: wire.cutter\n\nEnd.\n"


def test_references_show_their_titles() -> None:
    text = read(
        ".. _cables:", "", "Cables", "======", "",
        "See :ref:`cables`, :ref:`the pliers <pliers>`, :ref:`pliers`, :doc:`/guide/start`,",
        ":doc:`Start <start>`, :func:`~wire.cut`, :class:`wire.Tool`, :file:`/etc/{name}`,",
        ":kbd:`Ctrl+C`, :menuselection:`File --> Save`, :abbr:`LIFO (last in, first out)`,",
        ":issue:`12`, :pep:`8`.",
    )  # fmt: skip
    assert text == (
        "# Cables\n\n"
        "See Cables, the pliers, pliers, /guide/start,\n"
        "Start, cut(), wire.Tool, /etc/name,\n"
        "Ctrl+C, File ‣ Save, LIFO (last in, first out),\n"
        "issue 12, PEP 8.\n\nLinks:\n\n* PEP 8: https://peps.python.org/pep-0008\n"
    )


def test_an_unknown_directive_keeps_its_argument_and_content() -> None:
    text = read(".. wire-box:: Red box", "   :color: red", "", "   It is *red*.", "", "   * one")
    assert text == "**Red box**\n\nIt is *red*.\n\n* one\n"


def test_what_tells_sphinx_when_or_how_to_show_content_is_no_text() -> None:
    text = read(
        ".. only:: html", "", "   On the web.", "", ".. grid:: 1 2 2 3", "",
        "   .. grid-item-card:: Boards", "", "      Mount it.",
    )  # fmt: skip
    assert text == "On the web.\n\n**Boards**\n\nMount it.\n"


def test_a_known_directive_keeps_its_content_with_options_that_docutils_does_not_know() -> None:
    text = read(
        ".. figure:: a.png", "   :loading: lazy", "   :width: abc", "", "   The cutter.", "",
        ".. list-table:: Wires", "   :class: wide", "   :header-rows: 1", "   :nonsense: 1", "",
        "   * - Wire", "     - Use", "   * - red", "     - power",
    )  # fmt: skip
    assert text == "The cutter.\n\nWires\n\n| Wire | Use |\n| --- | --- |\n| red | power |\n"


def test_what_docutils_cannot_read_stays_as_its_source_and_is_counted() -> None:
    table = "====  ====\nA     B\n====  ====\n1     2 and\n3\n"
    document = convert_rst(f"Before.\n\n.. csv-table:: T\n   :file: a.csv\n\n{table}\nAfter.\n")
    assert ".. csv-table:: T\n   :file: a.csv" in document.text
    for word in ("Before.", "A", "B", "1", "2 and", "3", "After."):
        assert word in document.text
    assert document.left_out["unresolved directives"] > 0


def test_a_glossary_keeps_several_terms_of_one_definition() -> None:
    text = read(".. glossary::", "", "   wire", "   cable", "      A thing that conducts.")
    assert text == "wire\n\ncable\n:   A thing that conducts.\n"


def test_what_tells_sphinx_alone_is_not_text() -> None:
    document = convert_rst(
        ":orphan:\n\nCables\n======\n\n.. index:: cable\n.. highlight:: python\n\n"
        ".. toctree::\n   :maxdepth: 2\n\n   start\n   end\n\nText.\n\n.. a comment\n"
    )
    assert document.text == "# Cables\n\nText.\n"
    assert document.left_out["comments"] == len("a comment")


def test_powers_and_formulas_stay_readable() -> None:
    assert read(r"10\ :sup:`6` wires, :math:`x^2`.") == "10^6 wires, x^2.\n"


def test_sphinxs_class_is_a_description_and_that_of_docutils_a_style() -> None:
    assert read(".. class:: Cutter(tool)", "", "   Cuts.") == "Cutter(tool)\n:   Cuts.\n"
    assert read(".. class:: special", "", "Cuts.") == "Cuts.\n"


def test_roles_of_one_document_are_not_those_of_the_next() -> None:
    assert read(".. role:: wire", "", ":wire:`red`") == "red\n"
    assert read(":wire:`12`") == "wire 12\n"


def test_a_document_of_comments_is_empty_and_one_nested_too_deeply_is_rejected() -> None:
    with pytest.raises(Empty):
        convert_rst(".. comment\n")
    nested_lists = "\n\n".join("  " * depth + "* a" for depth in range(1500))
    with pytest.raises(Unreadable, match="its parts are nested too deeply"):
        convert_rst(nested_lists)
