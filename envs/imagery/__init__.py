"""Images to look at: built in, and data sets on disk."""
