# ruff: noqa: E501 - templates have long lines
"""Templates that would take all memory or all day end at once; all others render as ever."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import template_families as families
from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bids_core.data.chat_template import ChatTemplate
from bids_core.data.mapping import compile_mapping
from bids_core.data.rejects import RejectedRow
from bids_core.data.templates import NOT_COMPILED, BoundedEnvironment, TooManySteps, at_most
from bids_core.data.tokenization import tokenize_examples
from bids_core.errors import ConfigError, ModelError
from bids_core.records import Message

STEPS = 30_000  # a thirtieth of what real rows get, so that tests are quick
DOUBLED = "{% set ns = namespace(a=SEED) %}{% for i in range(100) %}{% set ns.a = OP %}{% endfor %}"


def doubled(seed, op, then=""):
    return DOUBLED.replace("SEED", seed).replace("OP", op) + then


LISTS = doubled("[1]", "[ns.a, ns.a]")
TUPLES = doubled("(1,)", "(ns.a, ns.a)")
HUGE = [
    # operators
    "{{ 'x' * 10**9 }}", "{{ 'x' * 1000000000 }}", "{{ 10**9 * 'x' }}", "{{ [1] * 1000000000 }}",
    "{{ 10 ** 1000000000 }}", "{{ (1, 2) * 1000000000 }}",
    doubled("10 ** 100", "ns.a * ns.a"), doubled("'xx'", "ns.a + ns.a"),
    doubled("'xx'", "ns.a ~ ns.a"), doubled("[1]", "ns.a + ns.a"), doubled("(1,)", "ns.a + ns.a"),
    # widths
    "{{ '%1000000000s' % 'x' }}", "{{ '%.1000000000f' % 1.0 }}", "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%1000000000d' | format(1) }}", "{{ ('%s' * 10000) % ('x' * 10000) }}",
    "{{ ('%(a)s' * 10000) % {'a': 'x' * 10000} }}",
    "{{ '{:>1000000000}'.format(1) }}", "{{ '{:>{w}}'.format(1, w=1000000000) }}",
    "{{ '{0:{1}}'.format(1, 1000000000) }}", "{{ ('{0}' * 10000).format('x' * 10000) }}",
    "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
    "{{ 'x' | center(1000000000) }}", "{{ 'x'.center(1000000000) }}", "{{ 'x'.ljust(10**9) }}",
    "{{ 'x'.rjust(10**9) }}", "{{ 'x'.zfill(10**9) }}", "{{ '\\t'.expandtabs(10**9) }}",
    "{{ '\\t'.expandtabs(tabsize=10**9) }}", "{{ (1).to_bytes(10**9, 'big') }}",
    "{{ 'x'.encode().center(10**9) }}", "{{ 'a\\nb' | indent(1000000000) }}",
    "{{ ('a b' * 1000000) | wordwrap(1) }}", "{{ ('a' * 1000000) | wordwrap(1) }}",
    "{{ [1] | tojson(indent=1000000000) }}", "{{ 1.5 | round(1000000000, 'ceil') }}",
    "{% filter center(1000000000) %}x{% endfilter %}",
    # lists, replacements, products
    "{{ [1] | batch(1000000000, 1) | list }}", "{{ [1] | slice(1000000000) | list }}",
    "{{ ('a' * 10000) | replace('a', 'b' * 10000) }}",
    "{{ ('a' * 10000).replace('a', 'b' * 10000) }}", "{{ ('a' * 9999) | replace('', 'b' * 9999) }}",
    "{{ (['a'] * 10000) | join('x' * 10000) }}", "{{ ('x' * 10000).join(['a'] * 10000) }}",
    "{{ 'aaaa'.translate({97: 'x' * 3000000}) }}", "{{ range(99999) | map('center', 999) | join }}",
    "{{ ([[1] * 1000] * 1000) | sum(start=[]) }}", "{{ ('x,' * 3000000).split(',') }}",
    "{{ ('x,' * 1000000) | list }}", "{{ ('<b>' * 100000) | striptags }}",
    "{{ ('http://a.b ' * 100000) | urlize }}", "{{ (range(99999) | list) | pprint }}",
    "{{ ([3, 1] * 100000) | sort }}", "{{ ([range(9999) | list] * 10) | string }}",
    # lists that hold one list many times
    LISTS + "{{ ns.a }}", LISTS + "{{ ns.a | tojson }}", LISTS + "{{ ns.a == ns.a[:] }}",
    LISTS + "{{ [1] in ns.a }}", LISTS + "{{ ns }}", LISTS + "{{ ns.a ~ '' }}",
    LISTS + "{{ '%s' % ns.a }}", LISTS + "{{ '{}'.format(ns.a) }}", LISTS + "{{ ns.a is eq 1 }}",
    TUPLES + "{{ {ns.a: 1} }}", TUPLES + "{{ {}.get(ns.a) }}", TUPLES + "{{ {}[ns.a] }}",
    TUPLES + "{{ [ns.a] | unique | list }}",
    # loops and recursion
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) if i %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n < 40 %}{{ f(n+1) }}{{ f(n+1) }}{% endif %}{% endmacro %}{{ f(0) }}",
    *("{% set a = 'x' * 100000 %}{% for i in range(9999) %}" + body + "{% endfor %}"
      for body in ("{{ a }}", "{% set b = a[1:] %}", "{% set b = a | upper %}", "{{ a == 'y' ~ a }}",
                   "{% if 'y' in a %}{% endif %}", "{% if a is upper %}{% endif %}",
                   "{% set b = a.strip() %}", "{% set b = a ~ 'y' %}")),
    "{% set b %}{% for i in range(9999) %}" + "y" * 3000 + "{% endfor %}{% endset %}",
]  # fmt: skip
WITHOUT_END = [
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% block x %}{{ self.x() }}{% endblock %}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
]


@pytest.mark.parametrize("template", HUGE)
def test_what_would_be_huge_ends_at_once(template):
    compiled = BoundedEnvironment().from_string(template)
    tracemalloc.start()
    began = time.monotonic()
    try:
        with at_most(STEPS), pytest.raises(TooManySteps):
            compiled.render()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    assert time.monotonic() - began < 20  # a fraction of a second, on a machine that is free


@pytest.mark.parametrize("template", ["{{ 'x' * 10**9 }}", LISTS + "{{ ns.a }}", HUGE[-10]])
def test_a_mapping_rejects_the_row_and_a_chat_template_does_too(tokenizer_with, template):
    getter = compile_mapping({"prompt": template}, where="pool source 'p'", steps=STEPS)["prompt"]
    with pytest.raises(RejectedRow) as caught:
        getter({"a": "b"})
    assert caught.value.reason == "template-too-costly"
    assert "pool source 'p': mapping.prompt: " in caught.value.detail
    assert caught.value.detail.endswith("or raise data.template_steps")
    chat = ChatTemplate(tokenizer_with(template), steps=STEPS)
    with pytest.raises(RejectedRow) as caught:
        chat.apply([Message("user", "Q")], None)
    assert caught.value.reason == "template-too-costly"


@pytest.mark.parametrize("template", WITHOUT_END)
def test_recursion_without_end_costs_the_row(tokenizer_with, template):
    with pytest.raises(RejectedRow, match="RecursionError"):
        compile_mapping({"prompt": template}, where="p")["prompt"]({"a": "b"})
    with pytest.raises(RejectedRow, match="RecursionError"):
        ChatTemplate(tokenizer_with(template)).apply([Message("user", "Q")], None)


@pytest.mark.parametrize("template", ["{{ 1 // 0 }}", "{{ 2.0 ** 99999 }}", "{{ lipsum(n=99999) }}",
                                      "{% include 'x' %}", "{% import 'os' as o %}",
                                      "{{ messages.x.y }}", "{{ 'a' * 300 * messages }}"])  # fmt: skip
def test_other_errors_of_a_chat_template_are_rejects_of_one_line(tokenizer_with, template):
    with pytest.raises(RejectedRow) as caught:
        ChatTemplate(tokenizer_with(template)).apply([Message("user", "Q")], None)
    assert caught.value.reason == "template-refused"
    assert len(caught.value.detail) < 600


NOT_JINJA = [
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "9" * 5000 + " }}",
    "{% for a in b %}" * 30 + "{% endfor %}" * 30,
    "{{ " + "-" * 100_000 + "1 }}",
    "{{ a" + "[0]" * 5_000 + " }}",
    "x" * 2_000_000,
    "{{ x",
]


@pytest.mark.parametrize("template", NOT_JINJA)
def test_a_template_that_cannot_be_compiled_is_the_users_mistake(tokenizer_with, template):
    with pytest.raises(NOT_COMPILED):
        BoundedEnvironment().from_string(template)
    if "{{" in template or "{%" in template:
        with pytest.raises(ConfigError, match="is invalid") as caught:
            compile_mapping({"prompt": template}, where="pool source 'p'")
        assert len(str(caught.value)) < 500
    with pytest.raises(ModelError, match="is invalid"):
        ChatTemplate(tokenizer_with(template))


def test_a_template_that_always_takes_too_much_is_a_configuration_error(
    tokenizer_with, make_example
):
    costly = tokenizer_with("{{ 'x' * 10**9 }}")
    examples = [make_example(f"Q{i}") for i in range(10)]
    with pytest.raises(ConfigError, match=r"model.chat_template: on each of the first 3 rows"):
        list(tokenize_examples(examples, costly, 100, steps=STEPS))
    sometimes = tokenizer_with(
        "{% for m in messages %}{% if 'Q5' in m.content %}{{ 'x' * 10**9 }}{% endif %}"
        "{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
    )
    results = list(tokenize_examples(examples, sometimes, 100, steps=STEPS))
    refused = [i for i, result in enumerate(results) if isinstance(result, RejectedRow)]
    assert refused == [5]


def test_a_long_row_may_cost_more():
    getter = compile_mapping({"prompt": "{% for c in a %}{{ c }}{% endfor %}"}, where="p")["prompt"]
    short = compile_mapping({"prompt": "{% for i in range(400) %}{{ a }}{% endfor %}"}, where="p")
    assert getter({"a": "x" * 400_000}) == "x" * 400_000
    row = {"a": ["word"] * 3_000}  # 1.2 million parts are handled, and the row adds its own
    assert len(short["prompt"](row)) == 400 * len(str(row["a"]))


CONVERSATIONS = [
    [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
    [{"role": "user", "content": "Q\n" * 300}, {"role": "assistant", "content": "<think>t</think>A"},
     {"role": "user", "content": " b "}, {"role": "assistant", "content": "C", "tool_calls": [
         {"function": {"name": "f", "arguments": {"a": [1, {"b": "x"}]}}}]},
     {"role": "tool", "content": "7"}, {"role": "assistant", "content": "D"}],
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {
    "type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]}}}]  # fmt: skip


def names_of_families():
    return [n for n, v in vars(families).items() if n.isupper() and isinstance(v, str)]


@pytest.mark.parametrize("name", names_of_families())
@pytest.mark.parametrize("turns", CONVERSATIONS)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_ordinary_chat_templates_render_as_in_jinjas_own_sandbox(monkeypatch, name, turns, tools):
    from transformers.utils import chat_template_utils as theirs

    def rendered(environment):
        monkeypatch.setattr(theirs, "ImmutableSandboxedEnvironment", environment)
        template = theirs._cached_compile_jinja_template(getattr(families, name))
        try:
            return template.render(messages=turns, tools=tools, bos_token="<s>", eos_token="</s>")
        except (TemplateError, TypeError) as error:
            return f"{type(error).__name__}: {error}"

    assert rendered(BoundedEnvironment) == rendered(ImmutableSandboxedEnvironment)


PIECES = [
    "{{ [1, 2, 3][1:] }}{{ 'abc'[::-1] }}{{ {'a': 1}['a'] }}{{ {a: 2}[a] }}",
    "{{ 'a' in a }}{{ 'z' not in a }}{{ 1 < 2 < 3 }}{{ 3 not in [1, 2] }}{{ a == a }}{{ 1 in {1: 2} }}",
    "{% for x in xs %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ x }}{% else %}none{% endfor %}",
    "{% for x in xs if x != 'b' %}{{ loop.revindex }}{{ loop.nextitem }}{{ x }}{% endfor %}",
    "{% for k, v in d.items() | sort %}{{ k ~ '=' ~ v }}{% endfor %}{{ d | dictsort }}",
    "{% for x in t recursive %}{{ x.n }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}",
    "{% macro m(a, b='y') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}",
    "{% macro n() %}[{{ caller(3) }}]{% endmacro %}{% call(x) n() %}{{ x }}{% endcall %}",
    "{% set y %}a{{ a }}{% endset %}{{ y | upper }}{% filter replace('a', 'b') %}aa{% endfilter %}",
    "{{ xs | map('upper') | join('-') }}{{ xs | select('eq', 'b') | list }}{{ xs | batch(2) | list }}",
    "{{ xs | map('upper') | list | length }}{{ xs | reverse | list }}{{ xs | first }}{{ xs | slice(2) | list }}",
    "{{ '%s-%05.1f' % (a, 2.25) }}{{ '{:>5}|{x!r}'.format(1, x='y') }}{{ 'a,b'.split(',') }}{{ '%d%%' % 5 }}",
    "{{ d | tojson }}{{ d | tojson(indent=2) }}{{ 'a  b' | wordcount }}{{ 'long text here' | truncate(9) }}",
    "{{ [1, 2] | sum }}{{ t | sum(attribute='n') }}{{ t | map(attribute='n') | list }}{{ t | groupby('n') | list | length }}",
    "{{ 7 // 2 }}{{ 2 ** 10 }}{{ -7 % 3 }}{{ 1.256 | round(2) }}{{ '7' | int + 1 }}{{ 'x' * 3 }}{{ [1] * 2 }}",
    "{{ 'one two three' | wordwrap(4) }}{{ 'a\\nb' | indent(2) }}{{ 'x' | center(5) }}{{ '<b>x</b>' | striptags }}",
    "{{ a is string }}{{ a is in ['abc'] }}{{ 3 is gt 2 }}{{ 'abc' is lower }}{{ nope is defined }}{{ a is eq('abc') }}",
    "{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{{ range(3) | list }}{{ 'a' ~ 1 ~ none }}{{ xs | unique | list }}{{ dict(a=1) }}{{ '<' | e }}{{ a | default('z') }}",
    "{{ cycler('a', 'b').next() }}{% set j = joiner(', ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("template", PIECES)
def test_all_that_templates_are_made_of_renders_as_in_jinjas_own_sandbox(template):
    values = {
        "a": "abc", "xs": ["a", "b", "c"], "d": {"k": 1, "j": "x"},
        "t": [{"n": 1, "c": [{"n": 2}]}, {"n": 3}],
    }  # fmt: skip
    ours = BoundedEnvironment().from_string(template).render(values)
    assert ours == ImmutableSandboxedEnvironment().from_string(template).render(values)


def test_nothing_is_computed_when_a_template_is_compiled():
    for template in (
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 9 ** 99999999 }}",
    ):
        tracemalloc.start()
        BoundedEnvironment().from_string(template)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50e6


def test_syntax_errors_name_their_line():
    with pytest.raises(TemplateSyntaxError):
        BoundedEnvironment().from_string("\n{{ x")
