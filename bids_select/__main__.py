"""`python -m bids_select`: the command line, with a Python of your choice."""

from bids_select import main

main()
