"""Releases all distributions together: ``nox -s release -- VERSION``, then ``nox -s publish``."""
