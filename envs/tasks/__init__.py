"""What counts: search, classification, homing, and bringing about a goal view."""
