"""Which cases moved between two sessions, and the step where their traces part."""
