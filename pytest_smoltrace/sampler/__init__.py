"""The process that reads the GPUs of a host, and the file that it writes.

It runs as plain files, so that nothing else of the package is imported in it: its modules import
each other relatively, the standard library, and the vendors' client libraries.
"""
