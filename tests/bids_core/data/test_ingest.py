from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_core.data.ingest import ingest
from bids_core.data.sources import find_sources
from bids_core.errors import ConfigError, DataError


def good(i, **more):
    return {"prompt": f"q{i}", "completion": "a"} | more


@pytest.fixture
def read(write, tmp_path, make_config):
    """Ingest a pool of one or more files, and check that no row is lost."""

    def _read(*files, duplicate_ids="reject", **options):
        write("val.jsonl", [good(0)])
        pool = [{"path": write(f"f{i}.jsonl", rows)} | options for i, rows in enumerate(files)]
        sources = find_sources(make_config(pool), tmp_path)
        result = ingest(sources[: len(files)], duplicate_ids=duplicate_ids)
        for account, rows in zip(result.accounts, files, strict=True):
            parts = account.kept + account.rejected + account.skipped + account.cut
            assert account.read == parts == len(rows)
        assert len(result.examples) == sum(account.kept for account in result.accounts)
        assert len(result.rejects) == sum(account.rejected for account in result.accounts)
        return result

    return _read


def prompts(result):
    return [example.messages[0].content for example in result.examples]


def test_one_bad_line_in_a_thousand(read):
    rows = [good(i) for i in range(1000)]
    rows[499] = '{"prompt": "q"'
    result = read(rows)
    assert len(result.examples) == 999
    (reject,) = result.rejects
    assert (reject.location, reject.reason) == ("f0.jsonl:500", "malformed-json")
    assert (reject.split, reject.source, reject.row_id) == ("train", "f0", None)


def test_start_counts_rows_and_limit_counts_usable_rows(read):
    rows = [good(0), "broken", good(2), "broken", good(4), good(5), "broken"]
    result = read(rows, start=2, limit=2)
    assert prompts(result) == ["q2", "q4"]
    assert result.accounts[0].as_dict() == {
        "split": "train", "source": "f0", "task": None, "read": 7, "kept": 2, "rejected": 1,
        "skipped": 2, "cut": 2,
    }  # fmt: skip


def test_sample_is_seeded_nested_and_in_order(read):
    rows = [good(i) for i in range(50)]
    small, large = (prompts(read(rows, limit=n, sample_seed=3)) for n in (5, 20))
    assert set(small) < set(large)
    assert large == sorted(large, key=lambda prompt: int(prompt[1:]))
    assert large == prompts(read(rows, limit=20, sample_seed=3))
    assert large != prompts(read(rows, limit=20, sample_seed=4))
    assert large != [f"q{i}" for i in range(20)]
    assert prompts(read(rows, limit=80, sample_seed=3)) == [f"q{i}" for i in range(50)]


def test_sample_is_drawn_from_usable_rows(read):
    result = read([good(0), "broken", good(2), "broken", good(4)], limit=3, sample_seed=0)
    assert prompts(result) == ["q0", "q2", "q4"]


def test_duplicate_id_within_a_source(read):
    result = read([good(0, id="x"), good(1, id="x"), good(2, id="y")])
    assert prompts(result) == ["q0", "q2"]
    (reject,) = result.rejects
    assert (reject.reason, reject.row_id) == ("duplicate-id", "x")
    assert "also occurs at f0.jsonl:1" in reject.detail


def test_duplicate_id_can_stop_the_run(read):
    with pytest.raises(DataError, match=r"^f0.jsonl:2: the id 'x' also occurs at f0.jsonl:1"):
        read([good(0, id="x"), good(1, id="x")], duplicate_ids="error")


def test_the_same_id_in_two_sources_is_no_duplicate(read):
    result = read([good(0, id=1)], [good(1, id=1), good(2, id=2), good(3, id=1)])
    assert [example.row_id for example in result.examples] == ["1", "f1:1", "2"]
    assert [reject.row_id for reject in result.rejects] == ["f1:1"]


LINES = st.lists(
    st.sampled_from(["good", "same id", "broken", "no answer", "no field", "[]", "nul"]),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(LINES, LINES, st.integers(0, 5), st.none() | st.integers(1, 9), st.none() | st.just(1))
def test_every_row_is_accounted_for_and_ids_are_unique(read, one, two, start, limit, seed):
    made = {
        "good": good(0), "same id": good(1, id="i"), "broken": '{"prompt"', "no answer":
        {"prompt": "q", "completion": " "}, "no field": {"prompt": "q"}, "[]": "[]",
        "nul": '{"prompt": "a\\u0000", "completion": "b"}',
    }  # fmt: skip
    result = read(*([made[line] for line in lines] for lines in (one, two)),
                  start=start, limit=limit, sample_seed=seed)  # fmt: skip
    ids = [example.row_id for example in result.examples]
    assert len(set(ids)) == len(ids)
    assert limit is None or all(account.kept <= limit for account in result.accounts)


COSTLY = "{% if q in ('all', 'three') %}{{ q * 10**9 }}{% endif %}{{ q }}"


def test_a_template_that_always_takes_too_many_steps_stops_and_one_row_does_not(read):
    mapping = {"prompt": COSTLY, "completion": "a"}
    with pytest.raises(ConfigError) as caught:
        read([{"q": "all", "a": "A"}] * 5, mapping=mapping)
    message = str(caught.value)
    assert message.startswith("pool source 'f0.jsonl': on each of the first 3 rows, mapping.prompt")
    assert message.count("pool source") == 1
    rows = [{"q": q, "a": "A"} for q in ("one", "two", "three", "four")]
    result = read(rows, mapping=mapping)
    assert prompts(result) == ["one", "two", "four"]
    assert [reject.reason for reject in result.rejects] == ["template-too-costly"]
