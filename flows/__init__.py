"""The flows and the `bids` command line."""
