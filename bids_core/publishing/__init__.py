"""Selected data and tuned models for others: cards (`dataset_card`, `model_card`), and `send`."""
