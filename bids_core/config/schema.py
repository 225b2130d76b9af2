"""The configuration's JSON schema, for editors that complete and check YAML.

`python -m bids_core.config.schema > bids.schema.json` writes it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bids_core.config.run import RunConfig


def schema() -> dict[str, Any]:
    """Return the schema of a configuration file."""
    made = RunConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
