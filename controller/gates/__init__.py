"""Asking policies: the one client of OPA, the documents that are asked, the one choke point for reads."""
