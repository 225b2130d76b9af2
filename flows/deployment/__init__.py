"""From the files in `deployments/` to a server: work pools, queues, deployments, automations."""
