"""Several steps shown as one: the time left is that of all."""

from tasks.runtime.progress import Together


class Shown:
    def __init__(self):
        self.said = []

    def step(self, label, unit):
        self.said.append(("step", label, unit))
        return lambda done, total: self.said.append((done, total))

    def end(self, label, *, seconds, cached):
        self.said.append(("end", label, cached))


def test_steps_are_counted_through_and_cached_ones_keep_their_own_line():
    shown = Shown()
    whole = Together(shown, "single steps", "rows", 5)
    whole.end("part 1", seconds=0, cached=True)
    progress = whole.step("part 2", "rows")
    progress(1, 3)
    progress(3, 3)
    whole.end("part 2", seconds=1, cached=False)
    whole.step("part 3", "rows")(2, 2)
    whole.end("part 3", seconds=1, cached=False)
    assert shown.said == [
        ("end", "part 1", True), ("step", "single steps", "rows"), (1, 5), (3, 5), (5, 5),
        ("end", "single steps", False),
    ]  # fmt: skip
