"""Carrying out operations on targets: the one choke point for writes."""
