"""IFEval's checkers without a download: NLTK's own sentence model, laid out by us."""

import pytest

pytest.importorskip("langdetect")
punkt = pytest.importorskip("punkt")

TEXT = "Dr. Smith went to the U.S. in Jan. 1999. He liked it! Did he? It cost 3.50 dollars."


@pytest.fixture(autouse=True)
def _fresh():
    from bids_core.evaluation import ifeval

    ifeval.checkers.cache_clear()
    yield
    ifeval.checkers.cache_clear()


def test_sentences_are_cut_as_nltk_cuts_them(monkeypatch, tmp_path):
    import nltk

    from bids_core.evaluation import ifeval

    def refuse(*_, **__):
        message = "a download was tried"
        raise AssertionError(message)

    monkeypatch.setenv("BIDS_CACHE", str(tmp_path))
    monkeypatch.setattr(nltk, "download", refuse)
    monkeypatch.setattr(nltk.data, "path", [])
    ifeval.checkers()
    tokenizer = nltk.data.load("nltk:tokenizers/punkt/english.pickle")
    assert tokenizer.tokenize(TEXT) == punkt.sent_tokenize(TEXT)
    assert len(tokenizer.tokenize(TEXT)) == 4
    assert nltk.word_tokenize("It's U.S. made. Yes.")[:2] == ["It", "'s"]


def test_answers_are_judged_as_lm_eval_judges_them():
    from lm_eval.tasks.ifeval import utils

    from bids_core.evaluation import ifeval

    row = {
        "key": 7,
        "prompt": "Two sentences, in capitals, no comma.",
        "instruction_id_list": [
            "length_constraints:number_sentences", "change_case:english_capital",
            "punctuation:no_comma",
        ],
        "kwargs": [{"relation": "at least", "num_sentences": 2}, {}, {}],
    }  # fmt: skip
    prefixed = row | {"instruction_id_list": [f"en:{n}" for n in row["instruction_id_list"]]}
    for answer, strict in [
        ("THIS IS A SENTENCE. THIS IS ANOTHER ONE.", True),
        ("This is not, in capitals.", False),
        ("", False),
        ("Sure!\nTHIS IS A SENTENCE. THIS IS ANOTHER ONE.", False),
    ]:
        found = ifeval.follows(prefixed, answer)
        assert found == utils.process_results(row, [answer])
        assert found[ifeval.MAIN_METRIC] == strict
    assert found["prompt_level_loose_acc"]  # the loose reading may leave the first line out
