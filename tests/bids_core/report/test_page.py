import base64
import hashlib
import json
import re
import zlib
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from bids_core.report import build_report, write_report

VOID = {"wbr", "meta", "br", "input", "col", "link", "img", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what a browser would act on."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], Counter(), [], []
        self.script, self.packed = "", False
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += [(tag, key, value) for key, value in attributes]
        self.packed = ("type", "text/plain") in attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] == "script" and not self.packed:
            self.script += data

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def page(full_inputs):
    return Page(build_report(full_inputs))


def test_everything_is_in_one_file(page, full_inputs):
    assert page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0
    for _, key, value in page.attributes:
        if key in ("src", "href", "srcset", "action", "data"):
            assert value.startswith("#") or value in full_inputs.files.values()
        if key == "style":
            assert "url(" not in value
    styles = "".join(page.text)
    assert "@import" not in styles
    assert "url(" not in styles


def test_every_link_of_the_contents_leads_somewhere(page):
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    links = [value for tag, key, value in page.attributes if tag == "a" and key == "href"]
    inside = {link[1:] for link in links if link.startswith("#") and not link.startswith("#row=")}
    assert len(inside) > 10
    assert inside <= set(ids)


def test_tables_and_figures_are_accessible(page):
    assert page.tags["caption"] == page.tags["table"]
    scopes = [key for tag, key, _ in page.attributes if tag == "th" and key == "scope"]
    assert len(scopes) == page.tags["th"]
    labels = [value for tag, key, value in page.attributes if (tag, key) == ("svg", "aria-label")]
    keys = [value for tag, key, value in page.attributes if (tag, key) == ("svg", "class")]
    assert len(labels) + keys.count("key") == page.tags["svg"]
    assert len(labels) >= 12  # six figures, each for a screen and for a phone


def test_the_sections_show_what_they_were_given(page):
    for shown in (
        "BIDS chose 8 of 40 training examples (20.0%)",
        "Read the two together",
        "In 80.0% of the denominators of the Adam update",
        "5 rows could not be used",
        "pool.jsonl:7 not JSON; mend it",
        "1 min 04 s of work, 1 min 03 s of it in this run",
        "2.13.0",
        "arXiv:2501.12147",
        "Ask pool:",
    ):
        assert shown in page.words


HOSTILE = """</script><script>alert(1)</script>"><img src=x onerror=alert(2)>'{{ 7*7 }}{% raw %}"""


def test_texts_from_the_data_stay_texts(full_inputs, scored):
    selections = {
        method: frame.assign(source=HOSTILE) for method, frame in full_inputs.selections.items()
    }
    turns = json.dumps([{"role": HOSTILE, "content": HOSTILE}] * 2)
    tasks = [HOSTILE + task for task in full_inputs.tasks]
    for name in ("bids", "less"):
        selections[name] = selections[name].assign(winning_task=tasks[0])
    hostile = replace(
        full_inputs,
        name=HOSTILE,
        model=HOSTILE,
        config={"name": HOSTILE},
        sources=[HOSTILE] * 39 + ["other"],
        tasks=tasks,
        validation_ids=[HOSTILE + name for name in full_inputs.validation_ids],
        selections=selections,
        conversations=dict.fromkeys(full_inputs.conversations, turns),
        rejects=[
            dict.fromkeys(("location", "reason", "detail", "split", "source", "row_id"), HOSTILE)
        ],
        **scored(full_inputs.scores.assign(task=HOSTILE + full_inputs.scores["task"])),
        timings={HOSTILE: {"seconds": 1.0, "cached": False}},
        versions={HOSTILE: HOSTILE},
    )
    found = Page(build_report(hostile))
    kinds = [value for tag, key, value in found.attributes if (tag, key) == ("script", "type")]
    assert found.tags["script"] == 1 + kinds.count("text/plain")
    assert found.tags["img"] == 0
    assert not [key for _, key, _ in found.attributes if key.startswith("on")]
    assert "alert" not in found.script
    assert "{{ 7*7 }}" in found.words


def test_the_security_policy_allows_our_script_and_no_other(page):
    policy = next(v for t, k, v in page.attributes if t == "meta" and k == "content" and "src" in v)
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert len(page.script) < 20_000


def test_best_scores_are_marked(full_inputs):
    html = build_report(full_inputs)
    row = re.search(r'<tr><th scope="row">sums.*?</tr>', html, re.DOTALL).group()
    marked = re.findall(r'<td class="number best">([\d.]+%)', row)
    assert marked == ["50.0%", "50.0%"]  # BIDS and LESS tie
    quiz = re.search(r'<tr><th scope="row">quiz.*?</tr>', html, re.DOTALL).group()
    assert re.findall(r'<td class="number best">([\d.]+%)', quiz) == ["60.0%"]


def test_nothing_is_best_where_all_are_equal(full_inputs, make_scores, scored):
    scores = make_scores(bids=(0.0, 0.2), less=(0.0, 0.1)).assign(answer_loss=1.0)
    html = build_report(replace(full_inputs, **scored(scores)))
    assert html.count('class="number best"') == 3  # quiz, and the two macro averages


def test_same_inputs_same_page(full_inputs):
    assert build_report(full_inputs) == build_report(full_inputs)


def test_without_the_optional_parts(inputs):
    found = Page(build_report(replace(inputs, scores=None)))
    assert "Nothing was fine-tuned or evaluated in this run" in found.words
    assert "No row was rejected." in found.words


def test_a_method_without_winners(inputs):
    found = Page(build_report(replace(inputs, main_method="random", scores=None)))
    assert ("table", "class", "picks unvalued") in found.attributes  # two columns are hidden
    assert "random chose 8 of 40" in found.words


def test_one_task_one_source_one_pick(inputs):
    one = replace(
        inputs,
        tasks=["sums"] * 10,
        sources=["only"] * 40,
        selections={"bids": inputs.selections["bids"].head(1).assign(winning_task="sums")},
        scores=None,
        conversations={},
    )
    assert "BIDS chose 1 of 40" in Page(build_report(one)).words


def test_an_instance_that_all_rows_influence_equally_is_named(inputs):
    matrix = inputs.attribution.copy()
    matrix[:, 3] = 0.25
    found = Page(build_report(replace(inputs, attribution=matrix)))
    assert "all training examples influence them equally: sums:3" in found.words


def test_no_absolute_path_is_shown(full_inputs, tmp_path):
    folder = tmp_path / "runs" / "trial"
    reject = {**full_inputs.rejects[0], "location": f"{tmp_path}/data/pool.jsonl:7"}
    told = replace(
        full_inputs,
        folder=folder,
        model="/opt/models/llama-3",
        config={
            "pool": [{"path": str(tmp_path / "data" / "*.jsonl")}],
            "model": {"path": "/opt/models/llama-3"},
            "selection": {"method": f"{tmp_path}/methods.py:mine"},
        },
        rejects=[reject],
    )
    html = build_report(told)
    assert str(tmp_path) not in html
    assert "/opt/" not in html
    for shown in ("../../data/*.jsonl", ".../llama-3", "../../methods.py:mine",
                  "../../data/pool.jsonl:7"):  # fmt: skip
        assert shown in html


def test_text_without_room_lies_beside_the_page(full_inputs, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    words = [" ".join(map(str, random.integers(0, 9**9, size=200))) for _ in range(50)]
    texts = {
        name: json.dumps([{"role": "user", "content": words[i]}])
        for i, name in enumerate(full_inputs.conversations)
    }
    monkeypatch.setattr("bids_core.report.browse.BUDGET", 12_000)
    path = tmp_path / "report.html"
    write_report(replace(full_inputs, conversations=texts), path)
    (part,) = (tmp_path / "report_texts").iterdir()
    key, number, data = json.loads(f"[{part.read_text()[len('bidsTexts(') : -3]}]")
    html = path.read_text()
    assert f'data-key="{key}"' in html
    assert "script-src 'sha256-" in html
    assert "' 'self';" in html
    rows = json.loads(zlib.decompress(base64.b64decode(data), wbits=-15))
    first = full_inputs.selections["bids"]["row_id"].iloc[0]
    assert (number, rows[0]) == (0, [0, "user", json.loads(texts[first])[0]["content"]])
    monkeypatch.undo()
    write_report(full_inputs, path)  # all fits now: nothing of the other page may stay
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert "'self'" not in path.read_text()


def test_a_long_run_stays_small(inputs):
    """Two thousand instances and five hundred picks with long texts: below 2.5 MB."""
    random = np.random.default_rng(0)
    n, m = 600, 2000
    tasks = [f"task {j // 100}" for j in range(m)]
    rows, names = [f"r{i}" for i in range(n)], [f"v{j}" for j in range(m)]
    from bids_core.selection import select

    matrix = random.normal(size=(n, m)).astype(np.float32)
    picks = select(matrix, 500, tasks=tasks).to_frame(rows, ["s"] * n, names, tasks)
    long = json.dumps([{"role": "user", "content": "word " * 2000}])
    big = replace(
        inputs, attribution=matrix, row_ids=rows, sources=["s"] * n, validation_ids=names,
        tasks=tasks, capabilities=["c"] * m, selections={"bids": picks}, scores=None,
        conversations=dict.fromkeys(rows + names, long),
    )  # fmt: skip
    html = build_report(big)
    assert len(html) < 2_500_000
    assert "The first 50 of 500" in Page(html).words


@pytest.mark.parametrize("tasks", [["quiz"], ["quiz", "sums"]])
def test_tasks_without_a_score_are_among_the_losses(full_inputs, tasks, scored):
    scores = full_inputs.scores.copy()
    chosen = scores["task"].isin(tasks)
    scores.loc[chosen, "metric"] = "answer_loss"
    scores.loc[chosen, ["score", "stderr", "majority"]] = float("nan")
    page = build_report(replace(full_inputs, **scored(scores)))
    assert "nan" not in page.lower().replace("finance", "")
    assert ("Share of test rows answered correctly" in page) is (len(tasks) == 1)
    assert "Held-out answer loss" in page
