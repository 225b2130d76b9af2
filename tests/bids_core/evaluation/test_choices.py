import numpy as np
import pytest

from bids_core.evaluation.choices import choice_log_likelihoods
from bids_core.evaluation.likelihood import log_likelihoods
from bids_core.records import IGNORED_LABEL, TokenizedExample


def example(prompt, choice, trailing=()):
    ids = [*prompt, *choice, *trailing]
    labels = [IGNORED_LABEL] * len(prompt) + [*choice] + [IGNORED_LABEL] * len(trailing)
    return TokenizedExample("row", np.array(ids, np.int32), np.array(labels, np.int32))


@pytest.fixture(scope="module")
def groups():
    """Prompts of several lengths with one to four choices, of which some begin alike."""
    random = np.random.default_rng(3)

    def tokens(n):
        return random.integers(3, 500, n).tolist()

    return [
        tuple(example(prompt, choice, trailing=(9,)) for choice in choices)
        for prompt, choices in [
            (tokens(30), [[5, 2], [5, 6, 2], tokens(9)]),
            (tokens(4), [[7, 2]]),
            (tokens(2), [[7, 2], [8, 2], [9, 2], tokens(3)]),
            (tokens(17), [tokens(1), tokens(12)]),
        ]
    ]


@pytest.mark.parametrize("tokens_per_batch", [1, 60, 10_000])
def test_equals_scoring_each_choice_alone(model, groups, tokens_per_batch):
    found = choice_log_likelihoods(model, groups, tokens_per_batch=tokens_per_batch)
    for group, scored in zip(groups, found, strict=True):
        alone = log_likelihoods(model, group, tokens_per_batch=1)
        for mine, reference in zip(scored, alone, strict=True):
            assert mine.log_likelihood == pytest.approx(reference.log_likelihood, abs=1e-4)
            assert (mine.n_tokens, mine.is_greedy) == (reference.n_tokens, reference.is_greedy)


def test_a_token_that_spans_prompt_and_choice_is_not_shared(model):
    """Where the tokenizer merges across the boundary, the choices' prompts differ at their end."""
    prompt = [20, 21, 22, 23]
    group = (example([*prompt, 30], [31, 2]), example([*prompt, 40, 41], [42, 2]))
    found = choice_log_likelihoods(model, [group], tokens_per_batch=100)[0]
    alone = log_likelihoods(model, group, tokens_per_batch=100)
    assert [row.log_likelihood for row in found] == pytest.approx(
        [row.log_likelihood for row in alone], abs=1e-4
    )


def test_choices_of_different_prompts_are_refused(model):
    group = (example([5, 6, 7], [8]), example([9, 6, 7], [8]))
    with pytest.raises(ValueError, match="row 'row' share no prompt"):
        choice_log_likelihoods(model, [group], tokens_per_batch=100)


def test_progress_counts_choices(model, groups):
    calls = []
    choice_log_likelihoods(
        model, groups, tokens_per_batch=60, on_progress=lambda done, n: calls.append((done, n))
    )
    assert calls[-1] == (10, 10)
    assert calls == sorted(calls)
