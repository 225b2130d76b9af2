"""Job templates of the work pools."""
