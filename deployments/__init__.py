"""Deployments of the flows."""
