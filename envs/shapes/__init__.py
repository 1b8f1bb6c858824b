"""Objects to turn: built in, and meshes on disk."""
