"""Reports of a judged run for people and CI systems, as text."""
