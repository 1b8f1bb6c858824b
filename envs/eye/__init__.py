"""The eye: foveae, where to look, and how the gaze moves."""
