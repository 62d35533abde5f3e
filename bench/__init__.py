"""Measures what the program costs, on a real control plane, counted by the servers themselves."""
