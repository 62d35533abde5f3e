"""The shapes of our kinds: one pydantic module each, and the generator of crds/."""
