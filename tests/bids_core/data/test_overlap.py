from __future__ import annotations

from bids_core.data.overlap import COLUMNS, find_overlap, prompt_text, words

LONG = "Natalia sold clips to 48 of her friends in April, and then half as many in May."


def rows_of(report):
    return [tuple(row) for row in report.itertuples(index=False)]


def test_exact_prompt_whatever_case_spacing_and_answer(make_example):
    report = find_overlap(
        {
            "train": [make_example("What is 2 + 2?", "4", "p1"), make_example("Other", "x", "p2")],
            "validation": [make_example(" what is  2 + 2?\n", "four", "v1", task="math")],
            "test": [],
        },
        ngram=13,
    )
    assert list(report.columns) == list(COLUMNS)
    assert rows_of(report) == [
        ("train", "p1", "validation", "v1", "math", "exact", 1.0, "what is 2 + 2?")
    ]


def test_operators_and_brackets_make_prompts_differ(make_example):
    train = [make_example(text) for text in ("2 - 2", "not ( a and b )", "2 + 3")]
    held = [make_example(text, task="t") for text in ("2 + 2", "not ( a ) and b")]
    assert find_overlap({"train": train, "test": held}, ngram=13).empty


def test_ngram_in_prompt_or_answer_whatever_the_punctuation(make_example):
    held = make_example(LONG, "48", "t1", task="gsm")
    for ask, answer in ((f"Hint. {LONG.upper()} Go!", "x"), ("Tell a story.", f"“{LONG}” he said")):
        report = find_overlap({"train": [make_example(ask, answer, "p")], "test": [held]}, ngram=13)
        ((split, row_id, other, other_id, task, kind, share, shared),) = rows_of(report)
        assert (split, row_id, other, other_id, task) == ("train", "p", "test", "t1", "gsm")
        assert (kind, share, len(shared.split())) == ("ngram", 1.0, 13)
    assert find_overlap({"train": [make_example("x", LONG)], "test": [held]}, ngram=30).empty


def test_a_pair_is_listed_once_as_exact(make_example):
    report = find_overlap(
        {"train": [make_example(LONG, row_id="p")], "test": [make_example(LONG, task="t")]}, ngram=5
    )
    assert [row[5] for row in rows_of(report)] == ["exact"]


def test_held_out_splits_among_themselves(make_example):
    validation = [make_example(t, row_id=f"v{i}", task="a") for i, t in enumerate("xyx")]
    test = [make_example(t, row_id=f"t{i}", task="b") for i, t in enumerate("yzzz")]
    report = find_overlap({"train": [], "validation": validation, "test": test}, ngram=13)
    assert [row[:4] for row in rows_of(report)] == [
        ("validation", "v1", "test", "t0"),
        ("validation", "v2", "validation", "v0"),
        ("test", "t2", "test", "t1"),
        ("test", "t3", "test", "t1"),
    ]


def test_normalisation(make_example):
    example = make_example("\uff26ull  WIDTH\n", "x")
    assert prompt_text(example) == "full width"
    assert words("“yes,” he said. (a+b)") == ["yes", "he", "said", "(a+b)"]


def test_a_common_prompt_does_not_pair_all_with_all(make_example):
    pool = [make_example("Continue.", row_id=f"p{i}") for i in range(20)]
    held = [make_example("Continue.", row_id=f"{t}{i}", task=t) for t in "ab" for i in range(20)]
    report = find_overlap({"train": pool, "validation": held}, ngram=13)
    between = report[report["split"] == "train"]
    assert len(between) == 40
    assert set(between["other_row_id"]) == {"a0", "b0"}
    assert len(report[report["split"] == "validation"]) == 39


def test_a_long_answer_does_not_hide_a_shared_prompt(make_example):
    held = make_example(LONG, "So " + " ".join(f"step{i}" for i in range(200)), task="t")
    report = find_overlap({"train": [make_example(f"{LONG} Hm?")], "test": [held]}, ngram=13)
    assert report["kind"].tolist() == ["ngram"]
    assert report["share"].tolist() == [1.0]


def test_templates_with_small_gaps_do_not_overlap(make_example):
    """The likely bug: pool rows of a templated task dropped because they share its wording."""

    def ask(i, base):
        return (
            "Your task is to convert a number between two different bases, and to use small"
            f" letters. Now convert the base-{base} number {i * 7919} to base-{(base + i) % 9 + 20}"
        )

    pool = [make_example(ask(i, 2 + i % 7), row_id=f"p{i}") for i in range(21)]
    held = [make_example(ask(100 + i, 2 + i % 7), row_id=f"t{i}", task="t") for i in range(8)]
    assert find_overlap({"train": pool, "test": held}, ngram=13).empty
    again = make_example(ask(103, 5) + " please", row_id="copy")
    report = find_overlap({"train": [*pool, again], "test": held}, ngram=13)
    assert report["row_id"].tolist() == ["copy"]
