"""The page of a large run in a browser: three sizes, dark, paper, keyboard, without script."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from large_report import synthetic

from bids_core.report import browse, build_report, write_report

pytestmark = pytest.mark.browser
SIZES = (1280, 768, 390)
ENOUGH = 10_000_000
"""Bytes that a page may have."""


@pytest.fixture(scope="module")
def large():
    """60,000 rows, 9,000 picks, 8 methods, 12 tasks, 120 sources; one hostile row."""
    inputs = synthetic()
    first = inputs.selections["bids"]["row_id"].iloc[0]
    turns = [{"role": "user", "content": "=HYPERLINK(1)"}, {"role": "assistant", "content": "<b>"}]
    texts = {**inputs.conversations, first: json.dumps(turns)}
    return replace(inputs, conversations=texts)


@pytest.fixture(scope="module")
def address(large, tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "report.html"
    path.write_text(build_report(large), encoding="utf-8")
    assert path.stat().st_size < ENOUGH
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install it)")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


@pytest.fixture
def visit(browser, address):
    """Open the page in a context of one's own; what the console said must stay empty."""
    contexts, said = [], []

    def _visit(width=1280, fragment="", ready=True, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address + fragment)
        if ready:
            page.wait_for_selector("#browse-live:not([hidden])")
        return page

    yield _visit
    for context in contexts:
        context.close()
    assert said == []


def shot(page, name):
    """Keep a picture where BIDS_SCREENSHOTS asks for it."""
    folder = os.environ.get("BIDS_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def count(page):
    return page.inner_text("#pick-count")


@pytest.mark.parametrize(("width", "scheme"), [*((w, "light") for w in SIZES), (1280, "dark")])
def test_it_fits(visit, width, scheme):
    page = visit(width, color_scheme=scheme)
    shot(page, f"report-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    figure = page.locator("#summary figure svg:visible").first.bounding_box()
    assert figure["x"] >= 0
    assert figure["x"] + figure["width"] <= width
    cells = page.locator("#scores table.grid").first.locator("tbody tr").nth(1).locator("td")
    boxes = [cell.bounding_box() for cell in cells.all()[:3]]
    assert all(box["x"] + box["width"] <= width for box in boxes)  # some scores without scrolling
    wide = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".length"
    )
    assert width < 1280 or wide == 0
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (sum(map(int, ink[4:-1].split(","))) > sum(map(int, paper[4:-1].split(",")))) is (
        scheme == "dark"
    )


def test_the_first_column_stays_while_a_table_scrolls(visit):
    page = visit(390)
    title = page.locator("#scores table.grid").first.locator("tbody th").first
    before = title.bounding_box()["x"]
    page.locator("#scores .scroll").first.evaluate("e => e.scrollLeft = 300")
    assert title.bounding_box()["x"] == pytest.approx(before, abs=1)


def test_all_picks_can_be_filtered(visit, large):
    page = visit()
    sets = {name: set(frame["row_id"]) for name, frame in large.selections.items()}
    assert count(page) == "9,000 picks"
    page.select_option("#pick-other", "less")
    both = len(sets["bids"] & sets["less"])
    page.get_by_text(f"{both:,} of 9,000 picks fit").wait_for()
    page.select_option("#pick-relation", "only")
    page.get_by_text(f"{9000 - both:,} of 9,000 picks fit").wait_for()
    page.select_option("#pick-other", "")
    frame = large.selections["bids"]
    source = frame["source"].iloc[7]
    page.select_option("#pick-source", label=source)
    page.get_by_text(f"{(frame['source'] == source).sum():,} of 9,000 picks fit").wait_for()
    task = frame[frame["source"] == source]["winning_task"].iloc[0]
    page.select_option("#pick-task", label=task)
    kinds = dict(zip(large.row_ids, large.row_columns["kind"], strict=True))
    fitting = frame[(frame["source"] == source) & (frame["winning_task"] == task)]
    code = sum(kinds[row] == "code" for row in fitting["row_id"])
    page.select_option(".pick-column", label="code")
    page.get_by_text(f"{code:,} of 9,000 picks fit").wait_for()
    assert page.locator("#picks-table tbody tr").count() == max(1, min(code, 50))


def test_another_method_is_shown_whole(visit, large):
    page = visit()
    page.select_option("#pick-method", "dsir")
    first, last = (large.selections["dsir"]["row_id"].iloc[place] for place in (0, 49))
    page.wait_for_selector(f"tr[data-row='{first}']")
    assert page.locator(f"tr[data-row='{last}']").count() == 1
    page.click("#pick-on")
    page.wait_for_selector(f"tr[data-row='{large.selections['dsir']['row_id'].iloc[50]}']")
    assert page.inner_text("#pick-page") == "51 to 100 of 9,000"


def test_searching_reads_the_texts_and_says_when_nothing_fits(visit, large):
    page = visit()
    page.fill("#pick-word", "hyperlink(1)")
    page.get_by_text("1 of 9,000 picks fit").wait_for()
    row = large.selections["bids"]["row_id"].iloc[0]
    assert page.get_attribute("#picks-table tbody tr", "data-row") == row
    page.fill("#pick-word", "no text has this")
    page.get_by_text("No pick matches.").wait_for()
    assert count(page) == "0 of 9,000 picks fit"
    page.get_by_role("button", name="Show all").click()
    page.locator("#pick-count").get_by_text("9,000 picks", exact=True).wait_for()


def test_what_is_saved_is_no_formula(visit, large):
    page = visit()
    page.fill("#pick-word", "hyperlink(1)")
    page.get_by_text("1 of 9,000 picks fit").wait_for()
    with page.expect_download() as download:
        page.click("#pick-save")
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text))
    assert download.value.suggested_filename == "bids_picks.csv"
    assert row["row_id"] == large.selections["bids"]["row_id"].iloc[0]
    assert row["text"] == "user: =HYPERLINK(1)\nassistant: <b>"
    assert float(row["utility"]) == pytest.approx(
        large.selections["bids"]["utility"].iloc[0], rel=1e-3
    )


def test_a_link_leads_to_its_row(visit, large):
    row = large.selections["bids"]["row_id"].iloc[4321]
    page = visit(fragment="#row=" + row.replace(":", "%3A"), permissions=["clipboard-write"])
    wanted = page.wait_for_selector("tr.wanted")
    assert wanted.get_attribute("data-row") == row
    said = json.loads(large.conversations[row])[0]["content"]
    page.locator("tr.wanted .turn").get_by_text(said).wait_for()
    page.get_by_role("button", name="Copy id").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    assert wanted.query_selector("a").get_attribute("href") == f"#row={row.replace(':', '%3A')}"
    missing = next(r for r in large.row_ids if all(r not in set(f["row_id"]) for f in
                                                   large.selections.values()))  # fmt: skip
    page.evaluate(f"location.hash = '#row={missing}'")
    page.get_by_text(f"No method picked row {missing}").wait_for()


def test_texts_that_were_cut_are_read_whole_from_beside_the_page(browser, tmp_path):
    large = synthetic(rows=3000, picks=600, methods=("bids", "less"), sources=9, test_rows=10)
    path = tmp_path / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browse, "BUDGET", 60_000)
        write_report(large, path)
    page = browser.new_page()
    page.goto(path.as_uri())
    row = large.selections["bids"]["row_id"].iloc[3]
    said = json.loads(large.conversations[row])[1]["content"]
    line = page.locator(f"tr[data-row='{row}']")
    line.locator("summary").first.click()
    line.locator(".turn").get_by_text(said).wait_for()
    shutil.rmtree(tmp_path / "report_texts")
    page.reload()
    line.locator("summary").first.click()
    line.get_by_text("more characters are in selected/bids.jsonl, line 4.").wait_for()
    page.close()


def test_near_misses_lead_to_the_pick_that_covers_them(visit):
    page = visit()
    link = page.locator("#missed a[href^='#row=']").first
    rank = link.inner_text().removeprefix("pick ")
    link.click()
    page.wait_for_selector("tr.wanted")
    assert page.locator("tr.wanted td").first.inner_text() == rank


def test_by_keyboard_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#summary"
    head = page.locator("th[data-key=utility]")
    head.locator("button").focus()
    assert page.get_attribute("th[data-key=rank]", "aria-sort") == "ascending"
    page.keyboard.press("Enter")
    page.wait_for_selector("th[data-key=utility][aria-sort=descending]")  # the highest first
    values = page.locator("#picks-table tbody td.worth").all_inner_texts()
    assert values == sorted(values, key=float, reverse=True)
    page.keyboard.press("Enter")
    page.wait_for_selector("th[data-key=utility][aria-sort=ascending]")
    assert page.get_attribute("th[data-key=rank]", "aria-sort") is None
    term = page.locator("a.term").first
    term.focus()
    page.keyboard.press("Enter")
    assert page.locator(":target").evaluate("e => e.tagName") == "DT"


def test_without_javascript_the_first_picks_are_there_and_it_says_so(visit, large):
    page = visit(ready=False, java_script_enabled=False)
    assert page.locator("#picks-table tbody tr").count() == 50
    words = page.inner_text("#browse-static")
    assert "The first 50 of 9,000: without JavaScript the page cannot list more" in words
    assert page.get_attribute("#browse-static a", "href") == "selected/bids.jsonl"
    assert not page.is_visible("#browse-live")


def test_on_paper_nothing_is_cut_off(visit):
    page = visit(702, color_scheme="dark")  # A4 less its margins
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 702
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.getBoundingClientRect().right <= 702)"
    )
    background = page.evaluate(
        "getComputedStyle(document.documentElement).getPropertyValue('--bg')"
    )
    assert background.strip() == "#ffffff"
    assert not page.is_visible("nav")
    assert page.locator("thead").first.evaluate("e => getComputedStyle(e).display") == (
        "table-header-group"
    )
    assert len(page.pdf(format="A4", prefer_css_page_size=True)) > 100_000
