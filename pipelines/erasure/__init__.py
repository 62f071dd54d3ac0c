"""Erasure: finds a document, a person or a tenant wherever this clone keeps them, and removes them.

The door is erasing.py. Each other module knows one kind of place. The room may import every room
but stages and commands.
"""
