"""One file a command of the `bids` command line."""
