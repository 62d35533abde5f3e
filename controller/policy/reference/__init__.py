"""Writes docs/reference/ from policies/, schemas/, crds/ and settings: `python -m controller.policy.reference [--opa PATH] [--check]`."""
