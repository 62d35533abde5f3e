"""The policy set, from ConfigMap to OPA: one module per arrow (sources, check, bundle, serve)."""
