"""Where the completions are, for templates of the kinds that models ship."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_core.data.chat import ChatRenderer
from bids_core.data.rejects import RejectedRow
from bids_core.errors import ModelError
from bids_core.records import Message

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    str.strip
)


def chat(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [Message(roles[turn[0]], turn[1:]) for turn in turns]


def completions(tokenizer_with, template, *turns):
    rendered = ChatRenderer(tokenizer_with(template)).render(chat(*turns))
    return [rendered.text[start:end] for start, end in rendered.spans]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("chatml", ["A1<|im_end|>", "A2<|im_end|>"]),
        ("default system", ["A1<|im_end|>", "A2<|im_end|>"]),
        ("llama2", [" A1 <|im_end|>", " A2 <|im_end|>"]),
        ("phi3", ["A1<|im_end|>", "A2<|im_end|>"]),
        ("thinking", ["A1<|im_end|>", "A2<|im_end|>"]),  # not the blank thought
        ("plain", ["A1", "A2"]),
        ("marked", ["A1<|im_end|>", "A2<|im_end|>"]),
    ],
)
def test_completion_is_content_and_end_of_turn(tokenizer_with, template, expected):
    assert completions(tokenizer_with, template, "uQ1", "aA1", "uQ2", "aA2") == expected
    assert completions(tokenizer_with, template, "uQ2", "aA2") == expected[1:]


@pytest.mark.parametrize(
    "template", ["chatml", "default system", "phi3", "thinking", "plain", "marked"]
)
def test_a_word_of_the_answer_elsewhere_does_not_mislead(tokenizer_with, template):
    found = completions(tokenizer_with, template, "sa", "uassistant", "aa", "uA", "aassistant")
    assert found[0].removesuffix("<|im_end|>") == "a"
    assert found[1].removesuffix("<|im_end|>").endswith("assistant")


@given(asks=st.lists(TEXT, min_size=1, max_size=3), data=st.data())
@pytest.mark.parametrize("template", ["chatml", "default system", "phi3", "plain", "marked"])
def test_any_text_is_found_exactly(tokenizer_with, template, asks, data):
    answers = [data.draw(TEXT) for _ in asks]
    turns = [
        turn for pair in zip(asks, answers, strict=True) for turn in ("u" + pair[0], "a" + pair[1])
    ]
    end = "" if template == "plain" else "<|im_end|>"
    assert completions(tokenizer_with, template, *turns) == [answer + end for answer in answers]


@given(ask=TEXT, answer=TEXT)
def test_trimmed_text_is_found(tokenizer_with, ask, answer):
    assert completions(tokenizer_with, "llama2", "u" + ask, "a" + answer) == [
        f" {answer.strip()} <|im_end|>"
    ]


@pytest.mark.parametrize("template", ["chatml", "default system", "thinking", "marked"])
def test_text_is_what_the_tokenizer_renders(tokenizer_with, template):
    changed = tokenizer_with(template)
    messages = chat("uQ1", "aA1", "uQ2", "aA2")
    dicts = [{"role": m.role, "content": m.content} for m in messages]
    renderer = ChatRenderer(changed)
    assert renderer.render(messages).text == changed.apply_chat_template(dicts, tokenize=False)
    asked = changed.apply_chat_template(dicts[:3], tokenize=False, add_generation_prompt=True)
    assert renderer.prompt(messages[:3]) == asked
    assert renderer.render(messages[:3]) == type(renderer.render(messages))(asked, ())


def test_a_conversation_may_begin_with_an_answer(tokenizer_with):
    assert completions(tokenizer_with, "chatml", "aHi.", "uQ", "aA") == [
        "Hi.<|im_end|>",
        "A<|im_end|>",
    ]


def test_template_that_refuses_a_role_rejects_the_row_in_one_line(tokenizer_with):
    with pytest.raises(RejectedRow) as caught:
        completions(tokenizer_with, "llama2", "sS", "uQ", "aA")
    assert caught.value.reason == "template-refused"
    assert "rejects the turns 'system, user, assistant'" in caught.value.detail
    assert "System role not supported" in caught.value.detail


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'user' %}{{ m.content }}{% endif %}"
        "{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}x{{ messages | length }}",
        "{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content | replace('answer', '')"
        " }}{% else %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{% endgeneration %}"
        "{% endif %}{{ m.content }}{% endfor %}",
    ],
    ids=["drops", "rewrites", "reverses", "blanks", "marks nothing"],
)
def test_template_that_changes_answers_is_not_guessed_at(tokenizer_with, template):
    with pytest.raises(RejectedRow) as caught:
        completions(tokenizer_with, template, "uQ", "aanswer", "uQ", "aanswer")
    assert caught.value.reason == "template-changed-content"
    assert "generation %} markers" in caught.value.detail


def test_marked_template_that_refuses_a_role(tokenizer_with):
    template = "{{ raise_exception('No.') }}{% generation %}{% endgeneration %}"
    with pytest.raises(RejectedRow, match=r"rejects the turns 'user, assistant': No\."):
        completions(tokenizer_with, template, "uQ", "aA")


def test_template_with_todays_date_is_warned_about(tokenizer_with, caplog):
    ChatRenderer(tokenizer_with("{{ strftime_now('%d') }}"))
    assert "prints today's date" in caplog.text


def test_tokenizer_without_offsets():
    class Slow:
        chat_template = "x"
        is_fast = False
        name_or_path = "org/slow"

    with pytest.raises(ModelError, match="'org/slow' gives no character offsets"):
        ChatRenderer(Slow())


def test_tokenizer_without_template(tokenizer_with):
    with pytest.raises(ModelError, match=r"no chat template; set model\.chat_template"):
        ChatRenderer(tokenizer_with(None))
