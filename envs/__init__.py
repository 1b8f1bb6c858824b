"""Active-vision worlds."""
