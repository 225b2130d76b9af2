"""A project for workers, and a browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tiny_project import write_project


@pytest.fixture(scope="session")
def project(tmp_path_factory, tiny_model_folder):
    """A folder with data, for workers to run in; and the configuration of a run on it."""
    folder = tmp_path_factory.mktemp("project")
    return folder, write_project(folder, tiny_model_folder)


@pytest.fixture
def page(monkeypatch):
    """A page of a headless browser (Debian's chromium, driven by playwright)."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install it)")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        context = browser.new_context(
            viewport={"width": 1180, "height": 1000}, reduced_motion="reduce"
        )
        context.set_default_timeout(30_000)
        yield context.new_page()
        browser.close()


@pytest.fixture
def shots(tmp_path):
    """The folder for screenshots: that of BIDS_SCREENSHOTS."""
    folder = Path(os.environ.get("BIDS_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
