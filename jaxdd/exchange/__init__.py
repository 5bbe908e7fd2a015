"""Distilled sets as other programs keep them: read, and written so that they read them."""
