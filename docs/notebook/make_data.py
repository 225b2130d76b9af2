"""Write the files that select.ipynb reads, from the run of `make demo`.

    python docs/notebook/make_data.py runs/demo

matrix.parquet: influence of the demo's 302 training rows on its 30 validation instances;
tasks.csv: the task of each instance; rows.csv: source and text of each row.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from bids_core.artifacts import Handle
from bids_core.data import PreparedData, completion_text, from_json, prompt_messages
from bids_core.influence import read_matrix

HERE = Path(__file__).parent


def main(run: Path) -> None:
    """Write the three files."""
    stages = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["result"]
    opened = read_matrix(Handle(**stages["matrix"]).path() / "attribution.zarr")
    ids, columns = opened.matrix.row_ids, opened.matrix.validation_ids
    short = [row_id.removeprefix("pool:").replace(".jsonl", "") for row_id in ids]
    values = opened.matrix.take(range(len(ids)))
    frame = pd.DataFrame(values.astype("float32"), columns=columns)
    frame.insert(0, "row_id", short)
    frame.to_parquet(HERE / "matrix.parquet", index=False, compression="zstd")
    tasks = {"validation_id": columns, "task": opened.labels.tasks,
             "capability": opened.labels.capabilities}  # fmt: skip
    pd.DataFrame(tasks).to_csv(HERE / "tasks.csv", index=False)
    pool = PreparedData.load(Handle(**stages["data"]).path()).train.frame.set_index("row_id")
    messages = [from_json(text) for text in pool.loc[ids, "messages"]]
    rows = {"row_id": short, "source": list(pool.loc[ids, "source"]),
            "prompt": [prompt_messages(m)[-1].content for m in messages],
            "completion": [completion_text(m) for m in messages]}  # fmt: skip
    pd.DataFrame(rows).to_csv(HERE / "rows.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
