"""The commands of `glimpseworld`."""
