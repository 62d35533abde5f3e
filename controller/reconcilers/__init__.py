"""Read, gather, ask, decide, apply: one reconciler per kind."""
