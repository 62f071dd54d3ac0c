"""The shape of every file that one stage hands to another: one module for each artifact.

Each module's docstring shows one real example record. It imports pyarrow or pydantic, `errors` and
other contracts, nothing else.
"""
