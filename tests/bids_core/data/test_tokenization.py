"""Tokens and labels: a completion mask that no merge shifts, and prompts as lm-eval feeds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_core.data.rejects import RejectedRow
from bids_core.data.tokenization import completion_mask, tokenize_example, tokenize_examples
from bids_core.records import IGNORED_LABEL, Example, Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
TEMPLATES = pytest.mark.parametrize(
    "template", ["chatml", "default system", "marked", "plain", "phi3", "llama2"]
)


def make(*turns, row_id="r"):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    messages = tuple(Message(roles[turn[0]], turn[1:]) for turn in turns)
    return Example(row_id, "s", messages, "f:1")


def dicts(messages):
    return [{"role": m.role, "content": m.content} for m in messages]


def learned(tokens, tokenizer):
    """Return the text of the tokens that are learned."""
    return tokenizer.decode(tokens.labels[tokens.labels != IGNORED_LABEL])


def test_labels_are_the_completion_and_the_end_of_turn(tokenizer):
    tokens = tokenize_example(make("uWhat?", "aThis."), tokenizer, 100)
    assert learned(tokens, tokenizer) == "This.<|im_end|>"
    assert tokens.input_ids.dtype == tokens.labels.dtype == np.int32
    inside = tokens.labels != IGNORED_LABEL
    assert (tokens.labels[inside] == tokens.input_ids[inside]).all()
    # the newline that the template puts behind the end of turn is there, and not learned
    assert tokenizer.decode(tokens.input_ids).endswith("<|im_end|>\n")
    assert not inside[-1]


def test_all_answers_of_a_conversation_are_learned(tokenizer):
    tokens = tokenize_example(make("sS", "uQ1", "aA1", "uQ2", "aA2"), tokenizer, 100)
    assert learned(tokens, tokenizer) == "A1<|im_end|>A2<|im_end|>"


@TEMPLATES
@given(ask=TEXT, answer=TEXT, more=st.booleans())
def test_prompt_tokens_are_those_that_lm_eval_feeds(tokenizer_with, template, ask, answer, more):
    """The likely bug: a merge across the boundary, or a mask that is off by one."""
    tokenizer = tokenizer_with(template)
    turns = ["uHello", "aHi there.", "u" + ask, "a" + answer][0 if more else 2 :]
    example = make(*turns)
    tokens = tokenize_example(example, tokenizer, 10_000)
    prompt = tokenizer.apply_chat_template(
        dicts(example.messages[:-1]), tokenize=False, add_generation_prompt=True
    )
    fed = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert tokens.input_ids[: len(fed)].tolist() == fed
    assert tokens.labels[len(fed)] == tokens.input_ids[len(fed)]
    last = tokens.labels[len(fed) :]
    text = tokenizer.decode(last[last != IGNORED_LABEL])
    assert text.strip().startswith(answer.strip())
    assert template == "plain" or text.endswith("<|im_end|>")


@given(answers=st.lists(TEXT, min_size=1, max_size=3))
@pytest.mark.parametrize("template", ["chatml", "default system", "phi3"])
def test_learned_text_is_the_answers(tokenizer_with, template, answers):
    tokenizer = tokenizer_with(template)
    turns = [turn for answer in answers for turn in ("uQ", "a" + answer)]
    tokens = tokenize_example(make(*turns), tokenizer, 10_000)
    assert learned(tokens, tokenizer) == "".join(answer + "<|im_end|>" for answer in answers)
    whole = tokenizer.apply_chat_template(dicts(make(*turns).messages), tokenize=False)
    assert tokenizer.decode(tokens.input_ids) == whole


@given(answers=st.lists(TEXT.map(str.strip), min_size=1, max_size=3))
def test_marked_template_gives_the_mask_of_transformers(tokenizer_with, answers):
    tokenizer = tokenizer_with("marked")
    turns = [turn for answer in answers for turn in ("uQ", "a" + answer)]
    example = make(*turns)
    tokens = tokenize_example(example, tokenizer, 10_000)
    reference = tokenizer.apply_chat_template(
        dicts(example.messages), return_dict=True, return_assistant_tokens_mask=True
    )
    if tokens.input_ids.tolist() == reference["input_ids"]:  # else the text was cut
        mask = np.asarray(reference["assistant_masks"], dtype=bool)
        assert ((tokens.labels != IGNORED_LABEL) == mask).all()
    else:
        assert any(result.merged for result in tokenize_examples([example], tokenizer, 10_000))


def test_text_that_would_merge_across_the_boundary_is_cut_there(tokenizer_with):
    # without anything between the turns, the last letters of one merge with the next one's
    tokenizer = tokenizer_with("{% for m in messages %}{{ m.content }}{% endfor %}")
    (result,) = tokenize_examples([make("ui", "an")], tokenizer, 100)
    assert len(tokenizer("in")["input_ids"]) == 1, "the test needs a merge"
    assert result.merged
    assert tokenizer.convert_ids_to_tokens(result.example.input_ids) == ["i", "n"]
    assert learned(result.example, tokenizer) == "n"
    (result,) = tokenize_examples([make("uQ.", "an")], tokenizer, 100)
    assert not result.merged


@given(st.data())
def test_mask_is_the_tokens_that_share_a_character(data):
    """Against the definition, on offsets that tile a text, some with their blanks left out."""
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    ends = np.cumsum(lengths)
    tiles = np.stack([ends - lengths, ends], axis=1)
    bound = int(ends[-1])
    start = data.draw(st.integers(0, bound - 1))
    end = data.draw(st.integers(start + 1, bound))
    expected = [bool(set(range(a, b)) & set(range(start, end))) for a, b in tiles.tolist()]
    trimmed = tiles.copy()
    trimmed[:, 0] += [data.draw(st.integers(0, n)) for n in lengths]
    for offsets in (tiles, trimmed):
        mask, crossed = completion_mask(offsets, [(start, end)])
        assert mask.tolist() == expected
        assert crossed == ([start] if start not in tiles[:, 0] else [])


def test_truncation_on_the_right(tokenizer):
    example = make("uWhat?", "aThis is a long answer.")
    whole = tokenize_example(example, tokenizer, 1000)
    first = int((whole.labels != IGNORED_LABEL).argmax())
    for length in range(first + 1, whole.n_tokens):
        (cut,) = tokenize_examples([example], tokenizer, length)
        assert cut.full_length == whole.n_tokens
        assert cut.example.input_ids.tolist() == whole.input_ids[:length].tolist()
        assert cut.example.labels.tolist() == whole.labels[:length].tolist()
    with pytest.raises(RejectedRow) as caught:
        tokenize_example(example, tokenizer, first)
    assert caught.value.reason == "completion-truncated"
    assert f"begins at token {first + 1} of {whole.n_tokens}" in caught.value.detail


def test_a_prompt_without_answer_is_kept_whole_or_not_at_all(tokenizer):
    tokens = tokenize_example(make("uWhat?"), tokenizer, 100)
    assert tokenizer.decode(tokens.input_ids).endswith("<|im_start|>assistant\n")
    assert (tokens.labels == IGNORED_LABEL).all()
    with pytest.raises(RejectedRow) as caught:
        tokenize_example(make("uWhat?"), tokenizer, tokens.n_tokens - 1)
    assert caught.value.reason == "prompt-truncated"


def test_the_first_token_is_never_learned(tokenizer_with):
    tokenizer = tokenizer_with("{% for m in messages %}{{ m.content }}{% endfor %}")
    tokens = tokenize_example(make("aHello hello", "uQ", "aA"), tokenizer, 100)
    assert tokens.labels[0] == IGNORED_LABEL
    assert tokens.labels[1] != IGNORED_LABEL


def test_batches_keep_order_and_agree_with_single_rows(tokenizer_with):
    tokenizer = tokenizer_with("llama2")  # refuses a system turn
    examples = [
        make(*(("sS",) if i % 3 == 0 else ()), f"uQ{'x' * i}", f"aA{i}", row_id=str(i))
        for i in range(20)
    ]
    results = list(tokenize_examples(examples, tokenizer, 100))
    assert [isinstance(result, RejectedRow) for result in results] == [
        i % 3 == 0 for i in range(20)
    ]
    for example, result in zip(examples, results, strict=True):
        if not isinstance(result, RejectedRow):
            alone = tokenize_example(example, tokenizer, 100)
            assert alone.row_id == result.example.row_id == example.row_id
            assert alone.input_ids.tolist() == result.example.input_ids.tolist()
            assert alone.labels.tolist() == result.example.labels.tolist()
