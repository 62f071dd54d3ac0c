"""Watches live traffic: windows, signals, a calibrated alarm, reports, and what follows from it.

The door is `cycle.py`: one round from the log to a recorded decision. Commands also read `window`,
`decisions` and `complaints`. The room may import questions, vectorstore, corpus (quality), pages,
system, files, contracts and config.
"""
