"""Gates: conditions that decide whether a run is good enough, and what they came to."""
