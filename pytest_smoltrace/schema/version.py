"""Constants of the field contract."""

CONTRACT_VERSION = "1.0"
"""Version of the field contract that rows are written under."""

SUMMARY_VERSION = "1.0"
"""Version of summary.json, MAJOR.MINOR: a new key raises MINOR, a lost or changed one MAJOR."""

PASS_RULE = "mean over cases of c/n; unbiased pass@k"  # noqa: S105 (no password)
"""How `pass_at_1` and `pass_at_k` are computed."""
