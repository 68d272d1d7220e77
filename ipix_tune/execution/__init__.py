"""Trials on Ray: the cluster, the actors, the callback, the progress table."""
