import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Request, sync_playwright

from pipelines.corpus.docs_assets import MissingAsset, bring_assets, external_addresses
from pipelines.corpus.quality import Promise, examine
from pipelines.system import paths

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / ".state/data_docs"
CHROMIUM = shutil.which("chromium")
PATIENCE = 60_000  # milliseconds
PAGE = (
    '<link rel="stylesheet" href="https://cdn.example/all.min.css" integrity="sha384-x" '
    'crossorigin="anonymous">'
    "<script src='https://cdn.example/npm/vega@5'></script>"
    '<img src="https://cdn.example/logo-long.png?d=2026">'
    "<style>h1 { background: url('https://cdn.example/dark.png') }</style>"
    '<a href="https://docs.example/">Read more</a>'
)


def make_docs(folder: Path, page: str = PAGE) -> Path:
    """A site with one page in an inner folder, and the pictures that come with it."""
    docs = folder / "docs"
    (docs / "validations").mkdir(parents=True)
    (docs / "validations/page.html").write_text(page)
    (docs / "static/images").mkdir(parents=True)
    (docs / "static/images/logo-long.png").touch()
    return docs


def make_assets(folder: Path) -> Path:
    files = folder / "assets/files"
    files.mkdir(parents=True)
    (files / "all.min.css").write_text("a")
    (files / "vega@5.js").write_text("b")
    return folder / "assets"


def test_styles_scripts_and_pictures_come_from_beside_the_pages(tmp_path: Path) -> None:
    docs = make_docs(tmp_path)
    bring_assets(docs, make_assets(tmp_path))
    page = (docs / "validations/page.html").read_text()
    assert page == (
        '<link rel="stylesheet" href="../static/vendor/files/all.min.css">'
        "<script src='../static/vendor/files/vega@5.js'></script>"
        '<img src="../static/images/logo-long.png">'
        "<style>h1 { background: url(../static/images/logo-long.png) }</style>"
        '<a href="https://docs.example/">Read more</a>'
    )
    assert list(external_addresses(page)) == []
    assert len(list(external_addresses(PAGE))) == 4


def test_a_name_without_a_file_is_an_error_that_says_where_to_add_it(tmp_path: Path) -> None:
    docs = make_docs(tmp_path, '<script src="https://cdn.example/new.js"></script>')
    with pytest.raises(MissingAsset, match=r"https://cdn.example/new.js.*assets\.json"):
        bring_assets(docs, make_assets(tmp_path))


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pages of Great Expectations about two rows, of which one breaks a promise."""
    if not ASSETS.is_dir():
        pytest.skip(".state/data_docs is missing: run `make setup`")
    monkeypatch.setattr(paths, "state_folder", lambda: ROOT / ".state")
    rows = pd.DataFrame({"uri": ["book/a", "book/b"], "size": [1, None]})
    promise = Promise("size is known", "ExpectColumnValuesToNotBeNull", {"column": "size"})
    examine(rows, [promise], "documents", tmp_path / "docs")
    return tmp_path / "docs"


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_without_a_network_shows_the_pages_of_great_expectations(docs: Path) -> None:
    requests: list[str] = []
    failures: list[str] = []
    complaints: list[str] = []

    def note(request: Request) -> None:
        requests.append(request.url)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("request", note)
        page.on("requestfailed", lambda request: failures.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"file://{docs}/index.html")
        # A script draws the table of runs.
        page.get_by_text("Showing 1 to 1 of 1 rows").first.wait_for(timeout=PATIENCE)
        (result,) = docs.glob("validations/**/*.html")
        page.goto(f"file://{result}")
        assert "values must never be null" in page.inner_text("body")
        # Bootstrap's columns stand side by side, which they do only with its styles.
        assert page.locator(".row").first.evaluate("e => getComputedStyle(e).display") == "flex"
        browser.close()
    assert [url for url in requests if not re.match("file:|data:", url)] == []
    assert failures == []
    assert complaints == []
