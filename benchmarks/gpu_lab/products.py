"""Attribution: as computed by the pipeline, and with its products on the device."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attribution import BLOCK_ROWS, write_inputs, zarr_stream

from bids_core.gradients import open_store

from .device import Device, full_float32


def products(
    device: Device, *, rows: int, columns: int, dim: int, rounds: int
) -> list[dict[str, Any]]:
    """Return the seconds of one checkpoint's [rows, columns] matrix from a gradient store.

    The pipeline reads the store and multiplies on the CPU. The alternative reads the same store and
    multiplies on the device, block by block. The largest difference between the two is also
    returned.
    """
    sizes, found = (rows, columns, dim), []
    with tempfile.TemporaryDirectory() as name, full_float32():
        folder = Path(name)
        write_inputs(folder, *sizes)
        times: dict[str, list[float]] = {"bids, on the CPU": [], "products on the device": []}
        matrix = np.empty((rows, columns), dtype=np.float32)
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=folder) as out:
                ours = device.seconds(lambda: zarr_stream(folder, Path(out), *sizes))
            times["bids, on the CPU"].append(ours)
            times["products on the device"].append(
                device.seconds(lambda: _on_device(device, folder, matrix))
            )
        for key, seconds in times.items():
            middle = statistics.median(seconds)
            found.append({"contender": key, "sizes": sizes, "seconds": seconds,
                          "rows_per_s": rows / middle})  # fmt: skip
    return found


def _on_device(device: Device, folder: Path, matrix: np.ndarray[Any, Any]) -> None:
    train = open_store(sorted(folder.glob("train-*")))
    validation = open_store(sorted(folder.glob("validation-*")))
    columns = torch.from_numpy(validation.rows(0, validation.n_rows)).to(device.device)
    for start in range(0, train.n_rows, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, train.n_rows)
        block = torch.from_numpy(train.rows(start, stop)).to(device.device)
        matrix[start:stop] = (block @ columns.T).cpu().numpy()
