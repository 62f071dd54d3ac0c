"""Recognises the text of scanned pages by Tesseract, if it is installed.

Tesseract is the best-kept recogniser that Debian carries (tesseract-ocr, and a package for each
language); it needs no GPU and no network.
"""

import io
import os
import shutil
import subprocess
from functools import cache
from typing import Any, NamedTuple

PROGRAM = "tesseract"
DOTS_PER_INCH = 300  # that Tesseract's documentation asks for
POINTS_PER_INCH = 72
MAX_PIXELS = 30_000_000  # an A3 page; a larger one is shown with fewer dots
PAGE_SECONDS = 120
MAX_QUOTED_CHARACTERS = 200


class RecognitionError(Exception):
    """Tesseract did not do its work; the text says why."""


class Recogniser(NamedTuple):
    """How scanned pages are read. With a `problem` they are not, and it says what to do."""

    languages: tuple[str, ...] = ()  # in Tesseract's names, such as eng
    version: str = ""
    problem: str = "`ingest.ocr_languages` in params.yaml is empty, so their text is not recognised"


@cache
def find(languages: tuple[str, ...]) -> Recogniser:
    """The recogniser that is installed for these languages."""
    if not languages:
        return Recogniser()
    if shutil.which(PROGRAM) is None:
        return Recogniser(
            languages,
            problem="install Tesseract, which then recognises their text "
            "(apt-get install tesseract-ocr), or run ocrmypdf over the file",
        )
    version = _run(["--version"]).splitlines()[0]
    known_languages = _run(["--list-langs"]).splitlines()[1:]
    missing = [language for language in languages if language not in known_languages]
    problem = ""
    if missing:
        packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in missing)
        problem = f"Tesseract lacks their language: apt-get install {packages}"
    return Recogniser(languages, version, problem)


def recognise(page: Any, recogniser: Recogniser) -> list[str]:
    """The paragraphs of a page of PDFium. Empty if it has no text, or cannot be recognised.

    Raises RecognitionError with Tesseract's own message if it fails.
    """
    if recogniser.problem:
        return []
    image = _render(page)
    languages = "+".join(recogniser.languages)
    text = _run(["stdin", "stdout", "-l", languages, "--dpi", str(DOTS_PER_INCH)], image)
    paragraphs = [paragraph.strip() for paragraph in text.replace("\f", "").split("\n\n")]
    return [paragraph for paragraph in paragraphs if any(map(str.isalnum, paragraph))]


def _render(page: Any) -> bytes:
    """The page as a picture (PNG)."""
    width, height = page.get_size()
    scale = DOTS_PER_INCH / POINTS_PER_INCH
    scale *= min(1.0, (MAX_PIXELS / (width * height * scale * scale)) ** 0.5)
    buffer = io.BytesIO()
    page.render(scale=scale, grayscale=True).to_pil().save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _run(arguments: list[str], content: bytes = b"") -> str:
    # One thread: the documents beside it use the other cores.
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    try:
        result = subprocess.run(
            [PROGRAM, *arguments],
            input=content,
            capture_output=True,
            env=environment,
            timeout=PAGE_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:  # a node of a cluster, where others have it
        raise RecognitionError("Tesseract is not installed on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise RecognitionError(f"Tesseract took more than {PAGE_SECONDS} s for a page") from error
    if result.returncode != 0:
        message = result.stderr.decode(errors="replace").strip()[:MAX_QUOTED_CHARACTERS]
        raise RecognitionError(f"Tesseract ended with {result.returncode}: {message}")
    return result.stdout.decode(errors="replace")
