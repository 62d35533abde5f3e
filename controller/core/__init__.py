"""Pure by contract: no clock, no network, no Kubernetes or OPA client. Everything that is computed is computed here."""
