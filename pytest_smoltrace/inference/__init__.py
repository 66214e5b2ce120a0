"""What two samples of the same cases say of each other; SciPy is imported where it is used."""
