"""The Prefect UI's form, in a real browser: filled in, refused, mended, started, watched.

Screenshots go to the folder that BIDS_SCREENSHOTS names (docs/images, for those in the docs).
"""

from __future__ import annotations

import pytest
import stack

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.timeout(600)]


def field(scope, *labels):
    """Return the field of the form under nested labels (`Model`, `Path`)."""
    for label in labels:
        names = " or ".join(
            f"normalize-space()='{name}'" for name in (label, f"{label} (Optional)")
        )
        scope = scope.locator(
            "xpath=.//div[contains(@class,'schema-form-property')]"
            "[./div[contains(@class,'p-label__header')]"
            f"//span[contains(@class,'schema-form-property__label')][{names}]]"
        ).first
    return scope


def fill(scope, value, *labels):
    box = field(scope, *labels).locator("textarea, input").first
    box.fill(str(value))
    playwright.expect(box).to_have_value(str(value))


def settle(page):
    """Let the form take over what was typed: it waits for the typing to pause.

    The wait is a timer of the page itself, set after the form's own: on a loaded machine they
    are late together.
    """
    page.evaluate("() => new Promise(done => setTimeout(() => requestAnimationFrame(done), 1000))")


def submit(page):
    settle(page)
    page.get_by_role("button", name="Submit").click()


def test_the_form_is_filled_in_refused_mended_and_runs(
    server, first_deploy, project, tiny_model_folder, page, shots
):
    folder, _ = project
    (folder / "base-model").symlink_to(tiny_model_folder)
    deployment = server.deployment("select-data/pipeline")
    ui = server.url.removesuffix("/api")
    form_url = f"{ui}/deployments/deployment/{deployment['id']}/run"
    page.goto(form_url)
    form = field(page.locator("body"), "config")
    field(form, "Model").wait_for()
    fill(form, "from-the-form", "Name")
    fill(form, "base-model", "Model", "Path")
    settle(page)
    page.screenshot(path=shots / "ui-form.png")

    # defaults and choices are those of the model
    assert field(form, "Selection", "Budget").locator("input").input_value() == "0.15"
    choices = field(form, "Selection", "Normalization")
    assert choices.get_by_text("zscore").first.is_visible()
    assert field(form, "Warmup", "Learning Rate").locator("input").input_value() == "0.00002"
    assert not field(form, "Model", "Trust Remote Code").locator("input").is_checked()

    field(form, "Pool").get_by_role("button", name="Add item").click()
    fill(form, "pool/*.jsonl", "Pool", "Path")
    field(form, "Validation").get_by_role("button", name="Add item").click()
    for label, value in (
        ("Path", "validation/add.jsonl"), ("Task", "add"), ("Capability", "math"),
    ):  # fmt: skip
        fill(form, value, "Validation", label)
    fill(form, 1.5, "Selection", "Budget")
    submit(page)
    refusal = field(form, "Selection", "Budget").get_by_text("not valid")
    refusal.scroll_into_view_if_needed()
    assert refusal.is_visible()
    page.screenshot(path=shots / "ui-refused.png")
    assert page.url.endswith("/run")

    fill(form, 0.25, "Selection", "Budget")
    for section in ("Warmup", "Finetune"):
        fill(form, 1, section, "Epochs")
        fill(form, 4, section, "Batch Size")
    submit(page)
    page.wait_for_url(form_url.removesuffix("/run"))
    newest = server.post("/flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1,
                         deployments={"id": {"any_": [deployment["id"]]}})[0]  # fmt: skip
    assert newest["parameters"]["config"]["name"] == "from-the-form"
    with stack.Worker(server, "cpu", folder=folder):
        page.goto(f"{ui}/runs/flow-run/{newest['id']}")
        ended = server.wait(newest["id"])
        assert ended["state_type"] == "COMPLETED", server.logs(newest["id"])
        heading = page.locator(".page-heading, header").first
        heading.get_by_text("Completed").wait_for()
        page.get_by_text("Artifacts", exact=True).last.click()
        page.get_by_text("from-the-form-picks").first.wait_for()
        page.wait_for_timeout(1500)  # the graph of stages draws itself
        page.screenshot(path=shots / "ui-run.png")
    assert (folder / "runs" / "from-the-form" / "report.html").exists()
