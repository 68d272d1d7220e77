"""Trained networks put to use: loaded, predicting, scored, described, exported."""
