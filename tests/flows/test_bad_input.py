"""What a user's files may hold, through the command line: one clear line each, nothing lost."""

from __future__ import annotations

import json

import pytest

GOOD = b'{"prompt": "fine %d?", "completion": "yes"}\n'
BAD_LINES = {
    b'{"prompt": "cut off": \n': "malformed-json",
    b'{"prompt": "no answer here"}\n': "missing-field",
    b'{"prompt": "x", "completion": "  "}\n': "empty-completion",
    b'{"messages": [{"role": "wizard", "content": "x"}]}\n': "unknown-role",
    b'{"prompt": "\xff\xfe", "completion": "x"}\n': "not-utf8",
    b'{"prompt": "' + b"long " * 200 + b'", "completion": "x"}\n': "completion-truncated",
    b'{"id": "same", "prompt": "a", "completion": "b"}\n': None,
    b'{"id": "same", "prompt": "c", "completion": "d"}\n': "duplicate-id",
}


def test_every_kind_of_bad_row_is_counted_and_listed(bids, project):
    (project / "pool" / "bad.jsonl").write_bytes(b"".join(BAD_LINES))
    status, out, _ = bids("check", "bids.yaml", "--no-cost")
    assert status == 0
    for number, reason in enumerate(BAD_LINES.values(), start=1):
        if reason:
            assert reason in out, (number, reason)
    status, out, _ = bids("check", "bids.yaml", "--no-cost", "--json")
    data = json.loads(out)["data"]
    expected = [reason for reason in BAD_LINES.values() if reason]
    assert data["rejects"]["train"] == dict.fromkeys(expected, 1)
    assert data["rows"]["train"]["total"] == 32 + 1


def test_one_bad_line_in_a_thousand_still_runs(bids, project):
    lines = [GOOD % number for number in range(1000)]
    lines[500] = b"{oops\n"
    (project / "pool" / "many.jsonl").write_bytes(b"".join(lines))
    status, out, _ = bids("check", "bids.yaml", "--no-cost", "--set", "pool.0.path=pool/many.jsonl",
                          "--set", "selection.budget=0.1")  # fmt: skip
    assert status == 0
    assert "many.jsonl:501" in out
    assert "Budget: 99 of 999 pool rows" in out


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda p: [f.write_text("") for f in (p / "pool").iterdir()], "pool"),
        (lambda p: [f.unlink() for f in (p / "pool").iterdir()], "pool/*.jsonl"),
        (lambda p: (p / "validation" / "max.jsonl").write_text(""), "max"),
        (lambda p: (p / "validation" / "max.jsonl").write_text('{"a": 1}\n'), "missing-field"),
        (lambda p: (p / "test" / "min.jsonl").unlink(), "min.jsonl"),
    ],
)
def test_what_can_not_run_is_one_line_and_status_two(bids, project, break_it, words):
    break_it(project)
    status, out, err = bids("check", "bids.yaml", "--no-cost")
    assert status == 2
    message = err[err.index("error:") :].strip()
    assert words in message
    assert "\n" not in message
    assert "Traceback" not in out + err
