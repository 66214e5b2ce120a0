"""Stored figures of a session, case by case, from wherever they are kept."""
