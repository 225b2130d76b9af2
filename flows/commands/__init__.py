"""One file per command of the `bids` command line."""
