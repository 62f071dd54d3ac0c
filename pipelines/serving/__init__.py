"""Knows Triton: repository.py writes a model repository and checks its layout; model.py is what runs inside the server."""
