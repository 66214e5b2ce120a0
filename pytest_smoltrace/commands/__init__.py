"""Subcommands of `pytest-smoltrace` that judge and compare stored runs."""
