"""An explanation on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bids_core.diagnostics.explain import Explanation, InstanceInfluence

    Say = Callable[..., None]


def show_explanation(
    found: Explanation, texts: Mapping[str, str], *, method: str, source: str | None
) -> None:
    """Print why a row was picked, or was not.

    Args:
        found: the explanation.
        texts: by row id and validation id, as far as known.
        method: display name of the method.
        source: of the row.
    """
    from flows.console import output_console, table

    console = output_console()

    def say(text: str = "") -> None:
        console.print(text, markup=False)

    say(found.row_id + (f" (source {source})" if source else ""))
    _say_text(say, texts, found.row_id)
    say()
    if found.rank is None:
        _say_unpicked(say, found, texts, method)
    else:
        say(f"Pick {found.rank:,} of {found.picks:,} of {method}, worth {found.utility:.3f}.")
        if found.winner is not None:
            _say_of(
                say, f"It was picked for {_named(found.winner)}", texts, found.winner.validation_id
            )
    if found.inferred is not None:
        say()
        _say_of(say, found.inferred.words().removesuffix("."), texts, found.inferred.landmark or "")
    say()
    rows = [[t.task, t.influence, t.normalized, f"{t.percentile:.1f}%"] for t in found.tasks]
    heads = ["task", "influence", "normalised", "above this much of the pool"]
    console.print(table("Influence on the tasks", heads, rows))
    say()
    rows = [[i.validation_id, i.task, i.influence, i.normalized] for i in found.instances]
    heads = ["validation instance", "task", "influence", "normalised"]
    console.print(table("Instances it influences most", heads, rows))
    if found.instead is not None:
        _say_of(say, f"\nWithout it, {found.instead} takes its rank", texts, found.instead)
        say(f"Rows that then enter the selection: {', '.join(found.entering) or 'none'}.")


def _say_unpicked(say: Say, found: Explanation, texts: Mapping[str, str], method: str) -> None:
    worth = "" if found.utility is None else f": worth {found.utility:.3f} after the last pick"
    say(f"Not among the {found.picks:,} picks of {method}{worth}.")
    if found.utility is not None:
        say(f"The last pick was worth {found.last_utility:.3f}.")
    best = found.worth_most_for
    if best is not None:
        _say_of(say, f"It is worth most for {_named(best)}", texts, best.validation_id)
    if best is not None and found.covered_by:
        first = found.covered_by[0]
        picks = ", ".join(
            f"{pick.row_id} (pick {pick.rank:,}, {pick.normalized:.2f})"
            for pick in found.covered_by
        )
        say(
            f"Picks that cover that instance best, with their normalised influence on it (this "
            f"row: {best.normalized:.2f}): {picks}."
        )
        _say_text(say, texts, first.row_id)
    if found.enters_at is not None:
        say(f"It enters at a budget of {found.enters_at:,} rows.")
    elif found.tried_up_to:
        say(f"It does not enter at any budget up to {found.tried_up_to:,} rows.")


def _named(instance: InstanceInfluence) -> str:
    task = f", task {instance.task}" if instance.task else ""
    return f"validation instance {instance.validation_id}{task}"


def _say_of(say: Say, sentence: str, texts: Mapping[str, str], name: str) -> None:
    """Print a sentence about a row or instance, followed by its text if known."""
    say(f"{sentence}{':' if name in texts else '.'}")
    _say_text(say, texts, name)


def _say_text(say: Say, texts: Mapping[str, str], name: str) -> None:
    if name in texts:
        say("\n".join(f"    {line}" for line in texts[name].splitlines()))
