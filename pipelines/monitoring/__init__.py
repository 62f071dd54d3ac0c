"""Watches live traffic: the window, its signals, their calibrated alarm, Evidently's reports and what to do about a change."""
