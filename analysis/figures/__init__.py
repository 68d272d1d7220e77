"""Figures, one question a file: each draws what was computed elsewhere and decides nothing."""
