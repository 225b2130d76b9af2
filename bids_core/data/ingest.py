"""Reads all rows of a split: converts and samples them, makes ids unique, accounts for every row.

For each source, rows read = kept + rejected + skipped (`start`) + cut (`limit`).

`start` counts rows as they are in the files. `limit` counts usable rows only, so rejected rows do
not count towards it. Without `sample_seed` the first ones are kept, and rows after the last one
kept are only counted, not parsed. With `sample_seed` the kept rows are the first `limit` in a
random order of all usable rows, so a smaller limit gives a subset of a larger one; they stay in
file order.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_core.data.convert import make_converter
from bids_core.data.costly import CostlyRows
from bids_core.data.rejects import RejectedRow
from bids_core.data.templates import STEPS
from bids_core.errors import DataError
from bids_core.records import Example, Reject

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from bids_core.data.convert import Converter
    from bids_core.data.reading import RawRow
    from bids_core.data.sources import Source


@dataclass(slots=True)
class Account:
    """What became of a source's rows; the last four add up to `read`.

    `kept` and `rejected` are updated when later steps reject rows.
    """

    split: str
    source: str
    task: str | None
    read: int = 0
    kept: int = 0
    rejected: int = 0
    skipped: int = 0
    cut: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-serialisable values."""
        return asdict(self)


@dataclass(slots=True)
class Ingested:
    """The rows read from one or more sources."""

    examples: list[Example] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)


def ingest(
    sources: list[Source],
    *,
    duplicate_ids: Literal["reject", "error"] = "reject",
    merge: bool = False,
    join: bool = False,
    steps: int = STEPS,
) -> Ingested:
    """Read all sources of one split.

    The same id in another source is not a duplicate, nor is an id that happens to equal the name
    that a row without id got from its line: the later row becomes `<source>:<id>`.

    Args:
        sources: of the same split.
        duplicate_ids: reject the later of two rows of a source with the same id, or stop.
        merge: `data.system` is `merge`.
        join: `data.join_turns`.
        steps: `data.template_steps`.

    Raises:
        DataError: a file cannot be read, or an id occurs twice and `duplicate_ids` is `error`.
        ConfigError: a mapping is wrong, or its template always takes too many steps.
    """
    result = Ingested()
    owners: dict[str, _Owner] = {}
    # so that configuration errors come before any reading
    converters = [make_converter(source, merge=merge, join=join, steps=steps) for source in sources]

    for converter in converters:

        def claim(example: Example, own: bool) -> Example:
            return _claim_id(example, own, owners, duplicate_ids)

        _ingest_source(converter, claim, result)
    return result


def _ingest_source(
    converter: Converter, claim: Callable[[Example, bool], Example], result: Ingested
) -> None:
    source, config = converter.source, converter.source.config
    account = Account(source.split, source.name, source.task)
    first_only = config.limit if config.sample_seed is None else None
    costly = CostlyRows(source.where)
    examples: list[Example] = []
    for raw in source.rows():
        account.read += 1
        if account.read <= config.start:
            account.skipped += 1
        elif first_only is not None and len(examples) == first_only:
            account.cut += 1
        else:
            try:
                example = converter.convert(raw)
                costly.saw(None)
                examples.append(claim(example, converter.has_own_id(example, raw)))
            except RejectedRow as problem:
                costly.saw(problem)
                account.rejected += 1
                result.rejects.append(_reject(problem, raw, source))
    kept = _draw(examples, config.limit, config.sample_seed)
    account.kept, account.cut = len(kept), account.cut + len(examples) - len(kept)
    result.examples.extend(kept)
    result.accounts.append(account)


def _draw(examples: list[Example], limit: int | None, seed: int | None) -> list[Example]:
    if limit is None or seed is None or len(examples) <= limit:
        return examples
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[i] for i in sorted(order[:limit].tolist())]


@dataclass(frozen=True, slots=True)
class _Owner:
    """The row that has an id: its source, location, and whether the id came from the data."""

    source: str
    location: str
    own: bool


def _claim_id(
    example: Example,
    own: bool,
    owners: dict[str, _Owner],
    duplicate_ids: Literal["reject", "error"],
) -> Example:
    owner = owners.get(example.row_id)
    while owner is not None and (owner.source != example.source or owner.own != own):
        example = replace(example, row_id=f"{example.source}:{example.row_id}")
        owner = owners.get(example.row_id)
    if owner is None:
        owners[example.row_id] = _Owner(example.source, example.location, own)
        return example
    detail = (
        f"the id {example.row_id!r} also occurs at {owner.location}; make ids unique, or set"
        " mapping.id to a template such as '{{ _file }}:{{ _line }}'"
    )
    if duplicate_ids == "error":
        msg = f"{example.location}: {detail} (data.duplicate_ids is `error`)"
        raise DataError(msg)
    raise RejectedRow("duplicate-id", detail, example.row_id)


def _reject(problem: RejectedRow, raw: RawRow, source: Source) -> Reject:
    return Reject(
        raw.location, problem.reason, problem.detail, source.split, source.name, problem.row_id
    )
