"""Markdown, its front matter and pictures, and MDX."""

import base64

import pytest

from pipelines.corpus.markdown import convert_markdown, convert_plain_text
from pipelines.corpus.mdx import convert_mdx
from pipelines.corpus.parts import Empty, Unreadable

PICTURE = base64.b64encode(bytes(range(256)) * 20).decode()


@pytest.mark.parametrize(
    "front_matter",
    [
        "---\ntitle: Cut wires\nweight: 3\n---\n",
        "---\r\ntitle: 'Cut wires'\r\n---\r\n",
        '+++\ntitle = "Cut wires"\nweight = 3\n+++\n',
        "---\ntitle: Cut wires\nlayout: {{ page.layout }}\n---\n",
        "---\ntitle: Cut wires\ntags:\n  - a\n...\n",
    ],
)
def test_front_matter_gives_the_title_and_is_no_text(front_matter: str) -> None:
    document = convert_markdown(front_matter.replace("\r\n", "\n") + "\nTake the pliers.\n")
    assert document.title == "Cut wires"
    assert document.text == "# Cut wires\n\nTake the pliers.\n"
    assert document.left_out["front matter"] > 0
    assert [section["heading"] for section in document.sections] == ["Cut wires"]


def test_a_description_in_front_matter_is_the_first_paragraph() -> None:
    text = convert_markdown(
        "---\ntitle: Wires\ndescription: How to cut.\n---\n## Tools\n\nA.\n"
    ).text
    assert text == "# Wires\n\nHow to cut.\n\n## Tools\n\nA.\n"


def test_a_page_with_a_heading_of_its_own_keeps_it() -> None:
    document = convert_markdown("---\ntitle: Wires\n---\n# Cut wires\n\nA.\n")
    assert (document.title, document.text) == ("Wires", "# Cut wires\n\nA.\n")


@pytest.mark.parametrize(
    ("front_matter", "groups"),
    [
        ("---\ntitle: Pay\nreaders: hr\n---\n", ["hr"]),
        ("---\nreaders: [hr, board, hr]\n---\n", ["board", "hr"]),
        ("---\nReaders:\n  - hr\n---\n", ["hr"]),
        ('---\n"read\\x65rs": [hr]\n---\n', ["hr"]),
        ("---\n? readers\n: [hr]\n---\n", ["hr"]),
        ("---\ncommon: &c {readers: [hr]}\nmore: *c\n---\n", None),
        ("---\naccess:\n  readers: [hr]\n---\n", ["hr"]),
        ("---\n\u00a0readers\u200b: [hr]\n---\n".replace("\u00a0", ""), ["hr"]),
        ('+++\nreaders = ["hr"]\n+++\n', ["hr"]),
        ('+++\ntitle = "x"\n[extra]\nreaders = ["hr"]\n+++\n', ["hr"]),
        ('+++\nd = """\nfoo\n...\nbar\n"""\nreaders = ["hr"]\n+++\n', ["hr"]),
        ("---\nreaders: everyone\n---\n", ["everyone"]),
        ("---\ntitle: Readers of this page\n---\n", None),
        ("\ufeff---\nreaders: hr\n---\n".replace("\ufeff", ""), ["hr"]),
    ],
)
def test_front_matter_may_name_the_groups_that_alone_may_read(
    front_matter: str, groups: list[str] | None
) -> None:
    for convert in (convert_markdown, convert_mdx):
        if groups is None and "*c" in front_matter:
            with pytest.raises(Unreadable, match="names readers twice"):
                convert(front_matter + "\nWages.\n")
        else:
            assert convert(front_matter + "\nWages.\n").readers == groups


@pytest.mark.parametrize(
    "beginning",
    [
        "---\nreaders:\n---\n",
        "---\nreaders: []\n---\n",
        "---\nreaders: 7\n---\n",
        "---\nreaders: {hr: true}\n---\n",
        "---\nreaders: [hr team]\n---\n",
        "---\nreaders: [hr, everyone]\n---\n",
        "---\nreaders: hr\nReaders: board\n---\n",
        "---\nreaders: [hr]\nreaders: [everyone]\n---\n",
        "---\nreaders: [hr\n---\n",
        "---\nreaders: hr\nlayout: {{ page.layout }}\n---\n",
        "---\n{title: {{ S }}, readers: [hr]}\n---\n",
        "---\n{date: 2024-02-31, readers: [hr]}\n---\n",
        "---\n- readers: [hr]\n---\n",
        '---\n"readers": [hr\n no key\n---\n',
        "---\ntitle: x\n...\nreaders: [hr]\n---\n",
        "---\ntitle: S\n---\n---\nreaders: [hr]\n---\n",
        "<!-- lint -->\n---\nreaders: [hr]\n---\n",
        "----\nreaders: [hr]\n----\n",
        "---yaml\nreaders: [hr]\n---\n",
        "--- # x\nreaders: [hr]\n---\n",
        "---\u00a0\nreaders: [hr]\n---\n",
        "---\nreaders: [hr]\n ---\n",
        "---\nreaders: [hr]\n--- end\n",
        "---\nreaders: [hr]\n",
        "\u200b---\nreaders: [hr]\n---\n",
        "Title: Pay\nReaders: hr\n",
        '{"title": "Pay", "readers": ["hr"]}\n',
        ';;;\n{\n"readers": ["hr"]\n}\n;;;\n',
        "---\nre\u00adaders: [hr\n---\n",
        "+++\nreaders = [hr]\n+++\n",
    ],
)
def test_readers_that_cannot_be_understood_reject_the_page(beginning: str) -> None:
    for convert in (convert_markdown, convert_mdx):
        with pytest.raises(Unreadable, match="front matter"):
            convert(beginning + "\nWages.\n")


@pytest.mark.parametrize(
    "text",
    [
        "# Readers\n\nreaders: they read.\n",
        "Dear readers,\n\nhello.\n",
        "---\n\nreaders are welcome\n\n---\n\nText.\n",
    ],
)
def test_a_text_that_speaks_of_readers_is_for_everyone(text: str) -> None:
    assert convert_markdown(text).readers is None


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA rule above.\n\n---\n\nAnd below.\n",
        "Title\n---\n\ntext: no front matter\n\n---\n",
        "---\n- a list\n---\n\nText.\n",
    ],
)
def test_a_rule_is_not_front_matter(text: str) -> None:
    assert convert_markdown(text).text == text


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        (f"![Plot](data:image/png;base64,{PICTURE})", "![Plot](data:image/png)"),
        (f"![][1]\n\n[1]: <data:image/png;base64,{PICTURE}>", "![][1]\n\n[1]: <data:image/png>"),
        (f'<img src="data:image/gif;base64,{PICTURE}">', '<img src="data:image/gif">'),
        (f"![P](data:image/svg+xml;utf8,{'%3Csvg' * 30})", "![P](data:image/svg+xml)"),
    ],
)
def test_a_picture_that_is_embedded_leaves_its_type(text: str, shortened: str) -> None:
    document = convert_markdown(f"Before.\n\n{text}\n\nAfter.\n")
    assert document.text == f"Before.\n\n{shortened}\n\nAfter.\n"
    assert document.left_out == {"pictures": len(text) - len(shortened)}
    assert convert_plain_text(text).text == shortened + "\n"


def test_a_short_example_of_a_data_uri_stays() -> None:
    text = "Write `data:text/plain;base64,SGVsbG8=` into the field.\n"
    assert convert_markdown(text).text == text


def test_mdx_keeps_its_prose_and_listings_and_loses_its_code() -> None:
    source = (
        "---\ntitle: Queues\n---\nimport Tabs from '@theme/Tabs';\nimport {\n  A,\n} from 'b';\n\n"
        "export const x = {\n  a: 1,\n};\n\n# Queues\n\n{/* a comment */}\n\n"
        '<Tabs groupId="os">\n  <TabItem value="npm" label="With npm">\n\n'
        "    Install it:\n\n    ```js\n    import A from 'a'; // <B />\n    ```\n\n"
        "  </TabItem>\n</Tabs>\n\n<Note>Mind the `<Tabs>` component.</Note>\n"
    )
    document = convert_mdx(source)
    assert document.title == "Queues"
    assert "import Tabs" not in document.text
    assert "export const" not in document.text
    assert "a comment" not in document.text
    assert "**With npm**" in document.text
    assert "\nInstall it:\n" in document.text
    assert "```js\nimport A from 'a'; // <B />\n```" in document.text
    assert "Mind the `<Tabs>` component." in document.text
    assert "TabItem" not in document.text
    assert document.left_out["components' code"] > 100


def test_front_matter_alone_without_a_title_is_no_text() -> None:
    with pytest.raises(Empty):
        convert_markdown("---\nlayout: home\n---\n")


def test_comments_are_left_out_and_counted_but_not_in_code() -> None:
    text = (
        "<!-- licence -->\n\n# Soup <!-- draft -->\n\nBoil <!-- not\nlong --> it, says "
        "`<!-- x -->`.\n\n```html\n<!-- kept -->\n```\n\n    <!-- kept too -->\n\nEnd <!-- open\n"
    )
    document = convert_markdown(text)
    assert document.text == (
        "# Soup \n\nBoil  it, says `<!-- x -->`.\n\n```html\n<!-- kept -->\n```\n\n"
        "    <!-- kept too -->\n\nEnd <!-- open\n"
    )
    assert document.left_out == {"comments in the source": 47}
    assert document.title == "Soup"
