"""A real Chromium, and pages in it that a key has opened."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
PATIENCE = 60_000  # milliseconds

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@contextmanager
def launch() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_with_key(
    browser: Browser, address: str, key: str, complaints: list[str], **options: Any
) -> Iterator[Page]:
    """A page whose key was typed in. What the browser complains about goes to `complaints`."""
    context = browser.new_context(color_scheme="light", **options)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden(timeout=PATIENCE)
    yield page
    context.close()
