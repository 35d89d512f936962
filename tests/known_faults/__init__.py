"""Faults that pre-caching of the existing operator has, each with a test that it cannot happen here.

Beside every test stands a one-line mutation of the module that decides it: with that line changed the
fault is back, and the test fails.  `test_mutations.py` tries them all, so that none of these tests can
go blind unnoticed.  Add one: a function `test_…` in a `test_*.py` of this package, with `@known_fault`.
"""
