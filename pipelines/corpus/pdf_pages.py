"""Reads the pages of a PDF by PDFium: their text, their tables with lines, and what is wrong."""

from typing import Any, NamedTuple

from pipelines.corpus.parts import Unreadable
from pipelines.corpus.pdf_glyphs import UNKNOWN, Box, Glyph, read_glyphs, turn
from pipelines.corpus.pdf_grids import Table, take_tables
from pipelines.corpus.pdf_lines import join_glyphs
from pipelines.corpus.pdf_running import Sheet
from pipelines.corpus.recognition import Recogniser, RecognitionError, recognise

PICTURE_SHARE = 0.5  # of a page's area that a picture covers if the page is one
MAX_PICTURE_CHARACTERS = 30  # on a page that is a picture: a stamp such as the scanner's name


class Page(NamedTuple):
    """What is on a page. `is_picture`: it has next to no text, but a picture covers it."""

    sheet: Sheet
    tables: list[Table]
    num_characters: int
    num_unknown: int  # characters of which their font does not say which they are
    num_outside: int  # characters outside of the part of the page that is shown
    is_picture: bool
    recognised: tuple[str, ...] = ()  # paragraphs of a scanned page; it is no picture then


def read_pages(content: bytes, max_pages: int, recogniser: Recogniser) -> tuple[str, list[Page]]:
    """The title in the metadata, and the pages. Raises Unreadable with the reason."""
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(content) as file:
            _check_file(file, max_pages)
            title = file.get_metadata_value("Title").strip("\0 \n")
            return title, [_read_page(file, number, recogniser) for number in range(len(file))]
    except pypdfium2.PdfiumError as error:
        raise Unreadable(_explain(error)) from error


def _check_file(file: Any, max_pages: int) -> None:
    from pypdfium2 import raw

    num_pages = len(file)
    if num_pages == 0:
        raise Unreadable("a damaged PDF: it has no pages")
    if num_pages > max_pages:
        raise Unreadable(
            f"has {num_pages} pages, more than ingest.limits.max_pages ({max_pages}): "
            "split it, or raise the limit"
        )
    if file.get_formtype() == raw.FORMTYPE_XFA_FULL:
        raise Unreadable(
            "is a dynamic XFA form, whose pages only Adobe's reader makes: print it to a PDF"
        )


def _explain(error: Any) -> str:
    from pypdfium2 import raw

    if error.err_code == raw.FPDF_ERR_PASSWORD:
        return "is encrypted with a password: save it without one"
    if error.err_code == raw.FPDF_ERR_SECURITY:
        return "is encrypted in a way that PDFium does not know: save it without encryption"
    return f"a damaged PDF: {str(error)[:200]}"


def _read_page(file: Any, number: int, recogniser: Recogniser) -> Page:
    _add_annotations(file, number)
    page = file[number]
    text_page = page.get_textpage()
    try:
        result = _read_groups(page, read_glyphs(text_page))
        if result.is_picture and (recognised := recognise(page, recogniser)):
            return result._replace(is_picture=False, recognised=tuple(recognised))
        return result
    except RecognitionError as error:
        raise Unreadable(f"page {number + 1} is a scanned picture: {error}") from error
    finally:
        text_page.close()
        page.close()


def _add_annotations(file: Any, number: int) -> None:
    """Make what is filled into a form, and what was written onto the page, part of the page."""
    from pypdfium2 import raw

    page = file[number]
    has_annotations = raw.FPDFPage_GetAnnotCount(page) > 0
    if has_annotations and not raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY):
        raise Unreadable("a damaged PDF: its annotations cannot be read")
    page.close()  # it has to be opened again to show what was added


def _read_groups(page: Any, groups: dict[int, list[Glyph]]) -> Page:
    """A page whose characters are known, by the angle of their lines."""
    num_characters = sum(map(len, groups.values()))
    num_unknown = sum(glyph.text == UNKNOWN for glyphs in groups.values() for glyph in glyphs)
    visible_groups = {}
    for angle, glyphs in groups.items():
        frame = _frame(page, angle)
        visible_groups[angle] = [glyph for glyph in glyphs if frame.contains(glyph.box.middle)]
    num_visible = sum(map(len, visible_groups.values()))
    main_angle = max(groups, key=lambda angle: len(visible_groups[angle]), default=0)
    glyphs = visible_groups.pop(main_angle, [])
    tables, glyphs = take_tables(page, glyphs, main_angle) if glyphs else ([], [])
    turned_groups = list(map(join_glyphs, visible_groups.values()))
    sheet = Sheet(_frame(page, main_angle), join_glyphs(glyphs), turned_groups)
    return Page(
        sheet=sheet,
        tables=tables,
        num_characters=num_characters,
        num_unknown=num_unknown,
        num_outside=num_characters - num_visible,
        is_picture=num_visible <= MAX_PICTURE_CHARACTERS and _has_picture(page),
    )


def _frame(page: Any, angle: int) -> Box:
    """The part of the page that is shown, as someone sees it who reads at this angle."""
    if angle % 90:
        reach = sum(map(abs, page.get_bbox()))
        return Box(-reach, -reach, reach, reach)
    return turn(page.get_bbox(), angle)


def _has_picture(page: Any) -> bool:
    """Whether one picture covers most of the page."""
    from pypdfium2 import raw

    frame = Box(*page.get_bbox())
    area = frame.width * frame.height
    for picture in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE]):
        x0, y0, x1, y1 = picture.get_bounds()
        if (x1 - x0) * (y1 - y0) > PICTURE_SHARE * area:
            return True
    return False
