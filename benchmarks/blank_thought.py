"""How much a blank thought before a short answer contributes to the gradient.

    python benchmarks/blank_thought.py ROWS.jsonl [ROWS.jsonl ...]

For prompt/completion rows, on SmolLM2-135M-Instruct: the gradient of the mean loss over the blank
thought and the answer is compared with that over either alone, for the weights of the last layer (a
backward pass through one layer, so that it runs anywhere).
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F

from bids_core.config import ModelConfig
from bids_core.models import load_base, load_tokenizer

BLANK = "<think>\n\n</think>\n\n"
ROWS_PER_FILE = 3


def main(files: list[Path]) -> None:
    """Print the mean cosines."""
    config = ModelConfig(path="bundled:smollm2-135m-instruct", dtype="float32", device="cpu")
    tokenizer, model = load_tokenizer(config), load_base(config).eval()
    last = f"model.layers.{model.config.num_hidden_layers - 1}."
    weights = [p for name, p in model.named_parameters() if name.startswith(last) and p.ndim == 2]
    for weight in weights:
        weight.requires_grad_(True)
    rows = [json.loads(line) for file in files for line in islice(file.open(), ROWS_PER_FILE)]
    grads: dict[str, list[torch.Tensor]] = {"both": [], "blank": [], "answer": []}
    for row in rows:
        turn = [{"role": "user", "content": row["prompt"]}]
        asked = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        parts = (asked, BLANK, row["completion"] + tokenizer.eos_token)
        prompt, blank, answer = (tokenizer(p, add_special_tokens=False)["input_ids"] for p in parts)
        ids = torch.tensor([prompt + blank + answer])
        losses = F.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
        first, behind = len(prompt) - 1, len(prompt) - 1 + len(blank)
        pieces = {"both": losses[first:], "blank": losses[first:behind], "answer": losses[behind:]}
        for name, piece in pieces.items():
            found = torch.autograd.grad(piece.mean(), weights, retain_graph=True)
            grads[name].append(torch.cat([grad.flatten() for grad in found]))
    stacked = {name: F.normalize(torch.stack(found), dim=1) for name, found in grads.items()}
    for name in ("blank", "answer"):
        cosine = float((stacked["both"] * stacked[name]).sum(1).mean())
        print(f"cosine of the row's gradient with that of the {name} alone: {cosine:.2f}")
    for name, units in stacked.items():
        alike = (float((units @ units.T).sum()) - len(units)) / (len(units) * (len(units) - 1))
        print(f"mean cosine between two rows, {name}: {alike:.2f}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
