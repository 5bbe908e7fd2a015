"""The stages of a run: prepare, distil, evaluate, report; each resumable."""
