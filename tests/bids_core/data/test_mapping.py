from __future__ import annotations

import pytest

from bids_core.data.mapping import as_list, compile_mapping
from bids_core.data.rejects import RejectedRow
from bids_core.errors import ConfigError

ROW = {
    "q": "Q", "a.b": "dotted name", "deep": {"list": [{"x": "first"}, {"x": "second"}]},
    "odd name": "odd", "n": 3, "options": ["one", "two"],
}  # fmt: skip


def value_of(spec, row=ROW):
    return compile_mapping({"prompt": spec}, where="pool source 'p'")["prompt"](row)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("q", "Q"),
        ("a.b", "dotted name"),
        ("deep.list.1.x", "second"),
        ("deep.list.-1.x", "second"),
        ("odd name", "odd"),
        ("n", 3),
        ("options", ["one", "two"]),
        ("{{ q }}!", "Q!"),
        ("{{ deep.list[0].x }} {{ row['odd name'] }}", "first odd"),
        ("{% if n > 2 %}big{% else %}small{% endif %}\n", "big\n"),
        ("{{ options | tojson }}", '["one", "two"]'),
        ("{{ '<b>' }}", "<b>"),
    ],
)
def test_names_paths_and_templates(spec, expected):
    assert value_of(spec) == expected


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("nope", "missing-field"),
        ("deep.nope", "missing-field"),
        ("deep.list.7.x", "missing-field"),
        ("q.x", "missing-field"),
        ("{{ nope }}", "missing-field"),
        ("{{ deep.nope }}", "missing-field"),
        ("{{ n / 0 }}", "mapping-failed"),
        ("{{ n + q }}", "mapping-failed"),
    ],
)
def test_rows_that_do_not_have_it_are_rejected(spec, reason):
    with pytest.raises(RejectedRow) as caught:
        value_of(spec)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "spec",
    [
        "{{ q.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ row.__init__.__globals__ }}",
        "{{ options.append('x') }}",
        "{{ range(10**9) | list }}",
    ],
)
def test_templates_are_sandboxed(spec):
    row = {**ROW, "options": ["one"]}
    with pytest.raises((ConfigError, RejectedRow)):
        value_of(spec, row)
    assert row["options"] == ["one"]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"question": "q"}, "mapping has no key 'question'; the keys are messages, prompt"),
        ({"completion": "a"}, "`completion` but no `prompt`"),
        ({"messages": "m", "prompt": "q"}, "both `messages` and `prompt`"),
        ({"prompt": " "}, "mapping.prompt is blank"),
        ({"prompt": "{{ q | nofilter }}"}, "No filter named 'nofilter'"),
        ({"prompt": "{{ q"}, "mapping.prompt: the template '{{ q' is invalid"),
    ],
)
def test_wrong_mappings_are_config_errors(mapping, message):
    with pytest.raises(ConfigError) as caught:
        compile_mapping(mapping, where="pool source 'p'")
    assert message in str(caught.value)
    assert str(caught.value).startswith("pool source 'p': ")


def test_as_list():
    assert as_list(["a"]) == ["a"]
    assert as_list('["a", "b"]') == ["a", "b"]
    for bad in ("a, b", "[a", None, {"a": 1}):
        with pytest.raises(RejectedRow) as caught:
            as_list(bad)
        assert caught.value.reason == "bad-choices"
