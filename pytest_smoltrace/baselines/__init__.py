"""Baselines: which earlier session a run is compared with, and whether it can be."""
