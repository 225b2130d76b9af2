"""Every way of reading gives the same answers and scores; the probe finds what a model lacks."""

import copy

import pytest
import torch

from bids_core.evaluation import cache, choices, generation, likelihood
from bids_core.evaluation.cache import CachePlan, cache_plan
from bids_core.evaluation.choices import choice_log_likelihoods
from bids_core.evaluation.generation import generate
from bids_core.evaluation.likelihood import log_likelihoods
from bids_core.records import IGNORED_LABEL, TokenizedExample

PLANS = {
    "all": CachePlan(),
    "no padding": CachePlan(pads=False),
    "no completions": CachePlan(completions=False),
    "no rows": CachePlan(rows=False),
    "no answers": CachePlan(completions=False, answers=False, rows=False),
}


def example(prompt, answer):
    ids = torch.tensor([*prompt, *answer], dtype=torch.int32).numpy()
    labels = ids.copy()
    labels[: len(prompt)] = IGNORED_LABEL
    return TokenizedExample("row", ids, labels)


@pytest.fixture(scope="module")
def rows():
    prompts = [[1, 40, 41, 42, 43, 44, 45, 46], [1, 99], [1, 300, 301, 302], [7, 8, 9, 10, 11, 12]]
    answers = [[50, 2], [60, 61, 62, 2], [], [80, 81, 2]]
    return [example(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 10_000])
@pytest.mark.parametrize("plan", PLANS)
def test_every_way_of_reading_is_the_same(model, rows, plan, tokens_per_batch, monkeypatch):
    def run():
        answers = generate(
            model, rows, max_new_tokens=[8, 3, 8, 1], stop_ids=[2],
            tokens_per_batch=tokens_per_batch,
        )  # fmt: skip
        groups = [[row, example(row.input_ids[:-2].tolist(), [7, 9])] for row in rows[:2]]
        scored = choice_log_likelihoods(model, groups, tokens_per_batch=tokens_per_batch)
        plain = log_likelihoods(model, rows[:2], tokens_per_batch=tokens_per_batch)
        chosen = [score for group in scored for score in group]
        flat = [*[answer.reference for answer in answers], *chosen, *plain]
        tokens = [(answer.tokens, answer.ended) for answer in answers]
        return tokens, [(s.log_likelihood, s.n_tokens, s.is_greedy) for s in flat]

    tokens, scores = run()
    for module in (generation, choices, likelihood):
        monkeypatch.setattr(module, "cache_plan", lambda *_, **__: PLANS[plan])
    others, again = run()
    assert others == tokens
    for one, other in zip(again, scores, strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-4)
        assert one[1:] == other[1:]


def test_an_ordinary_model_is_trusted_with_everything(model, caplog):
    assert cache_plan(model) == CachePlan()
    assert cache_plan(model).remarks() == []
    assert not caplog.records


def spoiled(model, spoil):
    """Return the model with a forward pass that does something to what it is given."""
    broken = copy.deepcopy(model)
    forward = broken.forward

    def wrapped(*args, **kwargs):
        return spoil(forward, *args, **kwargs)

    wrapped.__signature__ = __import__("inspect").signature(forward)
    broken.forward = wrapped
    return broken


def deaf_behind_a_cache(forward, *args, **kwargs):
    """Read several tokens behind a cache as if there was none."""
    if kwargs.get("past_key_values") is not None and kwargs["input_ids"].shape[1] > 1:
        n_tokens = kwargs["input_ids"].shape[1]
        kwargs = {**kwargs, "past_key_values": None, "use_cache": False}
        kwargs["attention_mask"] = kwargs["attention_mask"][:, -n_tokens:]
        kwargs.pop("position_ids")
    return forward(*args, **kwargs)


def blind_to_padding(forward, *args, **kwargs):
    """Take padding for text."""
    mask = kwargs["attention_mask"]
    return forward(*args, **{**kwargs, "attention_mask": torch.ones_like(mask)})


def without_a_cache(forward, *args, **kwargs):
    output = forward(*args, **kwargs)
    output.past_key_values = None
    return output


@pytest.mark.parametrize(
    ("spoil", "plan", "words"),
    [
        (deaf_behind_a_cache, CachePlan(completions=False), "several tokens"),
        (blind_to_padding, CachePlan(pads=False), "texts are read one at a time"),
        (
            without_a_cache,
            CachePlan(completions=False, answers=False, rows=False),
            "no cache is used",
        ),
    ],
)
def test_the_probe_finds_what_is_wrong_and_says_it_once(model, spoil, plan, words, caplog):
    broken = spoiled(model, spoil)
    assert cache_plan(broken) == plan
    assert cache_plan(broken, longest=100) == plan
    assert [words in record.message for record in caplog.records] == [True]


def test_the_probe_is_longer_than_the_window_where_texts_are(model, monkeypatch):
    reached = []
    monkeypatch.setattr(cache, "_probe", lambda _, reach: reached.append(reach) or CachePlan())
    monkeypatch.setattr(cache, "attention_window", lambda _: 40)
    for longest in (10, 40, 50, 1000, 2000):
        cache_plan(model, longest=longest)
    assert reached == [0, 50, 66]
