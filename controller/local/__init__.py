"""The embedded control plane: programs, certificates, processes, kwok stages."""
