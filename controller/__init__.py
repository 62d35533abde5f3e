"""Phasegate: a policy-gated workflow executor for Kubernetes.

The core is pure and small; input and output live at the edge. docs/architecture.md draws the layers.
"""

__version__ = "0.1.0"
