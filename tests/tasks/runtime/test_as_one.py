"""Steps that are shown as one."""

from __future__ import annotations

from tasks.runtime.progress import AsOne


class Shown:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def step(self, label, unit):
        self.told.append(("step", label, unit))
        return lambda done, total: self.told.append((done, total))

    def end(self, label, *, seconds, cached):
        self.told.append(("end", label, cached))


def test_steps_within_are_one_step_that_is_begun_once():
    shown = Shown()
    whole = AsOne(shown, "setting bm25 50%")
    whole.end("gradients", seconds=0.0, cached=True)
    whole.step("screen", "rows")(3, 4)
    whole.end("screen", seconds=0.1, cached=False)
    whole.step("selection", "examples")(1, 1)
    whole.end("selection", seconds=0.1, cached=False)
    whole.finish()
    assert shown.told == [
        ("step", "setting bm25 50%", "rows"), (3, 4), (5, 5), ("end", "setting bm25 50%", False),
    ]  # fmt: skip


def test_all_that_was_cached_is_cached_as_a_whole():
    shown = Shown()
    whole = AsOne(shown, "setting exact")
    whole.end("gradients", seconds=0.0, cached=True)
    whole.finish()
    assert shown.told == [("end", "setting exact", True)]
