"""Watches live traffic: windows, signals, a calibrated alarm, reports, and what follows from it.

The door is `cycle.py`: one round from the log to a recorded decision. The room may import
questions, vectorstore, corpus (quality, personal data), pages, system, files and contracts.
"""
