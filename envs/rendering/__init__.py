"""Views of an object in 3DIEBench's scene, by ray casting."""
