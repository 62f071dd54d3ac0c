"""Knows Weaviate: server.py shares one embedded server a clone, collections.py fills, verifies and searches collections."""
