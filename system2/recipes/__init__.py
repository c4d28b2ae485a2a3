"""Papers and claims, each run by one file; `RECIPES` has those that come to a verdict."""
