"""Makes docx files from the XML of their body, as Word and its kin write it."""

import io
import zipfile

MAIN = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
)
WORD_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
PACKAGE_RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{RELATIONS}/officeDocument" Target="word/document.xml"/>'
    "</Relationships>"
)
NAMESPACES = (
    f'xmlns:w="{MAIN}" xmlns:r="{RELATIONS}" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:v="urn:schemas-microsoft-com:vml"'
)
STYLES = (
    '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/>'
    "</w:style>"
    '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="ListBullet"><w:name w:val="List Bullet"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="Chapter"><w:name w:val="Chapter"/>'
    '<w:basedOn w:val="Heading1"/></w:style>'
)


def make_docx(body: str, styles: str | None = STYLES, **parts: str) -> bytes:
    """A docx with this body; `parts` are further parts of the folder `word`, by their stems."""
    members = dict(parts)
    if styles is not None:
        members["styles"] = f"<w:styles {NAMESPACES}>{styles}</w:styles>"
    document = f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>"
    overrides = (
        f'<Override PartName="/word/document.xml" ContentType="{WORD_TYPE}.document.main+xml"/>'
    )
    relations = ""
    for number, stem in enumerate(members, start=1):
        overrides += f'<Override PartName="/word/{stem}.xml" ContentType="{WORD_TYPE}.{stem}+xml"/>'
        relations += (
            f'<Relationship Id="rId{number}" Type="{RELATIONS}/{stem.rstrip("0123456789")}" '
            f'Target="{stem}.xml"/>'
        )
    package = PACKAGE_RELATIONS.partition("<Relationship ")[0]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("[Content_Types].xml", CONTENT_TYPES.format(overrides=overrides))
        archive.writestr("_rels/.rels", PACKAGE_RELATIONS)
        archive.writestr("word/document.xml", document)
        archive.writestr("word/_rels/document.xml.rels", f"{package}{relations}</Relationships>")
        for stem, text in members.items():
            archive.writestr(f"word/{stem}.xml", text)
    return content.getvalue()


def paragraph(*runs: str, style: str = "", properties: str = "") -> str:
    """A paragraph; a run that is not XML is a text."""
    if style:
        properties = f'<w:pStyle w:val="{style}"/>' + properties
    inside = "".join(text if text.startswith("<") else run(text) for text in runs)
    return f"<w:p><w:pPr>{properties}</w:pPr>{inside}</w:p>"


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def table(*rows: str) -> str:
    return "<w:tbl><w:tblPr/><w:tblGrid/>" + "".join(rows) + "</w:tbl>"


def row(*cells: str) -> str:
    return "<w:tr>" + "".join(cells) + "</w:tr>"


def cell(content: str, properties: str = "") -> str:
    """A table's cell; a content that is not XML is a text."""
    inside = content if content.startswith("<") else paragraph(content)
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inside}</w:tc>"


def part(root: str, inside: str) -> str:
    """A part such as `footnotes`, by the name of its root element."""
    return f"<w:{root} {NAMESPACES}>{inside}</w:{root}>"


def save(document: object) -> bytes:
    """The bytes of a document, presentation or workbook that has `save`."""
    content = io.BytesIO()
    document.save(content)  # type: ignore[attr-defined]  # of three libraries
    return content.getvalue()
