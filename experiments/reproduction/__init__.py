"""The papers' cells as tasks, and the ledger of those that are done."""
