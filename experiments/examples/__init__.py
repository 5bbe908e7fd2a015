"""Scripts to read and to change: the library without its commands."""
