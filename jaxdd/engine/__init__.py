"""The loop that moves a synthetic set, trains networks and scores students:
one for every method."""
