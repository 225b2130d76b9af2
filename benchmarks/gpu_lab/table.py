"""The results as tables."""

from __future__ import annotations

from typing import Any

_GIB = 2**30


def show(result: dict[str, Any]) -> None:
    """Print the tables of all parts that were measured."""
    device = result["device"]
    print(f"\n{device['name']}, {device['dtype']}: peak {device['flops'] / 1e12:.2f} TFLOPS "
          f"({device['peak_from']})")  # fmt: skip
    for part, rows in result["parts"].items():
        print(f"\n{_TITLES[part]}")
        for row in rows:
            print(f"  {_LINES[part](row)}" if "note" not in row else f"  {_note(row)}")


def _note(row: dict[str, Any]) -> str:
    names = [
        str(row[key]) for key in ("weights", "model", "tokens", "kind", "contender") if key in row
    ]
    return f"{' '.join(names)}: {row['note']}"


def _parity(row: dict[str, Any]) -> str:
    return (
        f"{row['weights']:24s} {row['rows']:3d} rows, relative error {row['relative_error']:.1e}"
        f"  {_verdict(row)}"
    )


def _speed(row: dict[str, Any]) -> str:
    how = ", checkpointing" if row["checkpointing"] else ""
    return (
        f"{row['model']:6s}{row['tokens']:6d} tokens  {row['contender']:32s}"
        f"{row['features_per_s']:9.2f}/s{row['ratio']:7.2f}{100 * row['share_of_peak']:7.1f}%"
        f"{row['peak_bytes'] / _GIB:8.1f} GiB  batches of {row['budget']} tokens{how}"
    )


def _kernel(row: dict[str, Any]) -> str:
    return (
        f"{row['model']:6s}{row['kind']:6s}D = {row['n_parameters']:>12,} to {row['dim']:,}: "
        f"{row['ms_per_example']:8.2f} ms an example, {row['bytes_per_s'] / 1e9:8.1f} GB/s"
    )


def _halving(row: dict[str, Any]) -> str:
    return (
        f"{row['model']}: {row['rows']} rows of {row['tokens']} tokens, halved {row['halved']} "
        f"times by {row['provoked_by']}, relative error {row['relative_error']:.1e}  "
        f"{_verdict(row)}"
    )


def _products(row: dict[str, Any]) -> str:
    n, m, p = row["sizes"]
    return f"{row['contender']:24s}{n:,} x {m:,} x {p:,}: {row['rows_per_s']:12,.0f} rows/s"


def _verdict(row: dict[str, Any]) -> str:
    return "ok" if row["ok"] else "WRONG"


_TITLES = {
    "parity": "Batched gradients against batches of one",
    "speed": "Features a second; ratio to the plain pass; share of the peak; peak memory",
    "kernels": "The projections alone",
    "halving": "Out of memory",
    "attribution": "Attribution, one checkpoint",
}
_LINES = {
    "parity": _parity, "speed": _speed, "kernels": _kernel, "halving": _halving,
    "attribution": _products,
}  # fmt: skip
