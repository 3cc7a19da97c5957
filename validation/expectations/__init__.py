"""Expectations that Great Expectations does not have, as proper classes of its own kind.

Importing a module registers its classes, so that stored results render with them.
"""
