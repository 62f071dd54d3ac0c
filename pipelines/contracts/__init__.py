"""The shape of every file that one stage hands to another: one module an artifact, each with one real example record."""
