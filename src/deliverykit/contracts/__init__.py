"""Floor 1: what a plug-in author implements, one file per kind, importing only words."""
